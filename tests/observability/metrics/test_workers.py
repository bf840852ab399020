"""``latest_metrics`` of ``engine::workers::list`` (05 A9.1)."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock as Timers

from iii.engine.clock import Clock
from iii.engine.workers import Worker
from iii.modules.observability.metrics import workers
from iii.modules.observability.metrics.part import Metrics
from iii.modules.observability.metrics.workers import GAUGES, WorkerMetrics
from iii.modules.observability.model import Metric, NumberPoint
from tests.observability.metrics.cases import EPOCH_S, MetricsCase, hub_on, no_durations
from tests.support.engine_case import EngineCase


class Listed(EngineCase):
    """A worker as lists show it."""

    def make_clock(self) -> Clock:
        """EngineCase: time by hand."""
        self.timers = Timers()
        return Clock.virtual(self.timers, epoch=EPOCH_S)

    def prepare(self) -> None:
        """EngineCase: the part."""
        self.hub = hub_on(self.engine)
        none = lambda: None  # noqa: E731
        self.part = Metrics(self.hub, durations=no_durations, stored_logs=none, stored_spans=none)
        self.part.start()

    async def tearDown(self) -> None:
        self.part.stop()
        await super().tearDown()

    def say(self, worker_id: str, at_ns: int = 0, **values: float) -> None:
        """One frame of a worker's gauges; the field names stand for the metrics."""
        names = {field: name for name, (field, _) in GAUGES.items()}
        received_ns = int(self.engine.clock.wall() * 1e9)
        self.hub.add_metrics(
            [
                Metric(
                    name=names[field],
                    type="gauge",
                    points=[NumberPoint(value, [("worker.id", worker_id)], at_ns)],
                    service_name="orders",
                    received_ns=received_ns,
                )
                for field, value in values.items()
            ]
        )

    async def test_the_newest_points_of_this_worker(self) -> None:
        """05.14: and of nobody else."""
        worker, other = await self.worker(), await self.worker()
        await worker.describe(name="orders", runtime="python")
        self.say(worker.id, memory_rss=1.0, cpu_percent=12.5)
        self.timers.advance(10)
        at_ns = 1_760_000_050_000_000_000
        self.say(worker.id, at_ns, memory_rss=73_400_320.0, uptime_seconds=5.5)
        listed = await self.latest(other)
        self.assertEqual(
            listed[worker.id],
            {
                "memory_rss": 73_400_320,
                "cpu_percent": 12.5,
                "uptime_seconds": 5.5,
                "timestamp_ms": 1_760_000_050_000,
                "runtime": "python",
            },
        )
        self.assertIsInstance(listed[worker.id]["memory_rss"], int)
        self.assertIsNone(listed[other.id])

    async def latest(self, asking: Any) -> dict[str, Any]:
        """Worker id → ``latest_metrics``."""
        listed = await asking.call("engine::workers::list")
        return {row["id"]: row["latest_metrics"] for row in listed["workers"]}


class Bounded(MetricsCase):
    """Points age, and ids come from outside."""

    def gauges(
        self, *ids: str, name: str = "iii.worker.cpu.percent", value: float = 1
    ) -> list[Metric]:
        """A gauge of each of these workers."""
        return [self.gauge(value, name=name, pairs=[("worker.id", id)]) for id in ids]

    def test_points_are_shown_for_two_minutes(self) -> None:
        """05.14: each for itself."""
        known, worker = WorkerMetrics(self.hub), _Named("a")
        about = {"timestamp_ms": self.now_ms + 60_000, "runtime": None}
        known.add(self.gauges("a", name="iii.worker.memory.rss"))
        self.later(60)
        known.add(self.gauges("a"))
        self.later(60)
        self.assertEqual(known.of(worker), {"memory_rss": 1, "cpu_percent": 1.0, **about})
        self.later(1)
        self.assertEqual(known.of(worker), {"cpu_percent": 1.0, **about})
        self.later(60)
        self.assertIsNone(known.of(worker))

    def test_the_silent_are_forgotten(self) -> None:
        """And so make room for others."""
        self.patch(workers, "MAX_MEASURED_WORKERS", 2)
        known = WorkerMetrics(self.hub)
        known.add(self.gauges("a", "b", "c"))
        self.assertEqual(self.hub.dropped, {"metrics.too_many_workers": 1})
        self.later(121)
        known.sweep()
        known.add(self.gauges("c"))
        self.assertIsNotNone(known.of(_Named("c")))
        self.assertIsNone(known.of(_Named("a")))

    def test_no_process_is_that_large(self) -> None:
        known = WorkerMetrics(self.hub)
        known.add([*self.gauges("a"), *self.gauges("b", value=1e300)])
        self.assertIsNotNone(known.of(_Named("a")))
        self.assertIsNone(known.of(_Named("b")))

    def test_points_of_nobody_are_nobodys(self) -> None:
        """No id, or what can't be one."""
        known = WorkerMetrics(self.hub)
        known.add([*self.gauges("", "x" * 129), self.gauge(1, name="iii.worker.cpu.percent")])
        self.assertIsNone(known.of(_Named("")))
        self.assertIsNone(known.of(_Named("x" * 129)))


class _Named(Worker):
    """A worker with a chosen id."""

    def __init__(self, id: str) -> None:
        super().__init__(None, "127.0.0.1", 0)  # type: ignore[arg-type]  # it is never called
        self.id = id
