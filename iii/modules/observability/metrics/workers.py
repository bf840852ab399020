"""What workers say about themselves: memory, processor, event loop.

SDKs send these gauges every minute with the worker's id; lists of workers show the
newest of them as long as they are fresh.
"""

from __future__ import annotations

from typing import Any

from iii.engine.workers import Worker
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics.ticking import Ticker
from iii.modules.observability.model import Metric, NumberPoint

FRESH_S = 120.0
SWEEP_S = 60.0
MAX_MEASURED_WORKERS = 20_000
#: Beyond this nobody's memory or time is told.
HIGHEST_VALUE = 2.0**63
MAX_WORKER_ID_CHARS = 128
WORKER_ID = "worker.id"

#: The SDKs' gauges → the field of ``latest_metrics``, and whether it counts something.
GAUGES = {
    "iii.worker.memory.heap_used": ("memory_heap_used", int),
    "iii.worker.memory.heap_total": ("memory_heap_total", int),
    "iii.worker.memory.rss": ("memory_rss", int),
    "iii.worker.memory.external": ("memory_external", int),
    "iii.worker.cpu.user_micros": ("cpu_user_micros", int),
    "iii.worker.cpu.system_micros": ("cpu_system_micros", int),
    "iii.worker.cpu.percent": ("cpu_percent", float),
    "iii.worker.event_loop.lag_ms": ("event_loop_lag_ms", float),
    "iii.worker.uptime_seconds": ("uptime_seconds", float),
}


class _Latest:
    """The newest points of one worker.

    :ivar values: field → value, and when it came in (monotonic)
    """

    __slots__ = ("at", "timestamp_ms", "values")

    def __init__(self) -> None:
        self.at = 0.0
        self.timestamp_ms = 0
        self.values: dict[str, tuple[float, float]] = {}


class WorkerMetrics:
    """The newest figures of every worker."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._now = hub.engine.clock.monotonic
        self._workers: dict[str, _Latest] = {}
        self._sweeper = Ticker(hub.engine.clock, lambda: SWEEP_S, self.sweep)

    def start(self) -> None:
        """Part: listen, and show it in lists of workers."""
        self._hub.on_metrics(self.add)
        self._hub.engine.describe_workers(self.of)
        self._sweeper.start()

    def stop(self) -> None:
        """Part: listen no more."""
        self._hub.forget(self.add)
        self._sweeper.stop()

    def add(self, metrics: list[Metric]) -> None:
        """Take what is about workers."""
        for metric in metrics:
            gauge = GAUGES.get(metric.name)
            if gauge is None:
                continue
            field, number = gauge
            for point in metric.points:
                if isinstance(point, NumberPoint):
                    self._take(field, number(point.value), point, metric.received_ns)

    def of(self, worker: Worker) -> dict[str, Any] | None:
        """``latest_metrics`` of a worker; None: nothing fresh."""
        latest = self._workers.get(worker.id)
        if latest is None:
            return None
        oldest = self._now() - FRESH_S
        shown: dict[str, Any] = {
            field: value for field, (value, at) in latest.values.items() if at >= oldest
        }
        if not shown:
            return None
        shown["timestamp_ms"] = latest.timestamp_ms
        shown["runtime"] = worker.runtime
        return shown

    def sweep(self) -> None:
        """Forget workers that have been silent for long."""
        oldest = self._now() - FRESH_S
        for id in [id for id, latest in self._workers.items() if latest.at < oldest]:
            del self._workers[id]

    def _take(self, field: str, value: float, point: NumberPoint, received_ns: int) -> None:
        id = next((value for key, value in point.attributes if key == WORKER_ID), "")
        if not id or len(id) > MAX_WORKER_ID_CHARS or abs(value) > HIGHEST_VALUE:
            return
        latest = self._workers.get(id)
        if latest is None:
            if len(self._workers) >= MAX_MEASURED_WORKERS:
                self._hub.drop("metrics.too_many_workers")
                return
            latest = self._workers[id] = _Latest()
        latest.at = self._now()
        latest.timestamp_ms = (point.timestamp_ns or received_ns) // 1_000_000
        latest.values[field] = value, latest.at
