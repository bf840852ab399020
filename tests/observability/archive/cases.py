"""A case with a hub, and archives in a directory of its own."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.archive.archive import Archive
from iii.modules.observability.beyond import Found, Query
from iii.modules.observability.config import ObservabilityConfig, TraceStorage, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Span

MS = 1_000_000
T0 = 1_760_000_000_000 * MS
"""The case's clock begins here."""


def span(trace: str, id: str = "1", parent: str | None = None, **more: Any) -> Span:
    """A span of 5 ms.

    :param trace: its trace id, filled up with zeros; ``id`` and ``parent`` alike
    """
    fields = {
        "trace_id": trace.rjust(32, "0"),
        "span_id": id.rjust(16, "0"),
        "parent_span_id": None if parent is None else parent.rjust(16, "0"),
        "name": "work",
        "kind": "internal",
        "start_ns": T0,
        "end_ns": T0 + 5 * MS,
        "service_name": "orders",
    }
    return Span(**{**fields, **more})


def ids(spans: list[Span]) -> list[str]:
    """``trace/span`` of each, without the zeros they were filled up with."""
    return [f"{one.trace_id.lstrip('0')}/{one.span_id.lstrip('0')}" for one in spans]


class ArchiveCase(TestCase):
    """Opens archives below ``self.directory`` and closes what is left open."""

    timeout = 30

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.timers = task.Clock()
        self.engine = Engine(reactor, clock=Clock.virtual(self.timers))
        api = ModuleApi(self.engine, "iii-observability")
        self.hub = Hub(api, settings_of(ObservabilityConfig(), {}))
        self.hub.start()
        self.stores: dict[str, str] = {}
        self._open: list[Archive] = []

    async def tearDown(self) -> None:
        self.hub.stop()
        for archive in list(self._open):
            await self.close(archive)
        self.engine.stop()
        self.assertEqual(self.timers.getDelayedCalls(), [])
        gc.collect()

    @property
    def file(self) -> Path:
        """Where the traces are."""
        return self.directory / "traces.sqlite"

    def open(self, **settings: Any) -> Archive:
        """An archive in the case's directory."""
        storage = TraceStorage(directory=str(self.directory), **settings)
        archive = Archive(self.hub, storage, self.stores)
        archive.start()
        self._open.append(archive)
        return archive

    async def close(self, archive: Archive) -> None:
        """Close it now."""
        self._open.remove(archive)
        await archive.stop()

    async def found(self, archive: Archive, **query: Any) -> list[str]:
        """Which spans a query finds."""
        return ids((await self.page(archive, **query)).spans)

    async def page(self, archive: Archive, **query: Any) -> Found:
        """The answer to a query."""
        return await archive.find(Query(**query))

    async def traces(self, archive: Archive) -> list[str]:
        """The roots, earliest first."""
        return await self.found(archive, internal=True, limit=100_000)

    async def committed(self, archive: Archive) -> None:
        """Wait until the writer has done what it was given."""
        done: Deferred[Any] = Deferred()
        archive._database.submit(lambda connection: None, done.callback)
        await done

    async def looked_after(self, archive: Archive) -> None:
        """Wait until no step of upkeep follows without a pause."""
        await self.committed(archive)
        while archive._busy or archive._upkeep_due:
            await self.committed(archive)

    async def in_file(self, archive: Archive, pragma: str) -> int:
        """A figure of the file."""
        read = archive._database.read_at_length
        value: int = await read(lambda c: c.execute(f"PRAGMA {pragma}").fetchone()[0])
        return value
