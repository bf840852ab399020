"""The engine's one source of time.

Everything that waits or stamps goes through a ``Clock``: the reactor's in
production, ``twisted.internet.task.Clock`` in tests, which then never sleep.

``Deadlines`` serves the many waits of *equal* length (every HTTP request has
the same time-out): entries stay in the order they came in, so one timer for
the oldest is enough, and an entry that ends early costs a dict deletion rather
than a cancelled reactor timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K", bound=Hashable)


class Timer(Protocol):
    """A delayed call that can be called off."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...


class Timers(Protocol):
    """The part of a reactor that the clock needs (``IReactorTime``)."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, func: Callable[..., Any], /, *args: Any) -> Any: ...


class Clock:
    """Monotonic time, wall time and timers.

    :param timers: a reactor or ``task.Clock``
    :param wall: seconds since the epoch; ``time.time`` unless a test says otherwise
    :param monotonic: seconds that never go back
    """

    def __init__(
        self,
        timers: Timers,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timers = timers
        self.wall = wall
        self.monotonic = monotonic

    @classmethod
    def virtual(cls, timers: Timers, *, epoch: float = 1_760_000_000.0) -> Clock:
        """A clock that only ``timers`` moves, starting at ``epoch`` (seconds)."""
        return cls(timers, wall=lambda: epoch + timers.seconds(), monotonic=timers.seconds)

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.wall() * 1000)

    def call_later(self, delay_s: float, function: Callable[..., Any], *args: Any) -> Timer:
        """Run ``function(*args)`` in ``delay_s`` seconds."""
        timer: Timer = self._timers.callLater(max(0.0, delay_s), function, *args)
        return timer

    def pause(self, delay_s: float = 0.0) -> Deferred[None]:
        """Fires in ``delay_s`` seconds; without any when everybody else has had a turn.

        Cancelled, it leaves no timer behind.
        """
        passed: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self.call_later(delay_s, passed.callback, None)
        return passed


class Deadlines(Generic[K]):
    """Waits that all last ``delay_s``; ``expired(key)`` is called for the overdue.

    A key is in here at most once.  Nothing runs while there is no key.
    """

    def __init__(self, clock: Clock, delay_s: float, expired: Callable[[K], None]) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._expired = expired
        self._due: dict[K, float] = {}
        self._timer: Timer | None = None

    def add(self, key: K) -> None:
        """Start waiting for ``key``, anew if it is waited for."""
        self._due.pop(key, None)  # to the end of the order
        self._due[key] = self._clock.monotonic() + self._delay_s
        if self._timer is None:
            self._timer = self._clock.call_later(self._delay_s, self._sweep)

    def discard(self, key: K) -> None:
        """Stop waiting for ``key``; unknown keys are fine."""
        self._due.pop(key, None)

    def change(self, delay_s: float) -> None:
        """Wait for ``delay_s`` from now on, also for the keys that are waited for already."""
        more_s, self._delay_s = delay_s - self._delay_s, delay_s
        self._due = {key: due + more_s for key, due in self._due.items()}
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
            self._timer = self._clock.call_later(0.0, self._sweep)

    def stop(self) -> None:
        """Forget every key and the timer."""
        self._due.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        # A timer may fire a hair early: what is due within a millisecond is due.
        overdue: list[K] = []
        oldest: float | None = None
        for key, due in self._due.items():
            if due > now + 0.001:
                oldest = due
                break
            overdue.append(key)
        if oldest is not None:
            self._timer = self._clock.call_later(oldest - now, self._sweep)
        for key in overdue:
            if self._due.pop(key, None) is not None:
                self._expired(key)
