"""Messages whose time is over while nobody takes them.

A broker would drop them; they are to be dead letters.  Whoever has put one looks at its
queues when its time is over; and one that is taken late is noticed then in any case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.errors import IIIError
from iii.modules.queue.names import QueueName
from iii.modules.queue.wakeups import Wakeups

log = Logger()

#: A queue is not looked at more often.
PAUSE_S = 1.0
#: A message is looked for a little later than its time.
LATE_S = 0.005
#: Messages whose end is waited for; the others are noticed when they are taken.
MAX_AWAITED = 100_000


class Expiry:
    """The ends of messages.

    :param look: buries what has expired in a queue
    """

    def __init__(self, clock: Clock, look: Callable[[QueueName], Awaitable[None]]) -> None:
        self._clock = clock
        self._look = look
        self._ends: Wakeups[QueueName] = Wakeups(clock, self._over)
        self._awaited = 0
        self._again: Wakeups[QueueName] = Wakeups(clock, self._begin)
        self._next: dict[QueueName, float] = {}
        self._planned: set[QueueName] = set()

    def add(self, queue: QueueName, wait_ms: int) -> None:
        """A message of ``queue`` expires in ``wait_ms``."""
        if self._awaited < MAX_AWAITED:
            self._awaited += 1
            self._ends.add(wait_ms / 1000 + LATE_S, queue)

    def stop(self) -> None:
        """No more timers."""
        self._ends.stop()
        self._again.stop()

    def _over(self, queue: QueueName) -> None:
        self._awaited -= 1
        if queue in self._planned:
            return
        self._planned.add(queue)
        self._again.add(max(0.0, self._next.get(queue, 0.0) - self._clock.monotonic()), queue)

    def _begin(self, queue: QueueName) -> None:
        self._planned.discard(queue)
        self._next[queue] = self._clock.monotonic() + PAUSE_S
        if len(self._next) > MAX_AWAITED:
            self._next.clear()
        Deferred.fromCoroutine(self._looked(queue)).addErrback(self._failed, queue)

    async def _looked(self, queue: QueueName) -> None:
        await self._look(queue)

    def _failed(self, failure: Failure, queue: QueueName) -> None:
        if failure.check(IIIError) is None:
            log.failure("expired messages of {queue}", failure, queue=str(queue))
