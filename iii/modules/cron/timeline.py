"""One timer for all jobs.

Due times are wall-clock times in a heap.  The timer sleeps until the first of them but
never longer than ``LONGEST_SLEEP_S``, and looks at the wall clock again whenever it
wakes: a clock that was set forward, or a host that was suspended, makes jobs late by at
most that; who is woken early sleeps again.  A clock that was set *back* shows in the
distance between wall and monotonic time, and the owner is asked to plan anew.

Many jobs may be due in one second.  They are fired in batches, so that output leaves and
other work gets its turn in between, and planned again when nothing is due any more.  New
ones are planned in the same way: a worker that registers thousands doesn't wait for it.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any, Protocol

from twisted.logger import Logger

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi

log = Logger()

LONGEST_SLEEP_S = 60.0
#: Jobs of one batch.
BATCH = 100
#: Wall and monotonic clock drift apart by less than this unless one was set.
STEP_S = 1.0


class Entry:
    """Something that comes due again and again.

    :ivar tick: the run it waits for, in whole seconds since 1970; None: for none
    """

    __slots__ = ("tick", "ticket")

    def __init__(self) -> None:
        self.tick: int | None = None
        self.ticket = 0


class Owner(Protocol):
    """Knows what to do with an entry."""

    def fire(self, entry: Any, tick: int) -> None:
        """``entry`` is due for ``tick``."""
        ...

    def replan(self, entry: Any) -> None:
        """It is new, was fired, or the clock was set: ``Timeline.wait``, or not."""
        ...

    def set_back(self, seconds: float) -> None:
        """The clock was set back; every entry will be planned again."""
        ...


class Timeline:
    """Fires entries when they are due."""

    def __init__(self, engine: ModuleApi, owner: Owner) -> None:
        self._clock = engine.clock
        self._turn = engine.turn
        self._owner = owner
        self._heap: list[tuple[float, int, Entry]] = []
        self._live: dict[Entry, None] = {}
        self._tickets = 0
        self._spent: deque[Entry] = deque()
        self._timer: Timer | None = None
        self._wakes_at = 0.0  # monotonic
        self._distance = self._clock.wall() - self._clock.monotonic()
        self._stopped = False

    def add(self, entry: Entry) -> None:
        """``entry`` exists from now on and will be planned in a moment."""
        if not self._live:  # nobody looked at the clock while there was none
            self._distance = self._clock.wall() - self._clock.monotonic()
        self._live[entry] = None
        self._spent.append(entry)
        self._arm()

    def discard(self, entry: Entry) -> None:
        """It doesn't any more."""
        self._live.pop(entry, None)
        entry.ticket = 0
        entry.tick = None
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [item for item in self._heap if item[1] == item[2].ticket]
            heapq.heapify(self._heap)

    def wait(self, entry: Entry, tick: int, due: float) -> None:
        """Fire ``entry`` for ``tick`` at ``due``, and for nothing it waited for before.

        :param due: in seconds since 1970
        """
        if self._stopped:
            return
        self._tickets += 1
        entry.ticket = self._tickets
        entry.tick = tick
        heapq.heappush(self._heap, (due, entry.ticket, entry))
        if self._heap[0][2] is entry:
            self._arm()

    def stop(self) -> None:
        """Fire nothing any more."""
        self._stopped = True
        self._cancel()
        self._heap.clear()
        self._spent.clear()

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _arm(self) -> None:
        """Wake when there is something to do, a minute from now at the latest."""
        if self._stopped or not self._live:
            return
        delay = LONGEST_SLEEP_S
        if self._spent:
            delay = 0.0
        elif self._heap:
            delay = min(delay, max(0.0, self._heap[0][0] - self._clock.wall()))
        wakes_at = self._clock.monotonic() + delay
        if self._timer is not None:
            if self._wakes_at <= wakes_at:
                return  # early enough; it will look again
            self._cancel()
        self._wakes_at = wakes_at
        self._timer = self._clock.call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        try:
            self._look_at_the_clock()
            self._turn.run(self._batch, self._clock.wall())
        finally:
            self._arm()

    def _look_at_the_clock(self) -> None:
        distance = self._clock.wall() - self._clock.monotonic()
        back = self._distance - distance
        self._distance = distance
        if back > STEP_S:
            log.warn("the clock was set back by {seconds:.0f} s", seconds=back)
            self._owner.set_back(back)
            self._heap.clear()
            self._spent = deque(self._live)
            for entry in self._spent:
                entry.tick = None

    def _batch(self, now: float) -> None:
        left = BATCH
        heap = self._heap
        while heap and left and heap[0][0] <= now:
            _, ticket, entry = heapq.heappop(heap)
            tick = entry.tick
            if ticket != entry.ticket or tick is None:
                continue  # planned otherwise meanwhile
            entry.tick = None
            self._spent.append(entry)
            left -= 1
            self._guarded(self._owner.fire, entry, tick)
        while self._spent and left:
            entry = self._spent.popleft()
            if entry in self._live and entry.tick is None:
                left -= 1
                self._guarded(self._owner.replan, entry)

    def _guarded(self, do: Any, entry: Entry, *more: Any) -> None:
        """One job's trouble must not stop the others."""
        try:
            do(entry, *more)
        except Exception:
            log.failure("a cron job failed in the scheduler")
