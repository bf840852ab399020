"""05 A10: metrics of workers as series."""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import TestCase

from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint
from iii.modules.observability.prometheus import sdkseries
from iii.modules.observability.prometheus.exposition import PLAIN, text_of
from iii.modules.observability.prometheus.sdkseries import EXPIRY_S, SdkSeries
from iii.modules.observability.prometheus.snapshot import Snapshots
from tests.observability.prometheus.cases import (
    Scraped,
    Warnings,
    histogram,
    hub_of,
    number,
    parsed,
    still_engine,
)


class WorkerMetricsCase(TestCase):
    """Metrics arrive in a hub whose time stands still."""

    def setUp(self) -> None:
        engine, self.time = still_engine()
        self.hub = hub_of(engine)
        self.series = SdkSeries(self.hub)
        self.hub.on_metrics(self.series.add)
        self.snapshots = Snapshots(self.hub, self.series)

    def add(self, *metrics: Metric) -> None:
        """Workers sent these, in one frame."""
        self.hub.add_metrics(list(metrics))

    def seen(self) -> Scraped:
        """What a scrape shows."""
        text = b"".join(text_of(self.snapshots.registry([]), PLAIN))
        return parsed(text.decode())

    def value(self, name: str, **labels: str) -> float | None:
        """One value of a scrape."""
        return self.seen().value(name, **labels)


class Names(WorkerMetricsCase):
    """Which name and which labels a metric gets."""

    def test_characters_that_prometheus_has_not_become_underscores(self) -> None:
        self.add(number("http.client-duration/ü", 1, attributes={"http.route": "/a", "2x": "y"}))
        self.assertEqual(
            self.seen().all("http_client_duration__"),
            [({"http_route": "/a", "_2x": "y", "service_name": "shop"}, 1)],
        )

    def test_counters_end_with_total_once(self) -> None:
        self.add(number("orders", 1, "counter"), number("mails.total", 2, "counter"))
        self.assertEqual((self.value("orders_total"), self.value("mails_total")), (1, 2))
        self.assertNotIn("mails_total_total", self.seen().names)

    def test_a_sum_that_may_fall_is_a_gauge(self) -> None:
        self.add(number("jobs", 3, "updowncounter"))
        self.assertEqual(self.value("jobs"), 3)

    def test_names_of_prometheus_itself_are_kept_free(self) -> None:
        self.add(number("a", 1, attributes={"__name__": "x", "le": "y"}))
        [(labels, _)] = self.seen().all("a")
        self.assertEqual(labels, {"key__name__": "x", "key_le": "y", "service_name": "shop"})

    def test_names_that_became_equal_share_a_label(self) -> None:
        self.add(number("a", 1, attributes={"x.y": "1", "x_y": "2"}))
        self.assertEqual(self.seen().all("a")[0][0]["x_y"], "1;2")

    def test_half_a_character_does_not_spoil_the_scrape(self) -> None:
        self.add(number("a", 1, attributes={"k": "\ud800"}, description="\udfff"))
        self.assertEqual(self.value("a", k="?"), 1)

    def test_endless_texts_are_cut(self) -> None:
        self.add(number("n" * 10_000, 1, attributes={"k" * 10_000: "v" * 10_000}))
        [(labels, _)] = self.seen().all("n" * 200)
        self.assertEqual(labels["k" * 200], "v" * 1024)

    def test_two_processes_of_a_service_do_not_take_turns(self) -> None:
        for instance, value in (("one", 5), ("two", 7)):
            self.add(number("n", value, "counter", resource={"service.instance.id": instance}))
        self.assertEqual(self.value("n_total", service_instance_id="one"), 5)
        self.assertEqual(self.value("n_total", service_instance_id="two"), 7)


class Values(WorkerMetricsCase):
    """The latest point, sums of deltas, and what makes no sense."""

    def test_the_latest_point_of_each_label_set(self) -> None:
        points = [NumberPoint(2.0, [], 20), NumberPoint(1.0, [], 10)]
        self.add(Metric(name="g", type="gauge", points=points, service_name="s", received_ns=0))
        self.assertEqual(self.value("g"), 2)
        self.add(number("g", 3, service="s"))
        self.assertEqual(self.value("g"), 3)

    def test_deltas_add_up(self) -> None:
        for value in (1, 2, 3):
            self.add(number("c", value, "counter", delta=True))
            self.add(number("u", -value, "updowncounter", delta=True))
            self.add(histogram("h", [1, value], [0.5], delta=True))
        self.assertEqual((self.value("c_total"), self.value("u")), (6, -6))
        buckets = {x["le"]: n for x, n in self.seen().all("h_bucket")}
        self.assertEqual(buckets, {"0.5": 3, "+Inf": 9})
        self.assertEqual((self.value("h_count"), self.value("h_sum")), (9, 9))

    def test_cumulative_points_replace(self) -> None:
        for count in (1, 5):
            self.add(histogram("h", [count, 0, 1], [0.5, 1.0]), number("c", count, "counter"))
        self.assertEqual((self.value("h_count"), self.value("c_total")), (6, 5))

    def test_other_bounds_begin_anew(self) -> None:
        self.add(histogram("h", [1, 1], [0.5], delta=True))
        before = self.series.bytes
        self.add(histogram("h", [1, 2, 3], [0.5, 1.0], delta=True))
        self.assertEqual((self.value("h_count"), len(self.series)), (6, 1))
        self.assertGreater(self.series.bytes, before)

    def test_bounds_below_zero_have_no_sum(self) -> None:
        self.add(histogram("h", [1, 2], [-1.0]))
        self.assertEqual((self.value("h_count"), self.value("h_sum")), (3, None))

    def test_what_makes_no_sense_is_left_out_and_counted(self) -> None:
        warnings = Warnings(self)
        short = HistogramPoint(1, 1.0, [1], [1.0, 2.0], [], 0)
        self.add(
            number("a", float("nan")),
            number("b", float("inf")),
            number("c", -1, "counter"),
            histogram("d", [1, 1, 1], [2.0, 1.0]),
            histogram("e", [-1, 1], [1.0]),
            histogram("f", [0] * 202, [float(n) for n in range(201)]),
            Metric(name="g", type="histogram", points=[short], service_name="", received_ns=0),
            Metric(name="h", type="gauge", points=[short], service_name="", received_ns=0),
            number("i", 1, "histogram"),
            histogram("iii.worker.memory.rss", [1, 1], [1.0]),
            number("good", 1),
        )
        self.assertEqual((len(self.series), self.value("good")), (1, 1))
        self.assertEqual(self.hub.dropped["prometheus.unusable_point"], 10)
        self.assertEqual(len(warnings.texts), 1)

    def test_a_histogram_without_buckets_has_its_count(self) -> None:
        point = HistogramPoint(4, 2.5, [], [], [], 0)
        self.add(Metric(name="h", type="histogram", points=[point], service_name="", received_ns=0))
        self.assertEqual((self.value("h_count"), self.value("h_bucket", le="+Inf")), (4, 4))

    def test_a_name_has_one_kind(self) -> None:
        self.add(number("a.b", 1), histogram("a_b", [1, 1], [1.0]))
        self.assertEqual(self.value("a_b"), 1)
        self.assertEqual(self.hub.dropped["prometheus.two_kinds"], 1)


class Workers(WorkerMetricsCase):
    """05 A9.1 and A10: the gauges of worker processes."""

    def test_they_have_the_engines_names_and_labels(self) -> None:
        who = {"worker.id": "w1", "worker.name": "billing", "more": "x"}
        sent: dict[str, float] = {
            "iii.worker.memory.heap_used": 1000,
            "iii.worker.memory.heap_total": 2000,
            "iii.worker.memory.rss": 3000,
            "iii.worker.memory.external": 4000,
            "iii.worker.cpu.percent": 12.5,
            "iii.worker.cpu.user_micros": 2_000_000,
            "iii.worker.cpu.system_micros": 500_000,
            "iii.worker.event_loop.lag_ms": 1.5,
            "iii.worker.uptime_seconds": 60,
        }
        self.add(*(number(name, value, attributes=who) for name, value in sent.items()))
        seen = self.seen()
        labels = {"worker_id": "w1", "worker_name": "billing"}
        for name, value in {
            "iii_worker_memory_heap_bytes": 1000,
            "iii_worker_memory_heap_size_bytes": 2000,
            "iii_worker_memory_rss_bytes": 3000,
            "iii_worker_memory_external_bytes": 4000,
            "iii_worker_cpu_percent": 12.5,
            "iii_worker_cpu_user_seconds": 2,
            "iii_worker_cpu_system_seconds": 0.5,
            "iii_worker_event_loop_lag_ms": 1.5,
            "iii_worker_event_loop_lag_milliseconds": 1.5,
            "iii_worker_uptime_seconds": 60,
        }.items():
            self.assertEqual(seen.all(name), [(labels, value)], name)
        self.assertNotIn("iii_worker_memory_rss", seen.names)


class Bounds(WorkerMetricsCase):
    """Series end, and there are only so many."""

    def test_a_series_ends_five_minutes_after_its_last_point(self) -> None:
        self.add(number("a", 1), number("b", 1))
        self.time.advance(EXPIRY_S - 1)
        self.add(number("b", 2))
        self.assertEqual((self.value("a"), self.value("b")), (1, 2))
        self.time.advance(1)
        self.assertEqual((self.value("a"), self.value("b")), (None, 2))
        self.time.advance(EXPIRY_S)
        self.add(number("c", 1))  # nobody scrapes: they go all the same
        self.assertEqual(len(self.series), 1)

    def test_label_sets_beyond_the_limit_are_one(self) -> None:
        self.patch(sdkseries, "MAX_LABEL_SETS", 3)
        for index in range(6):
            labels = {"user": str(index)}
            self.add(
                number("g", index, attributes=labels),
                number("c", 10 - index, "counter", attributes=labels),
                number("d", index, "counter", delta=True, attributes=labels),
            )
        seen = self.seen()
        other = {"user": "__other__", "service_name": "__other__"}
        for name in ("g", "c_total", "d_total"):
            self.assertEqual(len(seen.all(name)), 4)
        self.assertEqual(seen.value("g", **other), 5)  # the latest
        self.assertEqual(seen.value("c_total", **other), 7)  # the highest: it never goes back
        self.assertEqual(seen.value("d_total", **other), 3 + 4 + 5)
        self.add(number("g", 9, attributes={"user": "0"}))
        self.assertEqual(self.value("g", user="0"), 9)

    def test_ten_thousand_label_sets_are_kept(self) -> None:
        for index in range(10_005):
            self.add(number("g", index, attributes={"user": str(index)}))
        self.assertEqual(len(self.series), 10_001)

    def test_all_series_together_have_a_bound_in_bytes(self) -> None:
        warnings = Warnings(self)
        self.patch(sdkseries, "MAX_SERIES_BYTES", 20_000)
        for index in range(200):
            self.add(number("g", index, attributes={"user": f"{index:0500}"}))
            self.add(histogram(f"h{index}", [1, 1], [1.0]))
        self.assertLess(self.series.bytes, 21_000)
        self.assertEqual(self.value("g", user="__other__"), 199)
        self.assertGreater(self.hub.dropped["prometheus.full"], 150)
        self.assertEqual(len(warnings.texts), 1)
        self.time.advance(EXPIRY_S)
        self.add(number("g", 1))
        self.assertLess(self.series.bytes, 1_500)

    def test_what_is_counted_is_about_what_is_used(self) -> None:
        """The bound in bytes means something."""
        for index in range(1000):
            self.add(number("g", index, attributes={"user": f"u{index}", "shop": "s" * 50}))
        held: dict[Any, Any] = self.series._families["g"].series
        used = sum(
            sys.getsizeof(key)
            + sum(sys.getsizeof(pair) + sum(map(sys.getsizeof, pair)) for pair in key)
            + sys.getsizeof(one)
            + sys.getsizeof(one.labels)
            + sys.getsizeof(one.value)
            for key, one in held.items()
        ) + sys.getsizeof(held)
        self.assertGreater(self.series.bytes, 0.9 * used)
        self.assertLess(self.series.bytes, 2 * used)
