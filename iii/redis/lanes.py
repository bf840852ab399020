"""Updates: computed here, written with compare-and-set, in order with what comes behind.

While a value is being updated, this engine's other writes of it wait in its *lane*.  All
that wait are computed together, one on the other, and written as one: many updates of one
counter cost hardly more commands than one.  When another engine was faster, they are
computed again from what it wrote.

The *line* keeps the answers of all writes in the order in which they were asked for.
Nobody stands in it while there is no lane, because Redis answers in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Step = Callable[[bytes | None], bytes | None]
"""What a write makes of the value.  None: there is none."""

_PENDING = object()

#: Writes of one value that are computed together: so many, and until so large together.
MAX_TOGETHER = 200
MAX_TOGETHER_BYTES = 4 * 1024 * 1024


class Place:
    """A place in the line.

    :ivar answer: fires when everybody before it was answered
    """

    __slots__ = ("_line", "answer", "outcome")

    def __init__(self, line: Line) -> None:
        self._line = line
        self.answer: Deferred[Any] = Deferred()
        self.outcome: Any = _PENDING

    def settle(self, outcome: Any) -> None:
        """Its result, or a ``Failure``, is there."""
        self.outcome = outcome
        self._line.advance()


class Line:
    """Answers in the order of the questions."""

    def __init__(self) -> None:
        self._places: deque[Place] = deque()
        self._advancing = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._places)

    def join(self) -> Place:
        """A place at the end."""
        place = Place(self)
        self._places.append(place)
        return place

    def behind(self, work: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Do ``work`` when everybody who waits now was answered."""
        place = self.join()
        place.settle(None)
        return place.answer.addCallback(lambda _: work())

    def advance(self) -> None:
        """Answer whoever is at the head and has an answer."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._places and self._places[0].outcome is not _PENDING:
                place = self._places.popleft()
                # A Failure given to callback() would be a result that is one.
                if isinstance(place.outcome, Failure):
                    place.answer.errback(place.outcome)
                else:
                    place.answer.callback(place.outcome)
        finally:
            self._advancing = False


class Write:
    """Something asked for in a lane.

    :ivar writes: False: it only looks
    :ivar done: told of the value before and after, or of a ``Failure``
    """

    __slots__ = ("done", "step", "writes")

    def __init__(self, step: Step, done: Callable[[Any], None], *, writes: bool = True) -> None:
        self.step = step
        self.done = done
        self.writes = writes


class Round:
    """What the first of a number of writes make of a value, as many as go together.

    :ivar outcomes: of each of them: (before, after), or the ``Failure`` of its step
    :ivar changes: those of them that wrote
    :ivar after: the value in the end
    """

    __slots__ = ("after", "changes", "outcomes")

    def __init__(self, writes: list[Write], before: bytes | None) -> None:
        self.outcomes: list[Any] = []
        self.changes: list[tuple[bytes | None, bytes | None]] = []
        self.after = before
        size = 0
        for write in writes[:MAX_TOGETHER]:
            if size > MAX_TOGETHER_BYTES:
                break
            try:
                value = write.step(self.after)
            except Exception:
                self.outcomes.append(Failure())
                continue
            change = (self.after, value)
            self.outcomes.append(change)
            if write.writes:
                self.changes.append(change)
                size += 0 if value is None else len(value)
            self.after = value

    @property
    def writes(self) -> bool:
        """Whether any of them wrote."""
        return bool(self.changes)
