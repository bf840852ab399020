"""Counting calls (05 A9)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from iii.engine import callcounts
from iii.engine.callcounts import BOUNDS_S, OTHER, CallCounts, Durations, FunctionCounts


class Buckets(SynchronousTestCase):
    """A duration is counted in the bucket whose bound is not below it."""

    def test_a_bound_belongs_to_its_own_bucket(self) -> None:
        durations = Durations()
        durations.add(0.005)
        durations.add(0.0051)
        durations.add(11.0)
        self.assertEqual(durations.buckets[0], 1)
        self.assertEqual(durations.buckets[1], 1)
        self.assertEqual(durations.buckets[-1], 1)
        self.assertAlmostEqual(durations.seconds, 11.0101)

    @given(st.lists(st.floats(0, 20)))
    def test_none_is_lost(self, seconds: list[float]) -> None:
        counts = FunctionCounts()
        for each in seconds:
            counts.ended(each, None)
        self.assertEqual(counts.succeeded.count, len(seconds))
        for bound in BOUNDS_S:
            below = sum(counts.succeeded.buckets[: BOUNDS_S.index(bound) + 1])
            self.assertEqual(below, sum(each <= bound for each in seconds))


class Bounds(SynchronousTestCase):
    """Names come from outside."""

    def test_more_functions_are_one(self) -> None:
        self.patch(callcounts, "MAX_COUNTED_FUNCTIONS", 3)
        counts = CallCounts()
        for number in range(10):
            counts.of(f"f{number}").started += 1
        self.assertEqual(counts.of("f0").started, 1)
        self.assertEqual(counts.of("f9").started, 7)
        self.assertEqual([name for name, _ in counts], ["f0", "f1", "f2", OTHER])

    def test_ids_that_never_were_functions_are_one(self) -> None:
        """Nobody fills the table by calling what is not there."""
        counts = CallCounts()
        counts.of("gone").started += 1
        for id in ("gone", "made", "up"):
            counts.of_unowned(id).started += 1
        started = {id: each.started for id, each in counts}
        self.assertEqual(started, {"gone": 2, OTHER: 2})

    def test_more_error_codes_are_one(self) -> None:
        self.patch(callcounts, "MAX_ERROR_CODES", 2)
        counts = FunctionCounts()
        for code in "abcab":
            counts.ended(0.0, code)
        self.assertEqual(counts.errors, {"a": 2, "b": 2, OTHER: 1})
        self.assertEqual(counts.failed.count, 5)
