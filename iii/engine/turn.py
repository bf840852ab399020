"""Output gathered until the end of a turn.

Many small frames for one socket cost one system call each unless they are
collected first.  While a turn is open, whoever has output registers a flush
with ``later``; the flushes run when the turn ends.

A turn is opened in one of two ways.  ``run`` is for a caller that handles one
chunk of input and knows when it is done (a worker's ``dataReceived``): it costs
nothing.  ``begin`` is for callers that don't know what else this reactor
iteration will bring (an HTTP connection): the turn ends when the reactor has
handled every event it had, so the requests of many clients reach a worker in
one write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.logger import Logger

from iii.engine.clock import Clock

log = Logger()
T = TypeVar("T")


class Turn:
    """One engine's turns.  ``open`` is true while output should be gathered."""

    __slots__ = ("_clock", "_flushes", "open")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flushes: list[Callable[[], None]] = []
        self.open = False

    def later(self, flush: Callable[[], None]) -> None:
        """Run ``flush`` when the open turn ends."""
        self._flushes.append(flush)

    def begin(self) -> None:
        """Open a turn that ends with the current reactor iteration."""
        if not self.open:
            self.open = True
            self._clock.call_later(0, self.end)

    def run(self, work: Callable[[T], None], argument: T) -> None:
        """Call ``work(argument)`` within a turn."""
        if self.open:
            work(argument)
            return
        self.open = True
        try:
            work(argument)
        finally:
            self.end()

    def end(self) -> None:
        """Close the turn and run the flushes; a flush may write but not gather."""
        self.open = False
        flushes = self._flushes
        if flushes:
            self._flushes = []
            for flush in flushes:
                try:
                    flush()
                except Exception:
                    # One socket's trouble must not keep the others' output back.
                    log.failure("flushing a turn's output")
