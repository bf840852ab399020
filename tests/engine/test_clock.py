"""Time, turns and ids (``iii.engine.clock``, ``turn``, ``ids``)."""

from __future__ import annotations

import os
import uuid

from twisted.internet.task import Clock as Ticks
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock, Deadlines
from iii.engine.ids import is_uuid, uuid4_text
from iii.engine.turn import Turn


class DeadlineCase(SynchronousTestCase):
    """Waits of equal length share one timer."""

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.over: list[str] = []
        self.deadlines = Deadlines(Clock.virtual(self.ticks), 10.0, self.over.append)

    def test_each_is_over_when_its_time_is(self) -> None:
        """Not before, and in order."""
        self.deadlines.add("a")
        self.ticks.advance(4)
        self.deadlines.add("b")
        self.ticks.advance(5.9)
        self.assertEqual(self.over, [])
        self.ticks.advance(0.2)
        self.assertEqual(self.over, ["a"])
        self.ticks.advance(4)
        self.assertEqual(self.over, ["a", "b"])
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_what_ended_early_is_not_told(self) -> None:
        """Unknown keys are fine."""
        for key in ("a", "b"):
            self.deadlines.add(key)
        self.deadlines.discard("a")
        self.deadlines.discard("unknown")
        self.ticks.advance(10)
        self.assertEqual(self.over, ["b"])

    def test_one_timer_for_all(self) -> None:
        """Whatever the number of keys."""
        for number in range(1000):
            self.deadlines.add(str(number))
        self.assertEqual(len(self.ticks.getDelayedCalls()), 1)
        self.ticks.advance(10)
        self.assertEqual(len(self.over), 1000)

    def test_a_key_may_wait_again_from_the_callback(self) -> None:
        """What pings do."""
        self.deadlines._expired = lambda key: (self.over.append(key), self.deadlines.add(key))  # type: ignore[assignment,func-returns-value]
        self.deadlines.add("a")
        for _ in range(3):
            self.ticks.advance(10)
        self.assertEqual(self.over, ["a"] * 3)

    def test_adding_again_starts_anew(self) -> None:
        """And holds up nobody behind it."""
        for key in ("a", "b"):
            self.deadlines.add(key)
        self.ticks.advance(5)
        self.deadlines.add("a")
        self.ticks.advance(5)
        self.assertEqual(self.over, ["b"])
        self.ticks.advance(5)
        self.assertEqual(self.over, ["b", "a"])

    def test_a_callback_may_end_others(self) -> None:
        """Two are due at once and the first ends the second."""
        self.deadlines._expired = lambda key: (self.over.append(key), self.deadlines.discard("b"))  # type: ignore[assignment,func-returns-value]
        for key in ("a", "b"):
            self.deadlines.add(key)
        self.ticks.advance(10)
        self.assertEqual(self.over, ["a"])

    def test_stop_leaves_no_timer(self) -> None:
        """And it may be used again."""
        self.deadlines.add("a")
        self.deadlines.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])
        self.deadlines.add("b")
        self.ticks.advance(10)
        self.assertEqual(self.over, ["b"])


class VirtualTime(SynchronousTestCase):
    """``Clock.virtual``: only the test moves it."""

    def test_all_times_agree(self) -> None:
        """Wall, monotonic and timers."""
        ticks = Ticks()
        clock = Clock.virtual(ticks, epoch=1000.0)
        rang: list[float] = []
        clock.call_later(2.5, lambda: rang.append(clock.wall()))
        clock.call_later(-1, lambda: rang.append(clock.wall()))
        ticks.pump([0.0, 2.5])
        self.assertEqual(rang, [1000.0, 1002.5])
        self.assertEqual((clock.wall_ms(), clock.monotonic()), (1_002_500, 2.5))


class Turns(SynchronousTestCase):
    """Output is gathered until the end of a turn."""

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.turn = Turn(Clock.virtual(self.ticks))
        self.flushed: list[str] = []

    def gather(self, what: str) -> None:
        """Work that has output."""
        self.assertTrue(self.turn.open)
        self.turn.later(lambda: self.flushed.append(what))

    def test_run_flushes_at_its_end(self) -> None:
        """In the order of ``later``."""
        self.turn.run(
            lambda _: (self.gather("a"), self.gather("b"), self.assertFalse(self.flushed)), None
        )
        self.assertEqual(self.flushed, ["a", "b"])
        self.assertFalse(self.turn.open)

    def test_an_inner_run_belongs_to_the_outer(self) -> None:
        """One end for both."""
        self.turn.run(
            lambda _: self.turn.run(self.gather, "a") or self.assertFalse(self.flushed), None
        )
        self.assertEqual(self.flushed, ["a"])

    def test_begin_lasts_for_the_iteration(self) -> None:
        """A run inside does not end it; beginning twice is once."""
        self.turn.begin()
        self.turn.begin()
        self.turn.run(self.gather, "a")
        self.assertEqual((self.flushed, len(self.ticks.getDelayedCalls())), ([], 1))
        self.ticks.advance(0)
        self.assertEqual((self.flushed, self.turn.open), (["a"], False))

    def test_work_that_fails_still_flushes(self) -> None:
        """What was gathered before goes out."""

        def fails(_: object) -> None:
            self.gather("a")
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.turn.run(fails, None)
        self.assertEqual((self.flushed, self.turn.open), (["a"], False))


class Ids(SynchronousTestCase):
    """UUID version 4 as text."""

    def test_they_are_random_uuids(self) -> None:
        """Canonical, version 4, and all different."""
        ids = [uuid4_text() for _ in range(2000)]
        self.assertEqual(len(set(ids)), 2000)
        for id in ids:
            parsed = uuid.UUID(id)
            self.assertEqual((str(parsed), parsed.version), (id, 4))
            self.assertEqual(parsed.variant, uuid.RFC_4122)

    def test_only_the_canonical_spelling_counts(self) -> None:
        """An executor may answer under a normalised id."""
        id = "6f0e1b2c-0000-4000-8000-00000000000a"
        self.assertTrue(is_uuid(id))
        for other in (
            id.upper(),
            id.replace("-", ""),
            "{" + id + "}",
            id + "\n",
            "",
            "urn:uuid:" + id,
        ):
            self.assertFalse(is_uuid(other), other)

    def test_a_forked_process_makes_its_own(self) -> None:
        """The pool is not shared with the child."""
        uuid4_text()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, uuid4_text().encode())
            os._exit(0)
        os.waitpid(child, 0)
        theirs = os.read(read, 36).decode()
        os.close(read)
        os.close(write)
        self.assertNotIn(theirs, {uuid4_text() for _ in range(300)})
