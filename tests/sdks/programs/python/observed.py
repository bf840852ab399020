"""The part of the program that tells of itself: a span, logs, metrics.

All of it goes the SDK's own way.  Spans and counters are made with OpenTelemetry's API,
as a program would, once the SDK has set it up; without it (0.2.0) only logs are left.
"""

from __future__ import annotations

from typing import Any

from generations import Sdk

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError:
    metrics = trace = None  # type: ignore[assignment]

LEVELS = ("info", "warn", "error", "debug")
GAUGES = {
    "iii.worker.memory.rss": "memory_rss",
    "iii.worker.cpu.percent": "cpu_percent",
    "iii.worker.uptime_seconds": "uptime_seconds",
}


class Observed:
    """The functions."""

    def __init__(self, sdk: Sdk, prefix: str) -> None:
        self.sdk = sdk
        self.prefix = prefix

    def register(self) -> None:
        for name in ("observe", "measure"):
            self.sdk.function(f"{self.prefix}::{name}", getattr(self, name))

    async def observe(self, data: Any) -> Any:
        """A span with a log of each level inside."""
        if trace is None:
            self.tell(data["n"])
        else:
            with trace.get_tracer("program").start_as_current_span(f"work {data['n']}"):
                self.tell(data["n"])
        return {"observed": data["n"]}

    def tell(self, n: str) -> None:
        logger = self.sdk.logger()
        for level in LEVELS:
            getattr(logger, level)(f"{level} {n}", {"from": self.prefix})

    async def measure(self, data: Any) -> Any:
        """A counter; and the gauges of a worker, with the values the SDK collects.

        No release registers its gauges by itself, and ``register_worker_gauges`` of each
        fails: it calls a method that OpenTelemetry's meters do not have.
        """
        from iii.worker_metrics import WorkerMetricsCollector

        meter = metrics.get_meter("program")
        meter.create_counter("program.measured").add(3, {"from": self.prefix})
        collector = WorkerMetricsCollector()
        attributes = {"worker.id": data["worker_id"], "worker.name": self.prefix}
        for name, field in GAUGES.items():

            def read(_: Any, field: str = field) -> Any:
                value = getattr(collector.collect(), field)
                return [metrics.Observation(value, attributes)]

            meter.create_observable_gauge(name, [read])
        return {"measured": 3}
