"""An engine with the part about spans, and nothing else of the module."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import task

from iii.engine import tracecontext
from iii.engine.clock import Clock
from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Span
from iii.modules.observability.spans.part import Spans
from tests.support.engine_case import EngineCase, RawWorker

Row = dict[str, Any]

#: In seconds.
EPOCH = 1_760_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(id: str = "1", **fields: Any) -> Span:
    """A span as the ingest makes it.

    :param fields: ``at_ms`` and ``took_ms`` instead of times, the former since ``EPOCH``
    """
    start_ns = EPOCH * 10**9 + fields.pop("at_ms", 0) * 10**6
    took_ms = fields.pop("took_ms", 1)
    return Span(
        trace_id=fields.pop("trace", TRACE),
        span_id=id,
        parent_span_id=fields.pop("parent", None),
        name=fields.pop("name", f"span {id}"),
        kind=fields.pop("kind", "internal"),
        start_ns=start_ns,
        end_ns=fields.pop("end_ns", start_ns + int(took_ms * 10**6)),
        service_name=fields.pop("service", "orders"),
        **fields,
    )


class SpansCase(EngineCase):
    """A case with a client that asks; time stands still unless it says otherwise.

    :cvar settings: the module's configuration
    """

    settings: dict[str, Any] = {}

    def make_clock(self) -> Clock:
        """EngineCase: one that only the test moves."""
        self.time = task.Clock()
        return Clock.virtual(self.time, epoch=EPOCH)

    def prepare(self) -> None:
        """EngineCase: start the part."""
        config = msgspec.convert(self.settings, ObservabilityConfig)
        self.api = ModuleApi(self.engine, "iii-observability")
        self.hub = Hub(self.api, settings_of(config, {}))
        self.spans = Spans(self.hub)
        self.hub.start()
        self.spans.start()
        self.addCleanup(self.hub.stop)
        self.addCleanup(self.spans.stop)

    async def setUp(self) -> None:
        await super().setUp()
        self.client = await self.worker()

    def ingest(self, *spans: Span) -> None:
        """Spans of a worker arrive."""
        self.hub.add_spans(list(spans))

    async def ask(self, function: str, asked: Any) -> Row:
        """The result of ``engine::traces::<function>``; the question leaves no spans."""
        context = tracecontext.unsampled(tracecontext.new_root())
        result = await self.api.invoke(f"engine::traces::{function}", asked, traceparent=context)
        answer: Row = msgspec.json.decode(bytes(result))
        return answer

    async def page(self, **asked: Any) -> Row:
        """``engine::traces::list``."""
        return await self.ask("list", asked)

    async def rows(self, **asked: Any) -> list[Row]:
        """Its rows."""
        rows: list[Row] = (await self.page(**asked))["spans"]
        return rows

    async def ids(self, **asked: Any) -> list[str]:
        """Their span ids."""
        return [row["span_id"] for row in await self.rows(**asked)]

    async def names(self, **asked: Any) -> list[str]:
        """Their names."""
        return [row["name"] for row in await self.rows(**asked)]

    async def roots(self, trace: str = TRACE) -> list[Row]:
        """``engine::traces::tree``."""
        roots: list[Row] = (await self.ask("tree", {"trace_id": trace}))["roots"]
        return roots

    async def call_worker(self, function: str = "orders::create", **fields: Any) -> RawWorker:
        """A worker that has answered one call of ``function``."""
        worker = await self.worker(function)
        call = self.client.invoke(function, {}, **fields)
        await worker.answer(function, result=1)
        await self.client.result_of(call)
        return worker


def shape(roots: list[Row]) -> list[Any]:
    """A tree as nested lists: a span id, then its children."""
    return [[row["span_id"], *shape(row["children"])] for row in roots]
