"""The last hour: ten seconds a step, so much and no more."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.task import Clock as FakeTime
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.callcounts import BOUNDS_S, quantile
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.metrics import history, lately
from iii.modules.observability.metrics.history import KEPT_STEPS, STEP_S, History


class _Hub:
    def __init__(self, engine: ModuleApi) -> None:
        self.engine = engine


class HistoryCase(SynchronousTestCase):
    """A history of an engine whose time is moved by hand."""

    def setUp(self) -> None:
        self.time = FakeTime()
        self.engine = Engine(self.time, clock=Clock.virtual(self.time))
        hub: Any = _Hub(ModuleApi(self.engine, "test"))
        self.history = History(hub)
        self.history.start()
        self.addCleanup(self.history.stop)

    def call(self, id: str, seconds: float, code: str | None = None) -> None:
        """A call of ``id`` is over."""
        counts = self.engine.invocations.counts.of(id)
        counts.started += 1
        counts.ended(seconds, code)

    def stats(self, **asked: Any) -> Any:
        """``engine::functions::stats``."""
        return msgspec.to_builtins(self.history.stats(lately.StatsInput(**asked)))


class Steps(HistoryCase):
    """What is kept."""

    def test_a_window_is_of_its_own_time(self) -> None:
        for step in range(3):
            for _ in range(step + 1):
                self.call("f", 0.02)
            self.time.advance(STEP_S)
        self.time.advance(STEP_S / 2)
        # Whole steps are counted, and what came since; it is told how long that is.
        for asked, count, covered in (
            (1, 0, 5),
            (6, 3, 15),
            (15, 3, 15),
            (20, 5, 25),
            (300, 6, 35),
        ):
            found = self.stats(function_id="f", seconds=asked)
            self.assertEqual((found["count"], found["seconds"]), (count, covered), asked)
            self.assertAlmostEqual(found["rate_per_second"], count / covered)

    def test_no_more_than_an_hour(self) -> None:
        for _ in range(KEPT_STEPS + 5):
            self.time.advance(STEP_S)
        self.assertEqual(self.history.listed(lately.HistoryInput()).count, KEPT_STEPS)

    def test_no_more_than_so_many_bytes(self) -> None:
        """The oldest steps go, with their snapshots."""
        self.patch(history, "MAX_HISTORY_BYTES", 2_000)
        for step in range(50):
            self.call(f"f{step % 3}", 0.1)
            self.time.advance(STEP_S)
        self.assertLess(self.history.listed(lately.HistoryInput()).count, 15)
        self.assertLessEqual(self.history._bytes, 2_000)

    def test_quiet_functions_take_nothing(self) -> None:
        self.call("f", 0.1)
        self.time.advance(STEP_S)
        before = self.history._bytes
        self.time.advance(10 * STEP_S)
        self.assertEqual(self.history._bytes, before)

    def test_the_snapshot_is_of_the_calls_of_late(self) -> None:
        self.call("f", 9.0)
        for _ in range(3):
            self.time.advance(STEP_S)
        self.assertIsNone(self.history.snapshot(None).performance.p95_duration_ms)
        self.call("f", 0.02, "boom")
        now = self.history.snapshot(None)
        self.assertLess(now.performance.p95_duration_ms or 0, 26)
        self.assertEqual((now.invocations.total, now.invocations.error), (2, 1))

    def test_all_functions_the_most_called_first(self) -> None:
        for id, times in (("a", 1), ("b", 3), ("c", 2)):
            for _ in range(times):
                self.call(id, 0.01)
        found = self.stats(limit=2, series=True)
        self.assertEqual([row["function_id"] for row in found["functions"]], ["b", "c"])
        self.assertEqual((found["total"], found["functions"][0]["series"][0]["count"]), (3, 3))


class Quantiles(SynchronousTestCase):
    """``quantile``."""

    def buckets(self, **counts: int) -> list[int]:
        made = [0] * (len(BOUNDS_S) + 1)
        for place, count in counts.items():
            made[int(place[1:])] = count
        return made

    def test_within_a_bucket_durations_are_spread(self) -> None:
        self.assertIsNone(quantile(self.buckets(), 0.5))
        self.assertAlmostEqual(quantile(self.buckets(_0=10), 0.5) or 0, 0.0025)
        self.assertAlmostEqual(quantile(self.buckets(_0=90, _5=10), 0.95) or 0, 0.0875)

    def test_what_is_longer_than_any_bound_counts_as_the_last(self) -> None:
        last = len(BOUNDS_S)
        self.assertEqual(quantile(self.buckets(**{f"_{last}": 3}), 0.5), BOUNDS_S[-1])
