"""What a lane does with its messages, one rule at a time."""

from __future__ import annotations

import tracemalloc

from msgspec import Raw
from twisted.trial.unittest import TestCase

from iii.modules.queue.limits import RateLimit
from iii.modules.queue.message import Details, Message, State
from iii.modules.queue.rows import Piece, Place, Target
from iii.modules.queue.settings import LONGEST_WAIT_MS, LaneSettings
from iii.modules.queue.window import WINDOW_MESSAGES
from tests.queue.lanes import ABSENT, DONE, NUMBER, RETURNED, FakeJournal, LaneCase, failed


class Slots(LaneCase):
    """03 §1.7: so many at once, in the order they came."""

    def test_runs_as_many_as_it_has_slots(self) -> None:
        self.make(concurrency=3)
        self.arrive(5)
        self.assertEqual(self.order, [1, 2, 3])
        self.executor.end(2)
        self.assertEqual(self.order, [1, 2, 3, 4])

    def test_no_slots_no_calls(self) -> None:
        self.make(concurrency=0)
        self.arrive(2)
        self.assertEqual(self.order, [])

    def test_more_urgent_ones_overtake(self) -> None:
        self.make(concurrency=1)
        self.arrive()
        for priority in (4, 0, 9, 4, 9):
            self.arrive(priority=priority)
        for _ in range(6):
            self.executor.end_all()
        self.assertEqual(self.order, [1, 4, 6, 2, 5, 3])

    def test_what_was_handled_is_gone(self) -> None:
        self.make()
        self.arrive(2)
        self.executor.end(1)
        self.assertEqual(list(self.journal.rows), [2])
        self.assertEqual(self.lane.delivered_total, 1)

    def test_other_settings_count_at_once(self) -> None:
        self.make(concurrency=1)
        self.arrive(4)
        self.lane.reconfigured(LaneSettings(concurrency=3))
        self.assertEqual(self.order, [1, 2, 3])

    def test_an_executor_that_is_done_at_once(self) -> None:
        self.executor.at_once = lambda message: DONE
        for seq in range(1, 20_001):
            self.last = seq - 1
            self.message()
        self.make(complete=False, concurrency=1)
        self.assertEqual(self.order, list(range(1, 20_001)))
        self.assertEqual((self.lane.running, self.journal.rows), ({}, {}))

    def test_an_executor_that_breaks_loses_no_slot(self) -> None:
        def run(*_: object) -> None:
            raise ZeroDivisionError

        self.executor.run = run  # type: ignore[method-assign]
        self.make(concurrency=1)
        self.arrive()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.lane.running, {})
        (message,) = self.delayed
        self.assertEqual(message.details.failures[0].code, "internal_error")


class Failing(LaneCase):
    """03 §1.7, 08 §3: back-off, then dead."""

    def test_waits_twice_as_long_each_time_then_it_is_dead(self) -> None:
        self.make(max_attempts=4, backoff_ms=1_000)
        (seq,) = self.arrive()
        for wait_ms in (1_000, 2_000, 4_000):
            self.executor.end(seq, failed())
            self.timers.advance(wait_ms / 1000 - 0.01)
            self.assertEqual(self.executor.under_way, {})
            self.timers.advance(0.02)
            self.assertIn(seq, self.executor.under_way)
        self.executor.end(seq, failed())
        message = self.journal.rows[seq]
        self.assertEqual((message.state, message.details.attempts), (State.DEAD, 4))
        self.assertEqual(message.details.reason, "attempts exhausted")
        self.assertEqual(len(message.details.failures), 4)
        self.assertEqual(self.journal.counts[NUMBER, State.DEAD], 1)
        self.assertEqual(self.lane.failed_total, 4)

    def test_a_handler_may_choose_the_time(self) -> None:
        self.make(backoff_ms=1_000)
        (seq,) = self.arrive()
        self.executor.end(seq, failed(after_ms=50))
        self.timers.advance(0.06)
        self.assertIn(seq, self.executor.under_way)

    def test_those_that_are_due_again_come_first_in_due_order(self) -> None:
        self.make(concurrency=4, backoff_ms=0)
        self.arrive(4)
        for seq, wait_ms in ((1, 300), (2, 100), (3, 100), (4, 200)):
            self.executor.end(seq, failed(after_ms=wait_ms))
        self.lane.reconfigured(LaneSettings(concurrency=1))
        self.arrive(3)
        self.timers.advance(0.5)
        for _ in range(7):
            self.executor.end_all()
        self.assertEqual(self.order, [1, 2, 3, 4, 5, 2, 3, 4, 1, 6, 7])

    def test_only_the_last_failures_are_kept(self) -> None:
        self.make(max_attempts=100, backoff_ms=0)
        (seq,) = self.arrive()
        for _ in range(60):
            self.executor.end(seq, failed())
            self.timers.advance(0.01)
        details = self.journal.rows[seq].details
        self.assertEqual((details.attempts, len(details.failures)), (60, 20))


class Waits(TestCase):
    """How long a back-off is."""

    def test_fixed(self) -> None:
        settings = LaneSettings(backoff_ms=500, backoff="fixed")
        self.assertEqual([settings.wait_ms(n, 0) for n in (1, 2, 9)], [500, 500, 500])

    def test_has_an_upper_bound(self) -> None:
        settings = LaneSettings(backoff_ms=500, max_backoff_ms=1_500)
        self.assertEqual([settings.wait_ms(n, 0) for n in (1, 2, 3, 99)], [500, 1000, 1500, 1500])

    def test_never_overflows(self) -> None:
        self.assertEqual(LaneSettings(backoff_ms=10_000).wait_ms(1_000, 1), LONGEST_WAIT_MS)

    def test_jitter_only_adds(self) -> None:
        settings = LaneSettings(backoff_ms=1_000, jitter=True)
        waits = [settings.wait_ms(1, chance / 100) for chance in range(101)]
        self.assertEqual((min(waits), max(waits)), (1_000, 1_250))


class Serial(LaneCase):
    """03 §1.7: a FIFO topic runs one at a time and waits out back-offs."""

    def test_one_at_a_time(self) -> None:
        self.make(serial=True, concurrency=10)
        self.arrive(3)
        self.assertEqual(self.order, [1])
        self.executor.end(1)
        self.assertEqual(self.order, [1, 2])

    def test_a_failed_one_holds_the_others_back(self) -> None:
        self.make(serial=True, backoff_ms=1_000)
        self.arrive(3)
        self.executor.end(1, failed())
        self.timers.advance(0.9)
        self.assertEqual(self.order, [1])
        self.timers.advance(0.2)
        self.assertEqual(self.order, [1, 1])
        self.executor.end(1)
        self.assertEqual(self.order, [1, 1, 2])

    def test_a_dead_one_lets_the_others_go(self) -> None:
        self.make(serial=True, max_attempts=1)
        self.arrive(2)
        self.executor.end(1, failed())
        self.assertEqual(self.order, [1, 2])

    def test_the_back_off_goes_on_after_a_restart(self) -> None:
        self.make(serial=True, backoff_ms=1_000)
        self.arrive(2)
        self.executor.end(1, failed())
        self.timers.advance(0.5)
        self.restart()
        self.assertEqual(self.order, [])
        self.timers.advance(0.6)
        self.assertEqual(self.order, [1])

    def test_taking_the_failed_one_out_lets_the_others_go(self) -> None:
        self.make(serial=True, backoff_ms=1_000)
        self.arrive(2)
        self.executor.end(1, failed())
        message = self.journal.rows[1]
        self.lane.taken_out(message)
        self.journal.finish(message)
        self.assertEqual(self.order, [1, 2])


class Groups(LaneCase):
    """03 §1.7 OURS: a FIFO queue keeps the order of each group, retries included."""

    def setUp(self) -> None:
        super().setUp()
        self.fifo = {"key_field": "g", "ordered": True, "backoff_ms": 1_000}

    def test_a_failed_one_holds_its_group_back_and_no_other(self) -> None:
        self.make(concurrency=1, **self.fifo)
        a, b = self.arrive(2, key="a"), self.arrive(2, key="b")
        self.executor.end(a[0], failed())
        self.executor.end(b[0])
        self.executor.end(b[1])
        self.assertEqual(self.order, [a[0], b[0], b[1]])
        self.timers.advance(1.1)
        self.executor.end(a[0])
        self.assertEqual(self.order, [a[0], b[0], b[1], a[0], a[1]])

    def test_after_a_restart_as_before(self) -> None:
        self.make(concurrency=2, **self.fifo)
        a, b = self.arrive(2, key="a"), self.arrive(2, key="b")
        self.executor.end(a[0], failed())
        self.restart()
        self.assertEqual(self.order, [b[0]])
        self.timers.advance(1.1)
        self.assertEqual(self.order, [b[0], a[0]])

    def test_a_returned_one_comes_again_before_its_group(self) -> None:
        self.make(concurrency=1, **self.fifo)
        a = self.arrive(3, key="a")
        self.executor.end(a[0], RETURNED)
        self.executor.end_all()
        self.executor.end_all()
        self.executor.end_all()
        self.assertEqual(self.order, [a[0], *a])

    def test_an_absent_function_holds_back_its_group_only(self) -> None:
        self.executor.away = {"gone"}
        self.make(concurrency=2, **self.fifo)
        self.arrive(key="a", function_id="gone")
        after = self.arrive(key="a", function_id="here")
        b = self.arrive(key="b", function_id="here")
        self.assertEqual(self.order, b)
        self.executor.away = set()
        self.lane.functions_changed()
        self.executor.end_all()
        self.executor.end_all()
        self.assertEqual(self.order, [*b, 1, *after])

    def test_taking_the_blocked_one_out_lets_its_group_go(self) -> None:
        self.executor.away = {"gone"}
        self.make(**self.fifo)
        self.arrive(key="a", function_id="gone")
        (after,) = self.arrive(key="a", function_id="here")
        message = self.journal.rows[1]
        self.lane.taken_out(message)
        self.journal.finish(message)
        self.assertEqual(self.order, [after])


class NotCounted(LaneCase):
    """03 §1.13, 08 §3: what nobody could help is no attempt."""

    def test_a_returned_one_goes_back_to_its_place(self) -> None:
        self.make(concurrency=1)
        self.arrive(2)
        self.executor.end(1, RETURNED)
        self.assertEqual(self.order, [1, 1])
        self.assertEqual(self.journal.rows[1].details.attempts, 0)

    def test_one_that_returns_at_once_does_not_spin(self) -> None:
        self.executor.at_once = lambda message: RETURNED
        self.make()
        self.arrive()
        self.assertEqual(self.order, [1])
        self.executor.at_once = lambda message: DONE
        self.timers.advance(0.2)
        self.assertEqual((self.order, self.journal.rows), ([1, 1], {}))

    def test_an_absent_function_holds_nobody_up(self) -> None:
        self.executor.away = {"gone"}
        self.make(concurrency=1)
        gone = self.arrive(2, function_id="gone")
        here = self.arrive(2, function_id="here")
        self.executor.end_all()
        self.executor.end_all()
        self.assertEqual(self.order, here)
        self.assertTrue(self.lane.waiting_for_worker)
        self.executor.away = set()
        self.lane.functions_changed()
        self.executor.end_all()
        self.assertEqual(self.order, here + gone)
        self.assertFalse(self.lane.waiting_for_worker)
        self.assertEqual(self.journal.rows[gone[1]].details.attempts, 0)

    def test_nor_do_more_of_them_than_the_window_has_room_for(self) -> None:
        self.executor.away = {"gone"}
        self.executor.at_once = lambda message: DONE
        for _ in range(3 * WINDOW_MESSAGES):
            self.message(function_id="gone")
        self.message(function_id="here")
        self.make(complete=False)
        self.assertEqual(self.order, [3 * WINDOW_MESSAGES + 1])
        self.executor.away = set()
        self.lane.functions_changed()
        self.assertEqual(self.journal.rows, {})

    def test_the_same_function_in_another_namespace_is_another_function(self) -> None:
        self.executor.ready = (  # type: ignore[method-assign]
            lambda message: message.details.namespace is None
        )
        self.make()
        self.arrive(function_id="f", namespace="elsewhere")
        (here,) = self.arrive(function_id="f")
        self.lane.changed_on_disk()
        self.lane.pump()
        self.assertEqual(self.order, [here])

    def test_other_functions_that_come_cost_no_read(self) -> None:
        self.executor.away = {"gone"}
        self.make()
        self.arrive(function_id="gone")
        before = self.journal.reads
        self.lane.functions_changed()
        self.assertEqual(self.journal.reads, before)

    def test_nobody_took_it_although_somebody_is_there(self) -> None:
        self.make(concurrency=1)
        self.arrive(function_id="f")
        self.arrive(function_id="g")
        self.executor.end(1, ABSENT)
        self.assertEqual(self.order, [1, 2])
        self.executor.end(2)
        self.timers.advance(1.1)
        self.assertEqual(self.order, [1, 2, 1])

    def test_without_any_trigger_the_topic_waits(self) -> None:
        self.executor.away = {None}
        self.make()
        self.arrive(3)
        self.assertEqual(self.order, [])
        self.executor.away = set()
        self.lane.functions_changed()
        self.assertEqual(self.order, [1, 2, 3])


class Times(LaneCase):
    """Expiry, pause and stop."""

    def test_an_expired_one_is_dead_and_never_runs(self) -> None:
        self.make(concurrency=1)
        self.arrive()
        self.arrive(expires_ms=self.clock.wall_ms() + 1_000)
        self.arrive()
        self.timers.advance(2)
        self.executor.end(1)
        self.assertEqual(self.order, [1, 3])
        dead = self.journal.rows[2]
        self.assertEqual((dead.state, dead.details.reason), (State.DEAD, "expired"))

    def test_an_expired_one_frees_its_key(self) -> None:
        self.make(key_field="k", per_key=1)
        self.arrive(key="a")
        self.arrive(key="a", expires_ms=self.clock.wall_ms() + 1_000)
        self.arrive(key="a")
        self.timers.advance(2)
        self.executor.end(1)
        self.assertEqual(self.order, [1, 3])

    def pause(self, paused: bool) -> None:
        """As the adapter does it."""
        self.journal.facts[NUMBER].paused = paused
        self.lane.pump()

    def test_a_paused_lane_takes_nothing_until_it_goes_on(self) -> None:
        self.make(concurrency=1)
        self.arrive()
        self.pause(True)
        self.arrive(2)
        self.executor.end(1)
        self.assertEqual(self.order, [1])
        self.pause(False)
        self.assertEqual(self.order, [1, 2])

    def test_a_stopped_lane_takes_nothing_and_leaves_no_timer(self) -> None:
        self.make(serial=True)
        self.arrive(2)
        self.executor.end(1, failed())
        self.lane.stop()
        self.assertEqual(self.timers.getDelayedCalls(), [])
        self.arrive(2)
        self.assertEqual(self.order, [1])

    def test_what_ends_after_the_stop_is_recorded_and_leaves_no_timer(self) -> None:
        for settings in ({"serial": True}, {"key_field": "k", "ordered": True}):
            self.setUp()
            self.make(**settings)
            self.arrive(key="a")
            self.lane.stop()
            self.executor.end(1, failed())
            self.assertEqual(self.journal.rows[1].details.attempts, 1)
            self.assertEqual(self.timers.getDelayedCalls(), [])

    def test_a_read_that_comes_after_the_stop_starts_nothing(self) -> None:
        self.message()
        self.journal.held = True
        self.make(complete=False)
        self.lane.stop()
        self.journal.answer()
        self.assertEqual(self.order, [])


class Rates(LaneCase):
    """08 §3: ``rate_limit``."""

    def test_so_many_in_a_period(self) -> None:
        self.executor.at_once = lambda message: DONE
        self.make(rate_limit=RateLimit(count=10, per_ms=1_000))
        self.arrive(35)
        self.assertEqual(len(self.order), 10)
        self.timers.pump([0.01] * 100)
        self.assertEqual(len(self.order), 20)
        self.timers.pump([0.01] * 152)
        self.assertEqual(self.order, list(range(1, 36)))

    def test_each_value_has_a_bucket_of_its_own(self) -> None:
        self.executor.at_once = lambda message: DONE
        limit = RateLimit(count=2, per_ms=1_000, key_field="k")
        self.make(rate_limit=limit, key_field="k", per_key=10)
        a, b = self.arrive(4, key="a"), self.arrive(1, key="b")
        self.assertEqual(self.order, [*a[:2], *b])
        self.timers.pump([0.01] * 101)
        self.assertEqual(self.order, [*a[:2], *b, *a[2:]])

    def test_of_a_whole_queue_with_keys(self) -> None:
        self.executor.at_once = lambda message: DONE
        self.make(rate_limit=RateLimit(count=1, per_ms=1_000), key_field="k", per_key=1)
        self.arrive(key="a")
        self.arrive(key="b")
        self.arrive(key="a")
        self.assertEqual(len(self.order), 1)
        self.timers.pump([0.1] * 25)
        self.assertEqual(sorted(self.order), [1, 2, 3])

    def test_nobody_took_it_costs_nothing(self) -> None:
        self.make(rate_limit=RateLimit(count=1, per_ms=60_000))
        self.arrive(function_id="f")
        self.executor.end(1, ABSENT)
        self.arrive(function_id="g")
        self.assertEqual(self.order, [1, 2])

    def test_another_limit_counts_at_once(self) -> None:
        self.executor.at_once = lambda message: DONE
        self.make(rate_limit=RateLimit(count=1, per_ms=3_600_000))
        self.arrive(3)
        self.lane.reconfigured(LaneSettings())
        self.assertEqual(self.order, [1, 2, 3])


class MillionRows(FakeJournal):
    """Rows that are made when they are read."""

    total = 1_000_000

    def __init__(self) -> None:
        super().__init__()
        self.held = True
        self.finished = 0

    def _piece(self, key: str | None, after: Place, limit: int, without: list[Target]) -> Piece:
        first = max(1, after[1] + 1)
        seqs = range(first, min(first + limit, self.total + 1))
        found = [Message.new(seq, "", NUMBER, Raw(b"1"), Details(), created_ms=0) for seq in seqs]
        return Piece(found, found[-1].place if len(found) == limit else None)

    def finish(self, message: Message) -> None:
        """Journal: it goes."""
        self.finished += 1


class Backlog(LaneCase):
    """A long row costs a bounded amount of memory."""

    def test_a_million_messages_stay_on_disk(self) -> None:
        journal = self.journal = MillionRows()
        self.make(complete=False, concurrency=1)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        longest = 0
        while journal.finished < 20_000:
            journal.answer()
            longest = max(longest, len(self.lane._row))
            self.executor.end_all()
            self.executor.started.clear()
        memory, _ = tracemalloc.get_traced_memory()
        self.assertLessEqual(longest, 2 * WINDOW_MESSAGES)
        self.assertLess(memory, 8 * 1024 * 1024)

    def test_fresh_ones_behind_a_long_row_are_left_to_the_disk(self) -> None:
        self.make(concurrency=1)
        self.arrive(10 * WINDOW_MESSAGES)
        self.assertLessEqual(len(self.lane._row), 2 * WINDOW_MESSAGES)
        self.executor.at_once = lambda message: DONE
        self.executor.end_all()
        self.assertEqual(self.order, list(range(1, 10 * WINDOW_MESSAGES + 1)))
