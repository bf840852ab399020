"""The exports on an engine whose time stands still until a test moves it."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Timers
from twisted.trial.unittest import TestCase

from iii.engine import corefunctions
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.config import LogsProtocol, ObservabilityConfig, settings_of
from iii.modules.observability.export.exports import Exports
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import LogRecord, Span
from tests.observability.export.collectors import GrpcCollector, HttpCollector

T0 = 1_760_000_000_000_000_000
TRACE = "5b8efff798038103d269b633813fc60c"
SPAN = "eee19b7ec3c1b174"
PARENT = "aaa19b7ec3c1b17f"


class ExportCase(TestCase):
    """An engine without workers, and collectors that end with the test."""

    timeout = 30

    def setUp(self) -> None:
        self.timers = Timers()
        self.engine = Engine(reactor, clock=Clock.virtual(self.timers))
        corefunctions.install(self.engine)
        self._exports: list[Exports] = []

    async def tearDown(self) -> None:
        for exports in self._exports:
            stopped = exports.stop()
            self.timers.advance(2)
            await stopped

    def exports(
        self,
        environ: dict[str, str] | None = None,
        logs_protocol: LogsProtocol = "http/json",
        **config: Any,
    ) -> Hub:
        """Exports with these settings, started; their hub."""
        settings = msgspec.structs.replace(
            settings_of(ObservabilityConfig(**config), environ or {}), logs_protocol=logs_protocol
        )
        hub = Hub(ModuleApi(self.engine, "iii-observability"), settings)
        hub.start()
        self.addCleanup(hub.stop)
        exports = Exports(hub)
        exports.start()
        self._exports.append(exports)
        return hub

    async def stop(self) -> None:
        """Stop what was started, in its own time."""
        await self._exports.pop().stop().addTimeout(10, reactor)

    def grpc(self, **more: Any) -> GrpcCollector:
        """A collector over gRPC."""
        return self.ends(GrpcCollector(**more))

    def http(self, **more: Any) -> HttpCollector:
        """A collector over HTTP."""
        return self.ends(HttpCollector(**more))

    def ends(self, collector: Any) -> Any:
        """``collector`` ends with the test."""
        self.addCleanup(collector.stop)
        return collector

    async def eventually(self, there: Any, wait_s: float = 10.0) -> None:
        """Wait until ``there()``, for what only a thread can bring about."""
        for _ in range(int(wait_s / 0.01)):
            if there():
                return
            passed: Deferred[None] = Deferred()
            reactor.callLater(0.01, passed.callback, None)  # type: ignore[attr-defined]
            await passed
        self.fail("it did not happen")


def span(**fields: Any) -> Span:
    """A finished span of a worker."""
    given: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_span_id": None,
        "name": "work",
        "kind": "internal",
        "start_ns": T0,
        "end_ns": T0 + 5,
        "service_name": "orders",
        "resource": {"service.name": "orders"},
        **fields,
    }
    return Span(**given)


def record(**fields: Any) -> LogRecord:
    """A log record of a worker."""
    given: dict[str, Any] = {
        "timestamp_ns": T0,
        "observed_ns": T0 + 1,
        "severity_number": 9,
        "severity_text": "INFO",
        "body": "order stored",
        "resource": {"service.name": "orders"},
        "service_name": "orders",
        **fields,
    }
    return LogRecord(**given)
