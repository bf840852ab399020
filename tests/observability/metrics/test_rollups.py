"""``engine::rollups::list``: sums that outlive the points (05 A6.13)."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import json

from iii.engine.callcounts import BOUNDS_S
from iii.modules.observability.metrics import increases, levels, slices
from iii.modules.observability.metrics.levels import Levels, Numbers
from tests.observability.metrics.cases import EPOCH_S, MetricsCase

LIST = "engine::rollups::list"
MINUTE_NS = 60_000_000_000


class RollupsCase(MetricsCase):
    """Without the engine's own figures: only what the test sends."""

    config: ClassVar = {"metrics_enabled": False}

    def rows(self, level: int = 0, **asked: Any) -> Any:
        """Roll-ups of numbers, of all time."""
        return self.listed(level, **asked)["rollups"]

    def histograms(self, level: int = 0) -> Any:
        """Roll-ups of histograms."""
        return self.listed(level)["histogram_rollups"]

    def listed(self, level: int = 0, **asked: Any) -> Any:
        """All of the answer."""
        times = {"start_time": 0, "end_time": self.now_ms}
        return self.call(LIST, {**times, "level": level, **asked})

    def sums(self, level: int = 0) -> list[tuple[int, float]]:
        """Count and sum of each bucket."""
        return [(row["count"], row["sum"]) for row in self.rows(level)]


class Buckets(RollupsCase):
    """A minute, five, an hour."""

    def test_a_minute_is_listed_when_it_is_over(self) -> None:
        """05.31: not before."""
        self.send(self.gauge(1, 2))
        self.later(20)
        self.send(self.gauge(6))
        self.later(39)
        self.assertEqual(self.call(LIST, {"level": 0})["rollups"], [])
        self.later(1)
        start_ns = int(EPOCH_S) * 1_000_000_000
        self.assertEqual(
            self.call(LIST, {"level": 0})["rollups"],
            [
                {
                    "name": "g",
                    "bucket_start_ns": start_ns,
                    "bucket_end_ns": start_ns + MINUTE_NS,
                    "count": 3,
                    "sum": 9.0,
                    "min": 1.0,
                    "max": 6.0,
                    "avg": 3.0,
                }
            ],
        )

    def test_there_are_three_levels(self) -> None:
        """05.31: of others there is nothing."""
        for level in (3, 9, 2**70):
            listed = self.listed(level)
            self.assertEqual((listed["rollups"], listed["histogram_rollups"]), ([], []))
            self.assertEqual(listed["level"], level)

    def test_every_level_says_the_same(self) -> None:
        """What a minute holds is in its five minutes and in its hour."""
        for _ in range(120):
            self.send(self.gauge(1), self.gauge(4, name="h"))
            self.later(60)
        for level in (0, 1, 2):
            rows = self.rows(level, metric_name="g")
            self.assertEqual({row["avg"] for row in rows}, {1.0})
            self.assertEqual(len({row["bucket_start_ns"] for row in rows}), len(rows))
        self.assertEqual(sum(row["sum"] for row in self.rows(1, metric_name="h")), 4.0 * 116)

    def test_a_level_keeps_so_much(self) -> None:
        """An hour of minutes, six of five minutes, seven days of hours."""
        for _ in range(8 * 24):
            self.send(self.gauge(1))
            self.timers.advance(3_600)
        self.assertEqual([len(self.rows(level)) for level in (0, 1, 2)], [1, 6, 168])
        for _ in range(100):
            self.send(self.gauge(1))
            self.timers.advance(60)
        self.assertEqual(len(self.rows()), 60)

    def test_a_bucket_must_lie_wholly_in_the_range(self) -> None:
        """Its ends included."""
        self.send(self.gauge(1))
        self.later(120)
        start = int(EPOCH_S) * 1_000
        for range_, found in (
            ((start, start + 60_000), 1),
            ((start + 1, start + 60_000), 0),
            ((start, start + 59_999), 0),
        ):
            times = dict(zip(("start_time", "end_time"), range_, strict=True))
            self.assertEqual(len(self.call(LIST, times)["rollups"]), found, range_)

    def test_the_last_hour_is_what_is_meant(self) -> None:
        """The range is told; times beyond 64 bits are refused in an answer."""
        query = self.call(LIST, {"metric_name": "g"})["query"]
        times = {"start_time": self.now_ms - 3_600_000, "end_time": self.now_ms}
        self.assertEqual(query, {**times, "metric_name": "g"})
        for name in ("end_time", "start_time"):
            refused = self.call(LIST, {name: 2**64 - 1, "start_time": 2**64 - 1})
            expected = {"error": f"{name} value too large"}
            self.assertEqual(refused, {**expected, "rollups": [], "histogram_rollups": []})

    def test_a_long_answer_takes_several_turns(self) -> None:
        """And is complete."""
        self.patch(slices, "SLICE_ITEMS", 10)
        self.send(*(self.gauge(1, name=f"g{number}") for number in range(25)))
        self.later(60)
        for asked, found in (({}, 25), ({"metric_name": "g3"}, 1)):
            answer = self.engine.invoke(LIST, asked)
            self.assertNoResult(answer)
            self.timers.advance(0)
            rows = json.decode(self.successResultOf(answer))["rollups"]
            self.assertEqual(len(rows), found)


class Values(RollupsCase):
    """What goes in."""

    def test_counters_count_what_they_grew_by(self) -> None:
        """The first point of a young counter is all of it; a restart begins at nothing."""
        for value in (5, 8, 8, 2):
            self.send(self.counter(value, start_ns=self.now_ns if value == 5 else 0))
            self.later(60)
        self.assertEqual(self.sums(), [(1, 5.0), (1, 8.0), (1, 0.0), (1, 2.0)])

    def test_an_old_counter_does_not_start_with_a_jump(self) -> None:
        """What it counted before anybody watched is not of this minute."""
        before = self.now_ns - 1
        self.send(self.counter(1_000_000, start_ns=before))
        self.later(60)
        self.send(self.counter(1_000_003, start_ns=before))
        self.later(60)
        self.assertEqual(self.sums(), [(1, 0.0), (1, 3.0)])

    def test_series_of_a_counter_are_apart(self) -> None:
        """By their attributes, in any order."""
        one, other = [("a", "1"), ("b", "2")], [("a", "2"), ("b", "2")]
        self.send(self.counter(5, pairs=one), self.counter(100, pairs=other))
        self.send(self.counter(6, pairs=one[::-1]), self.counter(100, pairs=other))
        self.later(60)
        self.assertEqual(self.sums(), [(4, 106.0)])

    def test_deltas_are_what_they_are(self) -> None:
        """Each adds."""
        self.send(self.counter(5, delta=True), self.counter(3, delta=True))
        self.later(60)
        self.assertEqual(self.sums(), [(2, 8.0)])

    def test_histograms_are_merged_and_no_point_counts_twice(self) -> None:
        """Of running ones, what they grew by; extremes only where they are of this time."""
        self.send(self.histogram([1, 2], [0.5], total=3.0, low=0.25, high=2.0))
        self.send(self.histogram([2, 4], [0.5], total=7.0, low=0.125, high=3.0))
        self.later(60)
        self.send(self.histogram([2, 5], [0.5], total=8.0))
        self.later(60)
        found = [
            (row["total_count"], row["total_sum"], row["bucket_counts"], row["min"], row["max"])
            for row in self.histograms()
        ]
        self.assertEqual(found, [(6, 7.0, [2, 4], 0.25, 2.0), (1, 1.0, [0, 1], None, None)])
        self.assertEqual(self.histograms()[0]["explicit_bounds"], [0.5])

    def test_a_histogram_that_began_anew_counts_whole(self) -> None:
        """As do histograms that are deltas."""
        self.send(self.histogram([5, 5], [0.5]), self.histogram([1, 0], [0.5]))
        self.later(60)
        self.send(self.histogram([1, 0], [0.5], delta=True), self.histogram([1, 0], [0.5]))
        self.later(60)
        self.assertEqual([row["total_count"] for row in self.histograms()], [11, 1])

    def test_histograms_with_other_bounds_are_rows_of_their_own(self) -> None:
        """They can't be added; those without buckets have one."""
        self.send(
            self.histogram([1, 1], [0.5], delta=True),
            self.histogram([1, 1], [0.7], delta=True),
        )
        bare = self.histogram([7], [], delta=True)
        bare.points[0].bucket_counts = []  # type: ignore[union-attr]
        self.send(bare, bare)
        self.later(60)
        found = [(row["explicit_bounds"], row["bucket_counts"]) for row in self.histograms()]
        self.assertEqual(found, [([0.5], [1, 1]), ([0.7], [1, 1]), ([], [14])])

    def test_endless_counts_end_somewhere(self) -> None:
        """The bucket they are in can still be kept."""
        for _ in range(3):
            self.send(self.histogram([2**53, 0], [0.5], delta=True))
        self.later(60)
        self.assertEqual([row["total_count"] for row in self.histograms()], [2**53])

    def test_what_makes_no_sense_is_counted_and_left_out(self) -> None:
        """Bounds that don't fit the counts, too many bounds, endless names."""
        self.send(
            self.histogram([1, 1, 1], [0.5]),
            self.histogram([1] * 300, [float(n) for n in range(299)]),
            self.histogram([2**60, 1], [0.5]),
            self.gauge(1, name="g" * 256),
        )
        self.later(60)
        self.assertEqual((self.rows(), self.histograms()), ([], []))
        self.assertEqual(self.hub.dropped, {"metrics.not_rolled_up": 4})


class OfTheEngine(MetricsCase):
    """What the engine knows of itself, minute by minute."""

    def of(self, name: str) -> list[tuple[int, float]]:
        """Count and sum of each minute."""
        asked = {"metric_name": name}
        return [(row["count"], row["sum"]) for row in self.call(LIST, asked)["rollups"]]

    def test_calls_of_each_minute(self) -> None:
        """A quiet one is a zero."""
        self.work(3)
        self.fail_work()
        self.later(120)
        self.work(2)
        self.later(60)
        self.assertEqual(self.of("iii.invocations.success"), [(1, 3.0), (1, 0.0), (1, 2.0)])
        self.assertEqual(self.of("iii.invocations.error"), [(1, 1.0), (1, 0.0), (1, 0.0)])
        # Asking is calling.
        self.assertEqual(self.of("iii.invocations.total"), [(1, 4.0), (1, 0.0), (1, 2.0)])
        self.assertEqual(self.of("iii.workers.active"), [(1, 0.0)] * 3)

    def test_their_durations(self) -> None:
        """A histogram in seconds, of those that ended in the bucket."""
        self.work(3)
        self.later(60)
        (row,) = self.call(LIST)["histogram_rollups"]
        self.assertEqual(row["name"], "iii.invocation.duration")
        self.assertEqual((row["total_count"], row["bucket_counts"][0]), (3, 3))
        self.assertEqual(row["explicit_bounds"], list(BOUNDS_S))

    def test_the_busiest_minute_of_five(self) -> None:
        """It is the maximum of the level above."""
        for calls in (1, 7, 2, 0, 0, 0, 0, 0, 0, 0):
            self.work(calls)
            self.later(60)
        found = self.call(LIST, {"level": 1, "metric_name": "iii.invocations.success"})["rollups"]
        # The first minute, 08:54, is the last of its five.
        self.assertEqual([(row["max"], row["sum"]) for row in found], [(1.0, 1.0), (7.0, 9.0)])


class Bounded(RollupsCase):
    """Names, bytes, series."""

    def test_names_beyond_the_limit_are_left_out(self) -> None:
        """Known ones go on."""
        self.patch(levels, "MAX_ROLLED_NAMES", 1)
        self.patch(levels, "MAX_ROLLED_HISTOGRAMS", 1)
        self.send(self.gauge(1, name="a"), self.gauge(1, name="b"), self.gauge(1, name="a"))
        self.send(self.histogram([1, 0], [0.5]), self.histogram([1, 0], [0.7]))
        self.later(60)
        self.assertEqual([row["name"] for row in self.rows()], ["a"])
        self.assertEqual(len(self.histograms()), 1)
        self.assertEqual(self.hub.dropped, {"metrics.not_rolled_up": 2})

    def test_beyond_its_bytes_the_oldest_of_the_largest_level_goes(self) -> None:
        """Always room for what is new."""
        known = Levels()
        self.patch(levels, "MAX_ROLLUP_BYTES", 1_000)
        for minute in range(50):
            for name in ("a", "b"):
                known.add(minute * MINUTE_NS, name, Numbers(1, 1.5, 1.5, 1.5))
            self.assertLessEqual(known.bytes, 1_000)
        kept = [bucket.start_ns // MINUTE_NS for _, bucket in known.find(0, 0, 2**70)]
        self.assertEqual(kept, list(range(kept[0], 49)))
        self.assertGreater(len(list(known.find(1, 0, 2**70))), 3)

    def test_series_not_seen_for_long_are_forgotten(self) -> None:
        """When there are too many: then they are like new ones."""
        self.patch(increases, "MAX_SERIES_BYTES", 1_000)
        before = self.now_ns - 1
        for value in (10, 13):
            for series in "abc":
                pairs = [("series", series)]
                self.send(self.counter(value, pairs=pairs, name=series, start_ns=before))
        self.send(self.counter(20, pairs=[("series", "c")], name="c", start_ns=before))
        self.later(60)
        sums = {row["name"]: row["sum"] for row in self.rows()}
        self.assertEqual(sums, {"a": 0.0, "b": 0.0, "c": 7.0})

    def test_a_clock_put_back_a_little_adds_to_the_present_bucket(self) -> None:
        """And one put back by much begins another, and forgets the future."""
        known = Levels()
        one = (1, 1.0, 1.0, 1.0)
        known.add(10 * MINUTE_NS, "a", Numbers(*one))
        known.add(10 * MINUTE_NS - 1, "a", Numbers(*one))
        known.roll(11 * MINUTE_NS)
        self.assertEqual([b.numbers["a"].count for _, b in known.find(0, 0, 2**70)], [2])
        known.add(3 * MINUTE_NS, "a", Numbers(*one))
        known.roll(4 * MINUTE_NS)
        found = [bucket.start_ns // MINUTE_NS for _, bucket in known.find(0, 0, 2**70)]
        self.assertEqual(found, [3])


class SwitchedOff(RollupsCase):
    """``metrics_enabled: false``."""

    def test_the_engine_is_not_read(self) -> None:
        """Workers' metrics are kept all the same."""
        self.work(3)
        self.send(self.gauge(1))
        self.later(120)
        self.assertEqual([row["name"] for row in self.rows()], ["g"])
