"""``engine::metrics::list`` (05 A6.6)."""

from __future__ import annotations

from typing import Any

from msgspec import json
from twisted.internet.defer import Deferred

from iii.modules.observability.metrics import slices
from iii.modules.observability.metrics.aggregates import percentile
from iii.modules.observability.metrics.part import Metrics
from iii.modules.observability.metrics.slices import JsonList
from iii.modules.observability.model import Metric
from tests.observability.metrics.cases import MetricsCase

LIST = "engine::metrics::list"


class Listing(MetricsCase):
    """What workers sent."""

    def test_nothing_asked_nothing_about_a_query(self) -> None:
        """05.28: three keys."""
        self.assertEqual(set(self.call(LIST)), {"engine_metrics", "sdk_metrics", "timestamp"})
        self.assertEqual(set(self.call(LIST, None)), {"engine_metrics", "sdk_metrics", "timestamp"})

    def test_a_metric_looks_like_this(self) -> None:
        """05.12: 42 is stored as 42.0, with the type of its kind."""
        sent = self.gauge(42, name="queue.size", pairs=[("worker.id", "w1")])
        sent.type = "updowncounter"
        sent.unit, sent.description, sent.scope_name = "messages", "how many wait", "iii-sdk"
        self.send(sent)
        self.assertEqual(
            self.call(LIST)["sdk_metrics"],
            [
                {
                    "name": "queue.size",
                    "description": "how many wait",
                    "unit": "messages",
                    "metric_type": "updowncounter",
                    "data_points": [
                        {
                            "value": 42.0,
                            "attributes": [["worker.id", "w1"]],
                            "timestamp_unix_nano": self.now_ns,
                        }
                    ],
                    "service_name": "orders",
                    "timestamp_unix_nano": self.now_ns,
                    "instrumentation_scope_name": "iii-sdk",
                }
            ],
        )

    def test_a_histogram_looks_like_this(self) -> None:
        """Extremes are null when nobody told them."""
        self.send(self.histogram([1, 2], [0.5], total=3.5, high=2.0))
        metric = self.call(LIST)["sdk_metrics"][0]
        self.assertEqual(metric["metric_type"], "histogram")
        self.assertEqual(
            metric["data_points"],
            [
                {
                    "count": 3,
                    "sum": 3.5,
                    "bucket_counts": [1, 2],
                    "explicit_bounds": [0.5],
                    "min": None,
                    "max": 2.0,
                    "attributes": [],
                    "timestamp_unix_nano": self.now_ns,
                }
            ],
        )

    def test_a_range_needs_both_ends(self) -> None:
        """Both included; one alone restricts nothing."""
        for name in "abc":
            self.send(self.gauge(1, name=name))
            self.later(1)
        start, end = self.now_ms - 2_000, self.now_ms - 1_000
        self.assertEqual(self.names(start_time=start, end_time=end), ["b", "c"])
        self.assertEqual(self.names(start_time=start), ["a", "b", "c"])
        self.assertEqual(self.names(start_time=end, end_time=start), [])

    def test_one_name(self) -> None:
        """Exactly that."""
        self.send(self.gauge(1, name="a"), self.gauge(1, name="ab"))
        self.assertEqual(self.names(metric_name="a"), ["a"])

    def test_the_query_is_told_when_there_is_one(self) -> None:
        """A name alone is none."""
        self.assertNotIn("query", self.call(LIST, {"metric_name": "a"}))
        self.assertEqual(
            self.call(LIST, {"end_time": 7, "metric_name": "a"})["query"],
            {"start_time": None, "end_time": 7, "aggregate_interval": None, "metric_name": "a"},
        )

    def names(self, **asked: Any) -> list[str]:
        """The names that are listed."""
        return [metric["name"] for metric in self.call(LIST, asked)["sdk_metrics"]]


class Refused(MetricsCase):
    """Times that are none."""

    def test_what_does_not_fit_into_64_bits_of_nanoseconds(self) -> None:
        """05.29: an answer, not an error."""
        huge = 2**64 - 1
        asked: list[dict[str, Any]] = [
            {"start_time": huge, "end_time": 1},
            {"start_time": 1, "end_time": huge},
            {"aggregate_interval": huge},
        ]
        texts = [self.call(LIST, one) for one in asked]
        for text, name in zip(texts, ("start_time", "end_time", "aggregate_interval"), strict=True):
            expected = {"sdk_metrics": [], "aggregated_metrics": []}
            self.assertEqual(text, {"error": f"{name} value too large", **expected})

    def test_an_interval_of_nothing(self) -> None:
        """An error with a code of its own."""
        asked = {"start_time": 0, "end_time": 1, "aggregate_interval": 0}
        self.assertEqual(self.error_of(LIST, asked), "invalid_aggregate_interval")

    def test_what_is_no_time(self) -> None:
        """Refused like any wrong input."""
        for wrong in (-1, "1", 1.5, []):
            self.assertEqual(self.error_of(LIST, {"start_time": wrong}), "deserialization_error")


class Aggregated(MetricsCase):
    """``aggregate_interval``."""

    def aggregated(self, **asked: Any) -> Any:
        """Of the last hour, by minutes."""
        times = {"start_time": self.now_ms - 3_600_000, "end_time": self.now_ms}
        return self.call(LIST, {**times, "aggregate_interval": 60, **asked}).get(
            "aggregated_metrics"
        )

    def test_values_of_a_bucket_are_one_row(self) -> None:
        """05.30: with percentiles when there are five or more."""
        self.send(self.gauge(6, 1, 5, 2, 4, 3))
        start_ns = self.now_ns - self.now_ns % 60_000_000_000
        self.assertEqual(
            self.aggregated(),
            [
                {
                    "name": "g",
                    "bucket_start_ns": start_ns,
                    "bucket_end_ns": start_ns + 60_000_000_000,
                    "count": 6,
                    "sum": 21.0,
                    "min": 1.0,
                    "max": 6.0,
                    "avg": 3.5,
                    "percentiles": {"p50": 4.0, "p75": 5.0, "p90": 6.0, "p95": 6.0, "p99": 6.0},
                }
            ],
        )

    def test_four_values_have_no_percentiles(self) -> None:
        """05.30: too few."""
        self.send(self.gauge(1, 2, 3, 4))
        (row,) = self.aggregated()
        self.assertEqual(row["count"], 4)
        self.assertNotIn("percentiles", row)

    def test_rows_are_by_name_then_time(self) -> None:
        """Several frames of a bucket are one row."""
        for name in ("b", "a", "b"):
            self.send(self.gauge(1, name=name))
            self.later(30)
        rows = [(row["name"], row["count"]) for row in self.aggregated()]
        self.assertEqual(rows, [("a", 1), ("b", 1), ("b", 1)])
        starts = [row["bucket_start_ns"] for row in self.aggregated()]
        self.assertEqual(starts[2] - starts[1], 60_000_000_000)

    def test_only_the_metric_asked_for(self) -> None:
        """The original aggregated all of them."""
        self.send(self.gauge(1, name="a"), self.gauge(1, name="b"))
        self.assertEqual([row["name"] for row in self.aggregated(metric_name="b")], ["b"])

    def test_without_numbers_the_key_is_absent(self) -> None:
        """Histograms are not aggregated, and one end is no range."""
        self.send(self.histogram([1, 2], [0.5]))
        self.assertIsNone(self.aggregated())
        self.send(self.gauge(1))
        self.assertIsNone(self.aggregated(end_time=None))

    def test_percentiles_are_values_that_occurred(self) -> None:
        """The value at the place, the last at most."""
        self.assertEqual(percentile([1.0], 99), 1.0)
        self.assertEqual(percentile([1.0, 2.0], 50), 2.0)
        self.assertEqual(percentile([float(n) for n in range(100)], 95), 95.0)


class OfTheEngine(MetricsCase):
    """``engine_metrics``."""

    def make_part(self) -> Metrics:
        """One that knows how long calls took."""
        self.durations = [1.0, 2.0, 3.0]
        return Metrics(
            self.hub,
            durations=self._durations,
            stored_logs=lambda: None,
            stored_spans=lambda: None,
        )

    async def _durations(self) -> list[float]:
        return self.durations

    def engine_metrics(self) -> Any:
        """As they are now."""
        return self.call(LIST)["engine_metrics"]

    def test_calls_are_counted_when_they_end(self) -> None:
        """This very call has begun, and isn't over."""
        self.work(3)
        self.fail_work()
        invocations = self.engine_metrics()["invocations"]
        by_function = {"works": 3, "fails": 1, LIST: 1}
        self.assertEqual(
            invocations,
            {"total": 5, "success": 3, "error": 1, "deferred": 0, "by_function": by_function},
        )

    def test_an_id_that_nobody_owns_is_no_function(self) -> None:
        """It may be anything a client made up."""
        self.error_of("nobody::has::this")
        invocations = self.engine_metrics()["invocations"]
        self.assertEqual(list(invocations["by_function"]), [LIST])
        # It was a call all the same, the one that failed; LIST is under way.
        self.assertEqual((invocations["total"], invocations["error"]), (2, 1))

    def test_nobody_connected(self) -> None:
        """Three zeros."""
        self.assertEqual(self.engine_metrics()["workers"], {"spawns": 0, "deaths": 0, "active": 0})

    def test_durations_come_from_whoever_keeps_spans(self) -> None:
        """Without any, zeros."""
        expected = {
            "avg_duration_ms": 2.0,
            "p50_duration_ms": 2.0,
            "p95_duration_ms": 3.0,
            "p99_duration_ms": 3.0,
            "min_duration_ms": 1.0,
            "max_duration_ms": 3.0,
        }
        self.assertEqual(self.engine_metrics()["performance"], expected)
        self.durations = []
        self.assertEqual(self.engine_metrics()["performance"], dict.fromkeys(expected, 0.0))


class Slices(MetricsCase):
    """Long lists leave others their turn."""

    def test_a_long_answer_takes_several_turns(self) -> None:
        """And nothing of it is lost."""
        self.patch(slices, "SLICE_ITEMS", 10)
        for number in range(25):
            self.send(self.gauge(number, number, name=f"g{number}"))
        times = {"start_time": 0, "end_time": self.now_ms, "aggregate_interval": 1}
        turns: list[JsonList] = []
        others_first = JsonList.others_first

        def counted(rows: JsonList) -> Deferred[None]:
            turns.append(rows)
            return others_first(rows)

        self.patch(JsonList, "others_first", counted)
        listed = self.call(LIST, times)
        self.assertEqual(len(turns), 5 + 5 + 2)
        self.assertEqual(
            [metric["name"] for metric in listed["sdk_metrics"]], [f"g{n}" for n in range(25)]
        )
        self.assertEqual(len(listed["aggregated_metrics"]), 25)

    def test_what_arrives_meanwhile_is_not_in_it(self) -> None:
        """The answer is of one moment."""
        self.patch(slices, "SLICE_ITEMS", 1)
        self.send(self.gauge(1, name="a"))
        answer = self.engine.invoke(LIST)
        late: Metric = self.gauge(1, name="late")
        self.send(late)
        self.timers.advance(0)
        listed = json.decode(self.successResultOf(answer))
        self.assertEqual([metric["name"] for metric in listed["sdk_metrics"]], ["a"])
