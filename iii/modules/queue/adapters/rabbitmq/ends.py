"""How messages ended of which the broker may not know it.

When a channel ends, acknowledgements may be lost with it, and whatever ends afterwards
can't be told.  Such a message comes again; here is known what became of it.
"""

from __future__ import annotations

from collections import deque

from iii.engine.clock import Clock
from iii.modules.queue.adapters.rabbitmq.codec import NO_ID
from iii.modules.queue.lane import Outcome
from iii.modules.queue.message import Message

#: The last acknowledgements, and ends that could not be told.
KEPT_ACKS = 1_000
KEPT_ENDS = 10_000
#: How long a message that ended is expected to come again.
COUNT_S = 60.0

Attempt = tuple[str, int]
"""A message's id, and how many of its attempts had failed before."""


class Ends:
    """The ends of the messages of one queue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._acked: deque[Attempt] = deque(maxlen=KEPT_ACKS)
        self._untold: dict[Attempt, Outcome | None] = {}
        self._until = 0.0

    def acked(self, attempt: Attempt) -> None:
        """It is done, or the next one is safe, and the broker is told."""
        self._acked.append(attempt)

    def untold(self, message: Message, outcome: Outcome) -> None:
        """It ended, and the broker can't be told."""
        if len(self._untold) >= KEPT_ENDS:
            del self._untold[next(iter(self._untold))]
        self._untold[attempt_of(message)] = outcome

    def lost(self) -> None:
        """The channel ended."""
        self._untold |= dict.fromkeys(self._acked)
        self._acked.clear()
        self._until = self._clock.monotonic() + COUNT_S

    def knows(self, message: Message) -> bool:
        """Whether a message that came has ended before; then ``take`` says how."""
        if not self._untold or message.id.startswith(NO_ID):
            return False
        if self._clock.monotonic() > self._until:
            self._untold.clear()
        return attempt_of(message) in self._untold

    def take(self, message: Message) -> Outcome | None:
        """How it ended; None: it was acknowledged."""
        return self._untold.pop(attempt_of(message))


def attempt_of(message: Message) -> Attempt:
    """The one that is to be made of ``message``."""
    return (message.id, message.details.attempts)
