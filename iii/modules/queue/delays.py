"""Messages that are due later, of all lanes: one row, one timer.

The head of the row is in memory (``Window``), the rest on disk.  A message that becomes
due is *waiting* from then on; whether its lane is at work or not doesn't matter here.
``Expiry`` is the same for messages whose time runs out while nobody takes them.

Wall time may be set: no timer runs longer than ``LOOK_S``, so a step is noticed.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.engine.clock import Clock, Timer
from iii.modules.queue.journal import Journal
from iii.modules.queue.message import Message, State
from iii.modules.queue.rows import due_place
from iii.modules.queue.window import Window
from iii.storage.store import StoreError

log = Logger()

LOOK_S = 60.0
SWEEP_MESSAGES = 200


class _Alarm:
    """One timer for the earliest of several wall times."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._timer: Timer | None = None
        self._at_ms = 0

    def set(self, at_ms: int) -> None:
        """Ring then, unless it rings earlier anyway."""
        if self._timer is not None:
            if self._at_ms <= at_ms:
                return
            self._timer.cancel()
        self._at_ms = at_ms
        wait_s = (at_ms - self._clock.wall_ms()) / 1000
        self._timer = self._clock.call_later(min(wait_s, LOOK_S), self._fire)

    def stop(self) -> None:
        """Don't ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._ring()


class Delays:
    """All delayed messages.

    :param due: takes a message that waits from now on
    """

    def __init__(self, journal: Journal, clock: Clock, due: Callable[[Message], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._due = due
        self._alarm = _Alarm(clock, self._look)
        complete = not any(
            count for (_, state), count in journal.counts.items() if state is State.DELAYED
        )
        self._window = Window(due_place, journal.delayed, self._look, complete=complete)

    def start(self) -> None:
        """Read what the last run left."""
        self._window.refill()

    def stop(self) -> None:
        """No more timers."""
        self._alarm.stop()

    def add(self, message: Message) -> None:
        """``message`` is delayed: it was committed so, or is about to be."""
        self._window.offer(message)
        self._alarm.set(message.due_ms)

    def remove(self, message: Message) -> None:
        """A message is not delayed any more, or due at another time."""
        self._window.remove(message)

    def reset(self) -> None:
        """Many messages were changed on disk: read them anew."""
        self._window.reset()
        self._window.refill()

    def _look(self) -> None:
        """Hand over what is due, then wait for the next."""
        # Timers fire a hair early: what is due within a millisecond is due.
        now_ms = self._clock.wall_ms() + 1
        while (message := self._window.peek()) is not None and message.due_ms <= now_ms:
            self._window.pop()
            message.state = State.WAITING
            self._journal.change(message, was=State.DELAYED)
            self._due(message)
        self._window.refill()
        if message is not None:
            self._alarm.set(message.due_ms)
        elif not self._window.complete:
            # The disk could not be read, or a read is under way that ends here again.
            self._alarm.set(self._clock.wall_ms() + 1_000)


class Expiry:
    """Finds messages whose time is over.

    :param expired: buries one, unless it runs or is gone
    """

    def __init__(self, journal: Journal, clock: Clock, expired: Callable[[Message], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._expired = expired
        self._alarm = _Alarm(clock, self._look)
        self._looking = False
        self._stopped = False

    def start(self) -> None:
        """Look at what the last run left."""
        self._look()

    def stop(self) -> None:
        """No more timers."""
        self._stopped = True
        self._alarm.stop()

    def add(self, expires_ms: int) -> None:
        """A message expires then."""
        self._alarm.set(expires_ms)

    def _look(self) -> None:
        if not self._looking and not self._stopped:
            self._looking = True
            Deferred.fromCoroutine(self._sweep()).addBoth(lambda _: None)

    async def _sweep(self) -> None:
        try:
            now_ms = self._clock.wall_ms()
            await self._journal.settled()
            found = self._journal.read_now(
                "expires_ms IS NOT NULL AND state < 2 AND expires_ms <= ?",
                (now_ms,),
                order="expires_ms",
                limit=SWEEP_MESSAGES,
            )
            for message in found:
                self._expired(message)
            following = await self._journal.next_expiry(now_ms)
        except StoreError as error:
            log.warn("looking for expired messages: {reason}", reason=error.message)
            found, following = [], self._clock.wall_ms() + int(LOOK_S * 1000)
        finally:
            self._looking = False
        if self._stopped:
            return
        if len(found) == SWEEP_MESSAGES:
            following = now_ms + 100  # there are more; some may be running
        if following is not None:
            self._alarm.set(following)
