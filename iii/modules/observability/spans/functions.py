"""``engine::traces::*``.

With traces on disk (``beyond``) lists are the disk's: it has what memory has and more, and
only it knows which spans are roots once memory has forgotten a parent or a child.  While it
fails, memory answers, and ``storage`` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.structs import replace
from twisted.logger import Logger

from iii.engine.native import Empty
from iii.modules.observability.beyond import Beyond, Found, Storage
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Span
from iii.modules.observability.spans import groups, shapes
from iii.modules.observability.spans.otlp import otlp_document
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.pages import page_of, query_of
from iii.modules.observability.spans.query import Search
from iii.modules.observability.spans.store import SpanStore
from iii.modules.observability.spans.tree import MAX_TREE_SPANS, spans_of, tree
from iii.storage.store import StoreError

log = Logger()


class TraceFunctions:
    """Answers questions about stored spans.

    :param beyond: what remembers longer than ``store``, if anything does
    """

    def __init__(self, hub: Hub, store: SpanStore, beyond: Beyond | None = None) -> None:
        self._engine = hub.engine
        self._clock = hub.engine.clock
        self._own = hub.settings.resource
        self._collapse = hub.settings.collapse_spans
        self._store = store
        self._beyond = beyond

    def start(self) -> None:
        """Part: offer the functions."""
        self._engine.functions(
            (
                (
                    "engine::traces::list",
                    self.list,
                    shapes.ListInput,
                    shapes.Page,
                    "List spans without a parent, or all that match",
                ),
                (
                    "engine::traces::tree",
                    self.tree,
                    shapes.TreeInput,
                    shapes.Tree,
                    "Get a trace as a tree of spans",
                ),
                (
                    "engine::traces::export",
                    self.export,
                    shapes.TreeInput,
                    None,
                    "Get a trace as an OTLP JSON document",
                ),
                (
                    "engine::traces::group_by",
                    self.group_by,
                    shapes.GroupByInput,
                    shapes.Groups,
                    "Group spans by the value of an attribute",
                ),
                (
                    "engine::traces::clear",
                    self.clear,
                    Empty,
                    shapes.Cleared,
                    "Forget all stored spans",
                ),
            ),
            {},
        )

    async def list(self, asked: shapes.ListInput) -> Raw:
        """``engine::traces::list``."""
        self._store.require()
        pace = Pace(self._clock)
        found = storage = None
        if self._beyond is not None:
            found, storage = await self._on_disk(self._beyond, asked)
        if found is None:
            found = await Search(self._store, pace, asked).run()
        return await page_of(found, asked, pace, storage)

    async def tree(self, asked: shapes.TreeInput) -> Raw:
        """``engine::traces::tree``."""
        self._store.require()
        older = await self._older(asked.trace_id)
        pace = Pace(self._clock)
        return await tree(self._store, pace, asked.trace_id, self._collapse, older)

    async def export(self, asked: shapes.TreeInput) -> dict[str, Any]:
        """``engine::traces::export``: of what is over; nothing of a trace nobody knows."""
        self._store.require()
        older = await self._older(asked.trace_id)
        spans = await spans_of(self._store, Pace(self._clock), asked.trace_id, older)
        return otlp_document((span for span in spans if not span.pending), self._own)

    async def group_by(self, asked: shapes.GroupByInput) -> shapes.Groups:
        """``engine::traces::group_by``, of what is in memory, also with traces on disk."""
        return await groups.group_by(self._store, Pace(self._clock), asked)

    async def clear(self, _: Empty) -> shapes.Cleared:
        """``engine::traces::clear``: the disk first, and nothing if that can't be."""
        self._store.require()
        if self._beyond is not None:
            await self._beyond.clear()
        self._store.clear()
        return shapes.Cleared()

    async def _on_disk(
        self, beyond: Beyond, asked: shapes.ListInput
    ) -> tuple[Found | None, Storage]:
        """What the disk says, unless it fails, and how it is."""
        found, storage = None, beyond.status()
        if storage.archive == "ready":
            try:
                found = await beyond.find(query_of(asked))
                # It may have failed to write what it was to find.
                storage = beyond.status()
            except StoreError as error:
                storage = replace(storage, archive="failing", last_error=error.message)
        if storage.archive == "ready":
            return found, storage
        return None, replace(storage, completeness="partial")

    async def _older(self, trace_id: str) -> Sequence[Span]:
        """What the disk has of a trace, if it can say."""
        if self._beyond is None:
            return []
        try:
            return await self._beyond.spans_of(trace_id, MAX_TREE_SPANS + 1)
        except StoreError as error:
            log.warn(
                "trace {trace_id} is shown as far as it is in memory: {reason}",
                trace_id=trace_id,
                reason=error.message,
            )
            return []
