"""Metrics of workers: what is kept, and what goes first (05 A4.3, A5.3)."""

from __future__ import annotations

import tracemalloc
from typing import ClassVar

from twisted.logger import capturedLogs

from iii.modules.observability.metrics import store
from iii.modules.observability.metrics.store import MetricStore
from iii.modules.observability.model import Metric, NumberPoint
from tests.observability.metrics.cases import MetricsCase


class StoreCase(MetricsCase):
    """Looks into the store."""

    @property
    def store(self) -> MetricStore:
        """The store under test."""
        return self.part.store

    def names(self) -> list[str]:
        """What is kept, oldest first."""
        return [metric.name for metric in self.store.all()]

    def send_each_second(self, *names: str) -> None:
        """One gauge after the other."""
        for name in names:
            self.send(self.gauge(1, name=name))
            self.later(1)


class Counted(StoreCase):
    """``metrics_max_count``."""

    config: ClassVar = {"metrics_max_count": 3}

    def test_the_oldest_moment_goes_whole(self) -> None:
        """Two metrics of one frame go together, although one would do."""
        self.send(self.gauge(1, name="a"), self.gauge(1, name="b"))
        self.later(1)
        self.send_each_second("c", "d")
        self.assertEqual(self.names(), ["c", "d"])
        self.assertEqual(self.store.count, 2)

    def test_a_frame_that_is_too_large_alone_keeps_its_end(self) -> None:
        """Nothing older is there to go."""
        self.send(*(self.gauge(1, name=name) for name in "abcde"))
        self.assertEqual(self.names(), ["c", "d", "e"])


class Aged(StoreCase):
    """``metrics_retention_seconds``, swept every minute."""

    config: ClassVar = {"metrics_retention_seconds": 90}

    def test_what_is_older_goes_with_the_next_sweep(self) -> None:
        """Not before."""
        self.send_each_second("a")
        self.later(30)
        self.send_each_second("b")
        self.later(86)
        self.assertEqual(self.names(), ["a", "b"])
        self.later(3)
        self.assertEqual(self.names(), ["b"])

    def test_nothing_is_swept_after_the_stop(self) -> None:
        """No timer is left."""
        self.part.stop()
        self.assertEqual(self.timers.getDelayedCalls(), [])


class Bounded(StoreCase):
    """Names and bytes."""

    def test_names_beyond_the_limit_are_not_kept_and_told_once(self) -> None:
        """Known names are kept all the same."""
        self.patch(store, "MAX_NAMES", 2)
        with capturedLogs() as logged:
            self.send(*(self.gauge(1, name=name) for name in "abcda"))
        self.assertEqual(self.names(), ["a", "b", "a"])
        self.assertEqual(self.hub.dropped, {"metrics.too_many_names": 2})
        self.assertEqual(len(logged), 1)

    def test_a_name_that_is_gone_makes_room(self) -> None:
        """Evicted metrics are no names any more."""
        self.patch(store, "MAX_NAMES", 1)
        self.send(self.gauge(1, name="a"))
        self.later(3_700)
        self.send(self.gauge(1, name="b"))
        self.assertEqual(self.names(), ["b"])

    def test_bytes_are_bounded_too(self) -> None:
        """A few large ones push the old ones out."""
        self.patch(store, "MAX_STORE_BYTES", 11_000)
        self.send_each_second("a", "b")
        self.send(self.gauge(*range(34), name="large"))
        self.assertEqual(self.names(), ["large"])
        self.later(1)
        self.send(self.gauge(*range(300), name="larger than all"))
        self.assertEqual(self.names(), [])
        self.assertEqual((self.store.count, self.store.bytes), (0, 0))

    def test_a_resource_that_metrics_share_counts_once(self) -> None:
        """It is there once."""
        resource = {"service.name": "s" * 10_000}
        metrics = [self.gauge(1), self.gauge(1)]
        for metric in metrics:
            metric.resource = resource
        self.store.add(metrics)
        self.assertGreater(self.store.bytes, 10_000)
        self.assertLess(self.store.bytes, 20_000)

    def test_sizes_are_about_right(self) -> None:
        """The estimate is at least what is taken, and at most twice that."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        metrics = [self._built(number) for number in range(500)]
        self.store.add(metrics)
        taken = tracemalloc.get_traced_memory()[0] - before
        estimated = self.store.bytes
        self.assertGreater(estimated, taken)
        self.assertLess(estimated, 2 * taken)

    def _built(self, number: int) -> Metric:
        points = [
            NumberPoint(
                number + 0.5 + point,
                [(f"worker.id{number}", f"value {point} of {number}"), (f"key {number}", "b" * 20)],
                1_760_000_000_000_000_000 + number,
                1_750_000_000_000_000_000 + number,
            )
            for point in range(3)
        ]
        return Metric(
            name=f"metric {number}",
            type="gauge",
            points=points,
            service_name=f"service {number}",
            received_ns=1_760_000_000_000_000_000 + number,
            description=f"the number {number}",
            resource={},
        )
