"""Things to be looked at again at a time of their own, with one timer for all."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from iii.engine.clock import Clock, Timer

T = TypeVar("T")

#: A reactor's timer may fire a hair early: what is due within a millisecond is due.
_EARLY_S = 0.001


class Wakeups(Generic[T]):
    """Calls ``wake(what)`` when its time has come."""

    def __init__(self, clock: Clock, wake: Callable[[T], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._due: list[tuple[float, int, T]] = []
        self._order = count()
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._stopped = False

    def add(self, delay_s: float, what: T) -> None:
        """Wake ``what`` in ``delay_s`` seconds, unless all are stopped."""
        if self._stopped:
            return
        at = self._clock.monotonic() + delay_s
        heappush(self._due, (at, next(self._order), what))
        if self._timer is None or at < self._timer_at:
            self._arm()

    def stop(self) -> None:
        """Forget everything, for good."""
        self._stopped = True
        self._due.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer_at = self._due[0][0]
            wait_s = self._timer_at - self._clock.monotonic()
            self._timer = self._clock.call_later(wait_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.monotonic() + _EARLY_S
        woken: list[T] = []
        while self._due and self._due[0][0] <= now:
            woken.append(heappop(self._due)[2])
        self._arm()
        for what in woken:
            self._wake(what)
