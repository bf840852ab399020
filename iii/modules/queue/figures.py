"""What went through queues, counted under the names of topics and named queues.

It is counted here and not by adapters, so every adapter has it.  A topic counts once what
is published, and what each of its groups does with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from iii.engine.callcounts import OTHER, Durations
from iii.engine.instruments import Sample
from iii.engine.module import ModuleApi
from iii.modules.queue.lane import Verdict

Kind = Literal["named", "topic"]
Heard = Callable[[], None]

MAX_COUNTED_QUEUES = 10_000
LABELS = ("queue", "kind")


class QueueFigures:
    """One topic or named queue.

    :ivar published: messages that were put on it
    :ivar done: attempts that succeeded; ``failed`` and ``returned`` are the others
    :ivar durations: of attempts
    :ivar heard: called when something happened; None: nobody listens
    """

    __slots__ = ("done", "durations", "failed", "heard", "published", "returned")

    def __init__(self, heard: Heard | None = None) -> None:
        self.heard = heard
        self.published = self.done = self.failed = self.returned = 0
        self.durations = Durations()

    def ended(self, verdict: Verdict, seconds: float) -> None:
        """An attempt is over; one that found nobody was none."""
        if verdict is Verdict.DONE:
            self.done += 1
        elif verdict is Verdict.FAILED:
            self.failed += 1
        elif verdict is Verdict.RETURNED:
            self.returned += 1
        else:
            return
        self.durations.add(seconds)
        if self.heard is not None:
            self.heard()

    def put(self) -> None:
        """One more message was put on it."""
        self.published += 1
        if self.heard is not None:
            self.heard()

    def statuses(self) -> tuple[tuple[str, int], ...]:
        """How attempts ended, and how many did."""
        return (("ok", self.done), ("error", self.failed), ("returned", self.returned))


class Figures:
    """All topics and named queues."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, Kind], QueueFigures] = {}
        self._listeners: list[Heard] = []

    def listen(self, heard: Heard) -> None:
        """Call ``heard()`` whenever something happened in a queue."""
        self._listeners.append(heard)
        self._connect()

    def unlisten(self, heard: Heard) -> None:
        """Not any more."""
        self._listeners.remove(heard)
        self._connect()

    @property
    def _heard(self) -> Heard | None:
        return self._tell if self._listeners else None

    def _connect(self) -> None:
        for figures in self._queues.values():
            figures.heard = self._heard

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    def of(self, name: str, kind: Kind) -> QueueFigures:
        """The figures of one."""
        figures = self._queues.get((name, kind))
        if figures is None:
            if len(self._queues) >= MAX_COUNTED_QUEUES:
                name = OTHER
            figures = self._queues.setdefault((name, kind), QueueFigures(self._heard))
        return figures

    def show(self, engine: ModuleApi) -> None:
        """Show them."""
        engine.instrument(
            "iii_queue_published_total", "counter", "Messages put", self._published, LABELS
        )
        engine.instrument(
            "iii_queue_delivered_total",
            "counter",
            "Attempts to have a message handled; returned: its worker or the engine went away",
            self._delivered,
            (*LABELS, "status"),
        )
        engine.instrument(
            "iii_queue_delivery_seconds",
            "histogram",
            "From the start of an attempt to its end",
            self._durations,
            LABELS,
        )

    def _published(self) -> Iterator[Sample]:
        return ((labels, figures.published) for labels, figures in list(self._queues.items()))

    def _delivered(self) -> Iterator[Sample]:
        for labels, figures in list(self._queues.items()):
            for status, count in figures.statuses():
                yield (*labels, status), count

    def _durations(self) -> Iterator[Sample]:
        return ((labels, figures.durations) for labels, figures in list(self._queues.items()))
