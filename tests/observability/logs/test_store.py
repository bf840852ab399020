"""What is kept of logs, and for how long (05 A2, A6.7)."""

from __future__ import annotations

import json
import random
from typing import Any

from twisted.internet.task import Clock as Timers
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.modules.observability.cleaning import MAX_LOOK_DEPTH, redacted
from iii.modules.observability.logs import store as store_file
from iii.modules.observability.logs.store import ENTRY_BYTES, MAX_RECORD_BYTES, Entry, LogStore
from tests.observability.logs.cases import record

NOW_S = 1_760_000_000
SECOND = 1_000_000_000
NOW = NOW_S * SECOND


class StoreCase(SynchronousTestCase):
    """A store on a clock that the test moves."""

    def setUp(self) -> None:
        self.timers = Timers()
        self.dropped: list[str] = []
        self.store = self.make()

    def make(self, **options: Any) -> LogStore:
        limits: dict[str, Any] = {"max_count": 100, "retention_s": 3_600, **options}
        clock = Clock.virtual(self.timers, epoch=NOW_S)
        store = LogStore(clock, drop=self.dropped.append, **limits)
        store.start()
        self.addCleanup(store.stop)
        return store

    def bodies(self, entries: list[Entry] | None = None) -> list[str]:
        if entries is None:
            entries = self.store.at(self.store.places(0, NOW + 10**19))
        return [json.loads(entry.row)["body"] for entry in entries]


class Order(StoreCase):
    """Newest first, by their own time."""

    def test_a_late_record_takes_its_place(self) -> None:
        self.store.add([record("d", at=NOW - 5), record("b", at=NOW - 20)])
        self.store.add([record("c", at=NOW - 10), record("a", at=NOW - 30)])
        self.assertEqual(self.bodies(), ["d", "c", "b", "a"])

    def test_of_equal_times_the_later_one_is_newer(self) -> None:
        self.store.add([record("a", trace_id="t"), record("b", trace_id="t")])
        self.assertEqual(self.bodies(), ["b", "a"])
        self.assertEqual(self.bodies(self.store.of_trace("t")), ["b", "a"])
        self.store.add([record("c", at=NOW - 1), record("d", at=NOW - 2)])
        self.store.add([record("e", at=NOW - 1), record("f", at=NOW - 2)])
        self.assertEqual(self.bodies()[2:], ["e", "c", "f", "d"])

    def test_late_frames_are_put_in_alike_large_or_small(self) -> None:
        for merged_from in (1, 1_000):
            self.patch(store_file, "MERGED_FROM", merged_from)
            self.store = self.make()
            numbers = list(range(60))
            random.Random(7).shuffle(numbers)
            for first in range(0, 60, 12):
                frame = numbers[first : first + 12]
                self.store.add([record(f"{n // 2}", at=NOW - 100 + n // 2) for n in frame])
            self.assertEqual(self.bodies(), [str(n // 2) for n in reversed(range(60))])

    def test_a_time_in_the_future_counts_as_now(self) -> None:
        self.store.add([record("ahead", at=NOW + 10**18)])
        self.timers.advance(1)
        self.store.add([record("now", at=NOW + SECOND)])
        self.assertEqual(self.bodies(), ["now", "ahead"])

    def test_without_a_time_the_observed_one_counts(self) -> None:
        """05 A2: by observed time when the timestamp is 0."""
        unstamped = record("b", at=NOW - 10)
        unstamped.timestamp_ns = 0
        self.store.add([record("a", at=NOW - 20), record("c", at=NOW - 5), unstamped])
        self.assertEqual(self.bodies(), ["c", "b", "a"])

    def test_both_ends_of_a_time_are_included(self) -> None:
        """05 A6.7: inclusive times."""
        self.store.add([record(str(n), at=NOW - 10 + n) for n in range(5)])
        self.assertEqual(
            self.bodies(self.store.at(self.store.places(NOW - 9, NOW - 7))), ["3", "2", "1"]
        )
        self.assertEqual(self.bodies(self.store.at(self.store.places(NOW - 7, NOW - 9))), [])

    def test_a_trace_is_found_in_order_of_time(self) -> None:
        self.store.add([record("b", at=NOW - 5, trace_id="t"), record("x", trace_id="u")])
        self.store.add([record("a", at=NOW - 9, trace_id="t")])
        self.assertEqual(self.bodies(self.store.of_trace("t")), ["b", "a"])
        self.assertEqual(self.store.of_trace("nobody's"), [])


class Bounds(StoreCase):
    """08 §7: a limit in number, bytes and age."""

    def test_the_oldest_goes_when_there_are_too_many(self) -> None:
        """05 A2: `logs_max_count`."""
        self.store = self.make(max_count=3)
        self.store.add([record(str(n), at=NOW - 10 + n, trace_id="t") for n in range(5)])
        self.assertEqual(self.bodies(), ["4", "3", "2"])
        self.assertEqual(self.bodies(self.store.of_trace("t")), ["4", "3", "2"])

    def test_the_oldest_goes_when_they_take_too_much(self) -> None:
        self.store = self.make(max_bytes=10 * (ENTRY_BYTES + 1_000))
        self.store.add([record("x" * 700, at=NOW - 50 + n) for n in range(50)])
        self.assertTrue(9 <= len(self.store) <= 10, len(self.store))
        self.assertLessEqual(self.store.size, 10 * (ENTRY_BYTES + 1_000))

    def test_what_was_cleared_takes_nothing(self) -> None:
        self.store.add([record("x", trace_id="t")])
        self.store.clear()
        self.assertEqual((len(self.store), self.store.size), (0, 0))
        self.assertEqual(self.store.of_trace("t"), [])

    def test_what_is_too_old_is_swept_once_a_minute(self) -> None:
        """05 A2: `logs_retention_seconds`."""
        self.store = self.make(retention_s=90)
        self.store.add([record("old", at=NOW - 40 * SECOND), record("new", at=NOW)])
        self.timers.advance(59)
        self.assertEqual(len(self.store), 2)
        self.timers.advance(1)
        self.assertEqual(self.bodies(), ["new"])
        self.timers.advance(60)
        self.assertEqual(self.bodies(), [])

    def test_many_are_swept_in_several_turns(self) -> None:
        self.patch(store_file, "SWEPT_AT_ONCE", 10)
        self.store = self.make(retention_s=1)
        self.store.add([record(str(n), at=NOW) for n in range(25)])
        left: list[int] = []
        self.timers.callLater(60, lambda: left.append(len(self.store)))
        self.timers.advance(60)
        self.assertEqual(left, [15])
        self.assertEqual(len(self.store), 0)

    def test_without_a_retention_age_does_not_count(self) -> None:
        self.store = self.make(retention_s=0)
        self.store.add([record("old", at=1)])
        self.timers.advance(100_000)
        self.assertEqual(len(self.store), 1)

    def test_of_a_huge_record_the_beginning_is_kept(self) -> None:
        huge = record("\0" * 10**6, trace_id="t" * 10**6, span_id="s", service_name="n" * 10**6)
        huge.attributes = {"a": "x" * 10**6}
        self.store.add([huge])
        (entry,) = self.store.at(self.store.places(0, NOW + 10**19))
        self.assertLess(len(entry.row), MAX_RECORD_BYTES)
        row = json.loads(entry.row)
        self.assertTrue(row["body"].startswith("\0\0") and row["body"].endswith("…"))
        self.assertEqual(list(row["attributes"]), ["iii.log.cut_bytes"])
        self.assertEqual(self.dropped, ["logs.cut"])


class Redaction(SynchronousTestCase):
    """05 A15: no secret is kept."""

    hidden = frozenset(("password",))

    def test_keys_are_compared_in_lower_case(self) -> None:
        said = {"Password": "x", "passwords": "y"}
        expected = {"Password": "[REDACTED]", "passwords": "y"}
        self.assertEqual(redacted(said, self.hidden), expected)

    def test_what_is_clean_is_not_copied(self) -> None:
        said = {"a": [{"b": 1}], "c": {"d": None}}
        self.assertIs(redacted(said, self.hidden), said)

    def test_what_can_not_be_looked_through_is_hidden(self) -> None:
        said: Any = {"password": "x"}
        for _ in range(MAX_LOOK_DEPTH + 5):
            said = [said]
        text = json.dumps(redacted(said, self.hidden))
        self.assertNotIn("password", text)
        self.assertIn("[REDACTED]", text)
