"""A case with the ingest on a clock of its own, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.ingest import Ingest
from iii.modules.observability.model import LogRecord, Metric, Span

FRAMES = Path(__file__).parent / "frames"
EPOCH_NS = 1_760_000_000_000_000_000

ROOTS = {"OTLP": "resourceSpans", "MTRC": "resourceMetrics", "LOGS": "resourceLogs"}
SCOPES = {"OTLP": "scopeSpans", "MTRC": "scopeMetrics", "LOGS": "scopeLogs"}
ITEMS = {"OTLP": "spans", "MTRC": "metrics", "LOGS": "logRecords"}


class Heard:
    """Listens to a hub.

    :ivar batches: how many items came at once
    """

    def __init__(self, hub: Hub) -> None:
        self.spans: list[Span] = []
        self.metrics: list[Metric] = []
        self.logs: list[LogRecord] = []
        self.batches: list[int] = []
        hub.on_ingested(self._into(self.spans))
        hub.on_metrics(self._into(self.metrics))
        hub.on_logs(self._into(self.logs))

    def _into(self, heard: list[Any]) -> Callable[[list[Any]], None]:
        def listen(items: list[Any]) -> None:
            self.batches.append(len(items))
            heard.extend(items)

        return listen


class IngestCase(TestCase):
    """The ingest of an engine that nobody is connected to.

    :cvar config: the module's
    :ivar told: the engine's log lines
    """

    config = ObservabilityConfig()

    def setUp(self) -> None:
        self.told: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)
        self.timers = task.Clock()
        self.clock = self.make_clock()
        engine = Engine(self.timers, clock=self.clock)
        self.hub = Hub(ModuleApi(engine, "iii-observability"), settings_of(self.config, {}))
        self.heard = Heard(self.hub)
        self.ingest = Ingest(self.hub)
        self.ingest.start()
        self.receive = engine.telemetry

    def make_clock(self) -> Clock:
        """Time stands still until a test moves it."""
        return Clock.virtual(self.timers)

    def tearDown(self) -> Deferred[None] | None:
        stopped = self.ingest.stop()
        self.timers.advance(0)
        return stopped

    def send(self, kind: str, *items: Any, **around: Any) -> None:
        """Receive a frame with ``items``; ``around`` is beside them."""
        self.receive(kind, frame(kind, *items, **around))

    def golden(self, name: str) -> None:
        """Receive a frame as an SDK sends it: ``node-traces``."""
        kind = {"traces": "OTLP", "metrics": "MTRC", "logs": "LOGS"}[name.split("-")[1]]
        self.receive(kind, (FRAMES / f"{name}.json").read_bytes())

    def span(self, **fields: Any) -> Span:
        """What becomes of a span with ``fields``."""
        self.send("OTLP", span(**fields))
        return self.heard.spans.pop()

    def metric(self, **fields: Any) -> Metric:
        """What becomes of a metric with ``fields``."""
        self.send("MTRC", {"name": "m", **fields})
        return self.heard.metrics.pop()

    def log(self, **fields: Any) -> LogRecord:
        """What becomes of a log record with ``fields``."""
        self.send("LOGS", fields)
        return self.heard.logs.pop()

    def _observe(self, event: dict[str, Any]) -> None:
        if event["log_namespace"].startswith("iii."):
            self.told.append(formatEvent(event))


def span(**fields: Any) -> dict[str, Any]:
    """A span; a field that is None is absent."""
    whole = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "s",
        "startTimeUnixNano": EPOCH_NS,
        "endTimeUnixNano": EPOCH_NS + 1_000_000,
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def attribute(key: str, **value: Any) -> dict[str, Any]:
    """An attribute: ``attribute("n", intValue=5)``."""
    return {"key": key, "value": value}


def frame(kind: str, *items: Any, **around: Any) -> bytes:
    """A frame with one resource and one scope; bytes among ``items`` go in as they are."""
    texts = [item if isinstance(item, bytes) else msgspec.json.encode(item) for item in items]
    outer = b"".join(
        b"%s:%s," % (msgspec.json.encode(name), msgspec.json.encode(value))
        for name, value in around.items()
    )
    return b'{"%s":[{%s"%s":[{"%s":[%s]}]}]}' % (
        ROOTS[kind].encode(),
        outer,
        SCOPES[kind].encode(),
        ITEMS[kind].encode(),
        b",".join(texts),
    )


def resource(service: str, *attributes: dict[str, Any]) -> dict[str, Any]:
    """The resource of a service."""
    return {"attributes": [attribute("service.name", stringValue=service), *attributes]}
