"""Journal, lane and delays together, beside a model that is a few lines of Python.

Time is virtual; the disk is real.  After every step the engine's turn is brought to its
end, so the model never has to know what is under way.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Raw
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.turn import Turn
from iii.modules.queue import keyed
from iii.modules.queue.delays import Delays
from iii.modules.queue.journal import RETRY_S, Journal
from iii.modules.queue.lane import Lane, Outcome
from iii.modules.queue.message import Details, Message, State
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.window import Window
from iii.storage.database import Database
from tests.queue.lanes import ABSENT, DONE, RETURNED, FakeExecutor, failed

BACKOFF_MS = 1_000
ATTEMPTS = 3
EXAMPLES = 20


class SmallEngine:
    """What a journal asks of an engine, with calls from threads in a queue."""

    def __init__(self, timers: task.Clock, clock: Clock) -> None:
        self.timers = timers
        self.clock = clock
        self.turn = Turn(clock)
        self.calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.called = threading.Event()

    def call_from_thread(self, work: Callable[..., Any], *args: Any) -> None:
        """ModuleApi: run it in the reactor thread."""
        self.calls.append((work, args))
        self.called.set()

    def run_calls(self) -> None:
        """Everything that threads want."""
        self.called.clear()
        while self.calls:
            work, args = self.calls.popleft()
            work(*args)
        self.timers.advance(0)


class QueueMachine(RuleBasedStateMachine):
    """Random use of one lane.

    :cvar grouped: it is a FIFO queue with groups
    """

    grouped = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.timers = task.Clock()
        self.clock = Clock.virtual(self.timers)
        #: the model: id → (state, attempts, group)
        self.expected: dict[str, tuple[str, int, str | None]] = {}
        self.done: set[str] = set()
        self.numbers = 0
        self.paused = False
        self.broken = False
        self.engine: SmallEngine

    # Machinery -------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        """An engine on the files that are there."""
        self.engine = SmallEngine(self.timers, self.clock)
        self.database = Database(self.engine, self.folder / "q.sqlite", "q", "queue")  # type: ignore[arg-type]
        self.journal = Journal(self.engine, self.database)  # type: ignore[arg-type]
        self.number = self.journal.lane("q")
        self.executor = FakeExecutor()
        self.delays = Delays(self.journal, self.clock, self.due)
        grouped: dict[str, Any] = {"key_field": "g", "ordered": True} if self.grouped else {}
        self.lane = Lane(
            "q",
            self.number,
            self.journal,
            self.clock,
            self.executor,
            LaneSettings(concurrency=2, backoff_ms=BACKOFF_MS, max_attempts=ATTEMPTS, **grouped),
            self.delays.add,
            complete=not self.journal.counts.get((self.number, State.WAITING)),
        )
        self.delays.start()
        self.lane.pump()
        self.settle()

    def due(self, message: Message) -> None:
        """Delays: it waits from now on."""
        self.lane.arrived(message)

    def settle(self) -> None:
        """Bring everything that is under way to its end."""
        self.engine.run_calls()
        for _ in range(1_000):
            journal = self.journal
            journal._submit()  # what nobody waits for: its two milliseconds are over
            busy = journal._open or journal._submitted or self.engine.calls
            reading = journal._readings and not (self.broken and journal._waiting)
            if not busy and not reading:
                return
            self.engine.called.wait(5)
            self.engine.run_calls()
        raise AssertionError("it never comes to rest")

    def wait_for(self, promise: Deferred[Any]) -> Any:
        """Settle; the promise's result, or its failure."""
        results: list[Any] = []
        promise.addBoth(results.append)
        self.settle()
        return results[0]

    def stop(self) -> None:
        """Let go of files and threads."""
        self.lane.stop()
        self.delays.stop()
        closed: list[None] = []
        self.journal.close().addCallback(closed.append)
        while not closed:
            self.engine.called.wait(5)
            self.engine.run_calls()

    def teardown(self) -> None:
        """RuleBasedStateMachine: everything can be worked off, each message once."""
        self.break_disk(False)
        self.pause(False)
        for _ in range(2_000):
            if not self.expected or all(state == "dead" for state, *_ in self.expected.values()):
                break
            for seq in list(self.executor.under_way):
                self.end(seq, DONE)
            self.timers.advance(BACKOFF_MS / 1000)
            self.settle()
        left = {id: what for id, what in self.expected.items() if what[0] != "dead"}
        assert not left, f"never ran: {left}"
        self.check()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)  # its keeper may still be closing it

    # What people do --------------------------------------------------------------------

    @rule(
        how_many=st.integers(1, 12),
        delay_ms=st.sampled_from((0, 0, 0, 500, 3_000)),
        priority=st.sampled_from((4, 4, 0, 9)),
        group=st.sampled_from("abcdef"),
    )
    def enqueue(self, how_many: int, delay_ms: int, priority: int, group: str) -> None:
        """Messages in one turn."""
        now_ms = self.clock.wall_ms()
        new = []
        for _ in range(how_many):
            self.numbers += 1
            new.append(
                Message.new(
                    self.journal.next_seq(),
                    f"id{self.numbers}",
                    self.number,
                    Raw(b'"later"' if delay_ms else b'"now"'),
                    Details(),
                    created_ms=now_ms,
                    state=State.DELAYED if delay_ms else State.WAITING,
                    priority=4 if self.grouped else priority,
                    due_ms=now_ms + delay_ms if delay_ms else 0,
                    key=group if self.grouped else None,
                )
            )
        added = self.journal.add(new)

        def kept(_: None) -> None:
            for message in new:
                state = "delayed" if delay_ms else "waiting"
                self.expected[message.id] = (state, 0, message.key)
                if message.state is State.DELAYED:
                    self.delays.add(message)
                else:
                    self.lane.arrived(message)

        failures: list[Any] = []
        added.addCallbacks(kept, failures.append)
        self.settle()
        assert bool(failures) == self.broken

    def end(self, seq: int, outcome: Outcome) -> None:
        """A call is over; the model hears of it."""
        message = self.lane.running[seq]
        _, attempts, key = self.expected[message.id]
        if outcome is DONE:
            assert message.id not in self.done
            self.done.add(message.id)
            del self.expected[message.id]
        elif outcome in (RETURNED, ABSENT):
            self.expected[message.id] = ("waiting", attempts, key)
        elif attempts + 1 == ATTEMPTS:
            self.expected[message.id] = ("dead", ATTEMPTS, key)
        else:
            state = "waiting" if self.grouped else "delayed"
            self.expected[message.id] = (state, attempts + 1, key)
        self.executor.end(seq, outcome)
        self.settle()

    @rule(which=st.integers(0, 9), how=st.sampled_from(("done", "done", "failed", "returned")))
    def end_one(self, which: int, how: str) -> None:
        """A call is over."""
        running = sorted(self.executor.under_way)
        if running:
            outcome = {"done": DONE, "failed": failed(), "returned": RETURNED}[how]
            self.end(running[which % len(running)], outcome)

    @rule(seconds=st.sampled_from((0.5, 1.0, 2.0, 5.0)))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        for _ in range(int(seconds / 0.25)):
            self.timers.advance(0.25)
            self.settle()

    def waiting(self, where: str) -> list[Message]:
        """Committed messages that neither run nor change."""
        found = self.journal.read_now(where, (), order="seq", limit=1_000)
        return [
            message
            for message in found
            if message.seq not in self.lane.running and not self.journal.pending(message.seq)
        ]

    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        """Take one back."""
        waiting = self.waiting("state < 2")
        if waiting:
            message = waiting[which % len(waiting)]
            if message.state is State.DELAYED:
                self.delays.remove(message)
            else:
                self.lane.taken_out(message)
            self.journal.finish(message)
            del self.expected[message.id]
            self.settle()

    @rule()
    def redrive(self) -> None:
        """Every dead letter is tried again."""
        for message in self.waiting("state = 2"):
            message.details = Details()
            message.state, message.due_ms = State.WAITING, 0
            message.rank = self.journal.next_seq()
            self.journal.change(message, was=State.DEAD)
            self.expected[message.id] = ("waiting", 0, message.key)
            self.lane.arrived(message)
        self.settle()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        """Stop, or go on."""
        self.paused = paused
        self.journal.change_facts(self.number, paused=paused).addErrback(lambda _: None)
        self.lane.pump()
        self.settle()

    @rule()
    def read_anew(self) -> None:
        """Somebody changed a lot."""
        self.lane.changed_on_disk()
        self.settle()

    @rule(broken=st.booleans())
    def break_disk(self, broken: bool) -> None:
        """The disk refuses writes, or takes them again."""
        self.database._writer._connection.execute(f"PRAGMA query_only = {int(broken)}")
        self.broken = broken
        self.timers.advance(RETRY_S)
        self.settle()

    @rule()
    def crash(self) -> None:
        """A new engine on the files of one that is gone."""
        self.break_disk(False)  # else handled ones may come back, as they should
        self.settle()
        # The old one is not asked: nothing of its memory is written any more.
        copy = Path(tempfile.mkdtemp())
        with sqlite3.connect(self.folder / "q.sqlite") as source:
            target = sqlite3.connect(copy / "q.sqlite")
            source.backup(target)
            target.close()
        source.close()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)  # its keeper may still be closing it
        self.folder = copy
        self.start()

    # What must hold --------------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        """Model and queue agree."""
        if not hasattr(self, "journal"):
            return
        names = {State.WAITING: "waiting", State.DELAYED: "delayed", State.DEAD: "dead"}
        if not self.broken:
            found = {
                message.id: (names[message.state], message.details.attempts, message.key)
                for message in self.journal.read_now("1", (), order="seq", limit=10_000)
            }
            # What became due meanwhile waits; the model doesn't follow the time.
            due = {
                id: ("waiting" if found.get(id, ("",))[0] == "waiting" else state, *rest)
                for id, (state, *rest) in self.expected.items()
            }
            assert found == due, (found, due)
        running = [message.id for message in self.lane.running.values()]
        assert len(running) <= 2
        assert set(running) <= set(self.expected)
        if self.grouped:
            self.check_groups()
        total = sum(self.journal.counts.values())
        assert total == len(self.expected), (total, len(self.expected))

    def check_groups(self) -> None:
        """Only the first of each group runs; a delayed one may come late."""
        groups = [message.key for message in self.lane.running.values()]
        assert len(set(groups)) == len(groups)
        for message in () if self.broken else self.lane.running.values():
            earlier = self.journal.read_now(
                "state = 0 AND key = ? AND rank < ? AND data = ?",
                (message.key, message.rank, b"now"),
                order="seq",
                limit=1,
            )
            assert not earlier, (message.seq, earlier[0].seq)


class Plain(TestCase):
    """A standard queue."""

    machine: type[QueueMachine] = QueueMachine

    def setUp(self) -> None:
        # Small enough that everything happens at the edges.
        self.patch(Window.__init__, "__kwdefaults__", {"size": 6, "max_bytes": 1_000})
        self.patch(keyed, "MAX_KEYS", 4)
        self.patch(keyed, "HEAD_MESSAGES", 3)

    def test_does_what_the_model_does(self) -> None:
        case = self.machine.TestCase("runTest")
        case.settings = settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        case.runTest()


class GroupMachine(QueueMachine):
    """A FIFO queue."""

    grouped = True


class Grouped(Plain):
    """A FIFO queue with groups."""

    machine = GroupMachine
