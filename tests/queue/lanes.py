"""A lane without disk, sockets and real time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet import task
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.modules.queue.journal import LaneFacts
from iii.modules.queue.lane import Lane, Outcome, Verdict
from iii.modules.queue.message import Details, Failure, Message, State
from iii.modules.queue.rows import START, Piece, Place, Target, waiting_place
from iii.modules.queue.settings import LaneSettings

DONE = Outcome(Verdict.DONE)
RETURNED = Outcome(Verdict.RETURNED)
ABSENT = Outcome(Verdict.ABSENT)
NUMBER = 1


def failed(after_ms: int | None = None) -> Outcome:
    """An attempt that failed."""
    return Outcome(Verdict.FAILED, Failure(0, "boom", "it broke"), after_ms)


class FakeJournal:
    """What a lane asks of a journal, in memory.  Reads answer at once, or at ``answer``.

    :ivar held: reads wait
    """

    def __init__(self) -> None:
        self.rows: dict[int, Message] = {}
        self.facts = {NUMBER: LaneFacts()}
        self.counts: Counter[tuple[int, State]] = Counter()
        self.held = False
        self.reads = 0
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any], set[int]]] = []

    def put(self, message: Message) -> Message:
        """As if it had been added."""
        self.rows[message.seq] = message
        self.counts[message.lane, message.state] += 1
        return message

    def finish(self, message: Message) -> None:
        """Journal: it goes."""
        del self.rows[message.seq]
        self.counts[message.lane, message.state] -= 1
        self._touch(message)

    def change(self, message: Message, *, was: State, lane: int | None = None) -> None:
        """Journal: it is different now."""
        self.counts[message.lane, was] -= 1
        self.counts[message.lane, message.state] += 1
        self.rows[message.seq] = message
        self._touch(message)

    def window(
        self, lane: int, after: Place, limit: int, max_bytes: int, *, without: Iterable[Target] = ()
    ) -> Deferred[Piece]:
        """Journal: messages of the lane."""
        return self._read(lambda: self._piece(None, after, limit, list(without)))

    def of_key(
        self,
        lane: int,
        key: str,
        after: Place,
        limit: int,
        max_bytes: int,
        *,
        without: Iterable[Target] = (),
    ) -> Deferred[Piece]:
        """Journal: messages of a key."""
        return self._read(lambda: self._piece(key, after, limit, list(without)))

    def heads(
        self,
        lane: int,
        after: str,
        keys: int,
        limit: int,
        max_bytes: int,
        *,
        known: Collection[str] = (),
        without: Iterable[Target] = (),
    ) -> Deferred[list[Piece]]:
        """Journal: the first messages of the next keys."""

        def read() -> list[Piece]:
            waiting = (row for row in self.rows.values() if row.state is State.WAITING)
            found = sorted({row.key or "" for row in waiting if (row.key or "") > after})[:keys]
            return [
                Piece([], START, key)
                if key in known
                else self._piece(key, START, limit, list(without))
                for key in found
            ]

        return self._read(read)

    def answer(self, how_many: int = 1_000_000) -> int:
        """Let reads that wait be answered; how many were."""
        answered = 0
        while self._waiting and answered < how_many:
            read, answer, touched = self._waiting.pop(0)
            found = read()
            for piece in found if isinstance(found, list) else [found]:
                piece.messages[:] = [row for row in piece.messages if row.seq not in touched]
            answered += 1
            answer.callback(found)
        return answered

    def _read(self, read: Callable[[], Any]) -> Deferred[Any]:
        self.reads += 1
        if not self.held:
            return succeed(read())
        answer: Deferred[Any] = Deferred()
        self._waiting.append((read, answer, set()))
        return answer

    def _touch(self, message: Message) -> None:
        for _, _, touched in self._waiting:
            touched.add(message.seq)

    def _piece(self, key: str | None, after: Place, limit: int, without: list[Target]) -> Piece:
        found = [
            row
            for row in self.rows.values()
            if row.state is State.WAITING
            and (key is None or row.key == key)
            and waiting_place(row) > after
            and (row.function_id or "", row.details.namespace or "") not in without
        ]
        found.sort(key=waiting_place)
        if len(found) < limit:
            return Piece(found, None, key or "")
        return Piece(found[:limit], waiting_place(found[limit - 1]), key or "")


class FakeExecutor:
    """Notes what runs; the test ends it.

    :ivar away: functions that are not there
    :ivar at_once: the outcome of every message, while it is being started
    """

    def __init__(self) -> None:
        self.started: list[Message] = []
        self.under_way: dict[int, Callable[[Outcome], None]] = {}
        self.away: set[str | None] = set()
        self.at_once: Callable[[Message], Outcome] | None = None

    def ready(self, message: Message) -> bool:
        """Executor: whether its function is there."""
        return message.function_id not in self.away

    def run(self, message: Message, limit_ms: int, done: Callable[[Outcome], None]) -> None:
        """Executor: start it."""
        assert message.seq not in self.under_way, "it runs already"
        self.started.append(message)
        if self.at_once is not None:
            done(self.at_once(message))
        else:
            self.under_way[message.seq] = done

    def end(self, seq: int, outcome: Outcome = DONE) -> None:
        """A call is over."""
        self.under_way.pop(seq)(outcome)

    def end_all(self, outcome: Outcome = DONE) -> None:
        """All calls of now are over."""
        for seq in list(self.under_way):
            self.end(seq, outcome)

    @property
    def order(self) -> list[int]:
        """The numbers of what was started."""
        return [message.seq for message in self.started]


class LaneCase(TestCase):
    """One lane at a time."""

    def setUp(self) -> None:
        self.timers = task.Clock()
        self.clock = Clock.virtual(self.timers)
        self.journal = FakeJournal()
        self.executor = FakeExecutor()
        self.last = 0
        self.delayed: list[Message] = []

    def make(self, *, complete: bool = True, **settings: Any) -> Lane:
        """A lane of the journal."""
        self.lane = Lane(
            "test",
            NUMBER,
            self.journal,  # type: ignore[arg-type]
            self.clock,
            self.executor,
            LaneSettings(**settings),
            self._delay,
            complete=complete,
        )
        self.lane.pump()
        return self.lane

    def restart(self) -> Lane:
        """Another lane, as after a crash."""
        self.lane.stop()
        self.executor.started.clear()
        self.executor.under_way.clear()
        settings = msgspec.structs.asdict(self.lane.settings)
        return self.make(complete=not self.journal.rows, **settings)

    def message(self, **given: Any) -> Message:
        """The next message, on disk."""
        self.last += 1
        given.setdefault("created_ms", self.clock.wall_ms())
        data = given.pop("data", b"1")
        details = Details(given.pop("namespace", None))
        return self.journal.put(
            Message.new(self.last, f"id{self.last}", NUMBER, Raw(data), details, **given)
        )

    def arrive(self, how_many: int = 1, **given: Any) -> list[int]:
        """Messages come in; their numbers."""
        seqs = []
        for _ in range(how_many):
            message = self.message(**given)
            seqs.append(message.seq)
            self.lane.arrived(message)
        return seqs

    @property
    def order(self) -> list[int]:
        """What was started so far."""
        return self.executor.order

    def _delay(self, message: Message) -> None:
        """As ``Delays`` does it: the row waits again when it is due."""
        self.delayed.append(message)
        wait_s = (message.due_ms - self.clock.wall_ms()) / 1000
        self.timers.callLater(max(0.0, wait_s), self._due, message)

    def _due(self, message: Message) -> None:
        self.delayed.remove(message)
        message.state = State.WAITING
        self.journal.change(message, was=State.DELAYED)
        self.lane.arrived(message)
