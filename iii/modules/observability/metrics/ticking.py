"""Something that is done again and again, on the engine's clock."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from iii.engine.clock import Clock, Timer

log = Logger()


class Ticker:
    """Calls ``work()`` until ``stop``; what it raises is logged, and it goes on.

    :param wait_s: how long to wait before the next time
    """

    def __init__(
        self, clock: Clock, wait_s: Callable[[], float], work: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._wait_s = wait_s
        self._work = work
        self._timer: Timer | None = None

    def start(self, first_s: float | None = None) -> None:
        """Begin; the first time after ``first_s``, or as long a wait as any."""
        wait_s = self._wait_s() if first_s is None else first_s
        self._timer = self._clock.call_later(wait_s, self._tick)

    def stop(self) -> None:
        """No more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        self._timer = self._clock.call_later(self._wait_s(), self._tick)
        try:
            self._work()
        except Exception:
            log.failure("{work} failed; it is tried again at its next turn", work=self._work)
