"""An engine with the part about logs, and nothing else of the module."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.logger import globalLogPublisher

from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.logs.part import Logs
from iii.modules.observability.model import LogRecord, severity_text
from tests.support.engine_case import EngineCase, RawWorker

Row = dict[str, Any]

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
CONTEXT = f"00-{TRACE}-{SPAN}-01"


def record(body: str = "m", number: int = 9, **fields: Any) -> LogRecord:
    """A record as the ingest makes it."""
    at = fields.pop("at", 1_760_000_000_000_000_000)
    return LogRecord(
        timestamp_ns=at,
        observed_ns=at,
        severity_number=number,
        severity_text=fields.pop("text", severity_text(number)),
        body=body,
        **fields,
    )


class LogsCase(EngineCase):
    """Nothing of the engine's own is traced or captured, unless a case says so.

    :cvar settings: the module's configuration
    :cvar environ: its environment
    """

    settings: dict[str, Any] = {"enabled": False}
    environ: dict[str, str] = {}

    def prepare(self) -> None:
        """Start the part."""
        config = msgspec.convert(self.settings, ObservabilityConfig)
        engine = ModuleApi(self.engine, "iii-observability")
        self.hub = Hub(engine, settings_of(config, self.environ))
        self.logs = Logs(self.hub, self.environ)
        self.hub.start()
        self.logs.start()
        self.addCleanup(self.hub.stop)
        self.addCleanup(self.logs.stop)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    async def setUp(self) -> None:
        await super().setUp()
        self.client = await self.worker()

    async def rows(self, **query: Any) -> list[Row]:
        """``engine::logs::list``."""
        answer = await self.client.call("engine::logs::list", query)
        rows: list[Row] = answer["logs"]
        return rows

    async def bodies(self, **query: Any) -> list[str]:
        """What the listed records say."""
        return [row["body"] for row in await self.rows(**query)]

    def printed(self, target: str) -> list[dict[str, Any]]:
        """The events of one target that the console got."""
        return [event for event in self.events if event.get("log_namespace") == target]

    async def follower(self, config: Any = None, function: str = "on_log") -> RawWorker:
        """A worker with a ``log`` trigger."""
        worker = await self.worker(function)
        await worker.trigger("log", function, config)
        return worker

    async def heard(self, worker: RawWorker, function: str = "on_log") -> list[dict[str, Any]]:
        """The calls of ``function`` that ``worker`` has got and not answered."""
        await self.client.settled()
        await worker.settled()
        calls = [m for m in worker.inbox if m.get("function_id") == function]
        worker.inbox[:] = [m for m in worker.inbox if m not in calls]
        return calls
