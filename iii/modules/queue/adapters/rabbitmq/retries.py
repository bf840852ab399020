"""Failed messages that are tried again soon: they wait here, unacknowledged.

When the time has come the next attempt is published, and when the broker has confirmed
it the message is acknowledged.  So a message is on the broker at every moment, perhaps
twice, and no queue of the broker has to pass it on.

When the channel ends these messages are the broker's again.  What is known of them is
kept for a while: one that comes again goes on waiting, or is acknowledged if its next
attempt has been published meanwhile.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.modules.queue.adapters.rabbitmq.ends import COUNT_S, Attempt
from iii.modules.queue.adapters.rabbitmq.post import Post
from iii.modules.queue.adapters.rabbitmq.waiting import Job
from iii.modules.queue.message import Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.wakeups import Wakeups
from iii.rabbitmq import Consumer, Delivery

log = Logger()

#: Longer waits are the broker's, and whatever is more than this of one queue.
LONGEST_HELD_MS = 60_000
MAX_HELD_RETRIES = 1_000
MAX_HELD_RETRY_BYTES = 16 * 1024 * 1024
#: After so long it is tried again to publish what could not be published.
TROUBLE_PAUSE_S = 1.0


class Owner(Protocol):
    """The lane they belong to."""

    settings: LaneSettings
    consumer: Consumer

    def passed_on(self, attempt: Attempt, delivery: Delivery) -> None:
        """The next attempt is safe: acknowledge the one that failed."""
        ...

    def track(self, sent: Deferred[None]) -> None:
        """A stop waits for ``sent``."""
        ...

    def resize(self) -> None:
        """More or fewer messages are held."""
        ...


class _Retry:
    """One message.

    :ivar attempt: the one that failed
    :ivar at: when it is tried again (monotonic)
    """

    __slots__ = ("at", "attempt", "job", "sending", "sent")

    def __init__(self, job: Job, attempt: Attempt, at: float) -> None:
        self.job = job
        self.attempt = attempt
        self.at = at
        self.sending = False
        self.sent = False

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return len(bytes(self.job.message.data))


class Retries:
    """The failed messages of one lane."""

    def __init__(self, clock: Clock, post: Post, queue: QueueName, owner: Owner) -> None:
        self._clock = clock
        self._post = post
        self._queue = queue
        self._owner = owner
        self._held: dict[int, _Retry] = {}
        self._bytes = 0
        #: held on a channel that has ended
        self._lost: dict[Attempt, _Retry] = {}
        self._until = 0.0
        self._wakeups: Wakeups[_Retry] = Wakeups(clock, self._due)
        self._stopped = False

    def __len__(self) -> int:
        return len(self._held)

    @property
    def messages(self) -> list[Message]:
        """What is held, with its next attempt's time."""
        return [retry.job.message for retry in self._held.values()]

    def take(self, job: Job, failed: Attempt, wait_ms: int) -> bool:
        """Hold ``job`` until its next attempt; false: it has to wait elsewhere.

        :param failed: the attempt that just failed
        """
        retry = _Retry(job, failed, self._clock.monotonic() + wait_ms / 1000)
        full = len(self._held) >= MAX_HELD_RETRIES
        if self._stopped or full or wait_ms > LONGEST_HELD_MS:
            return False
        if self._bytes + retry.size > MAX_HELD_RETRY_BYTES:
            return False
        job.message.due_ms = self._clock.wall_ms() + wait_ms
        self._hold(retry)
        self._wakeups.add(wait_ms / 1000, retry)
        self._owner.resize()
        return True

    def recognised(self, delivery: Delivery, message: Message) -> bool:
        """Whether a message that comes again is one of these."""
        if not self._lost:
            return False
        now = self._clock.monotonic()
        if now > self._until:
            self._lost.clear()
        retry = self._lost.pop((message.id, message.details.attempts), None)
        if retry is None:
            return False
        retry.job.delivery = delivery
        if retry.sent:
            self._owner.passed_on(retry.attempt, delivery)
            return True
        self._hold(retry)
        if not retry.sending:
            self._wakeups.add(max(0.0, retry.at - now), retry)
        self._owner.resize()
        return True

    def gone(self) -> None:
        """The channel ended: they all come again."""
        now = self._clock.monotonic()
        if now > self._until:
            self._lost.clear()
        self._lost |= {retry.attempt: retry for retry in self._held.values()}
        self._until = now + COUNT_S
        self._held.clear()
        self._bytes = 0

    def purge(self) -> int:
        """They are done with; how many that were."""
        gone = [retry for retry in self._held.values() if not retry.sending]
        for retry in gone:
            self._let_go(retry)
            self._owner.consumer.ack(retry.job.delivery)
        return len(gone)

    def stop(self) -> None:
        """The engine stops: the broker keeps the rest of each wait."""
        if self._stopped:
            return
        self._stopped = True
        self._wakeups.stop()
        for retry in list(self._held.values()):
            if not retry.sending:
                message = retry.job.message
                wait_ms = message.due_ms - self._clock.wall_ms()
                settings = self._owner.settings
                self._send(retry, self._post.delay(self._queue, message, settings, wait_ms))

    def give_back(self) -> None:
        """Nothing is held any more: they are the broker's, as if the attempt had not been."""
        self._stopped = True
        self._wakeups.stop()
        for retry in list(self._held.values()):
            self._let_go(retry)
            self._owner.consumer.give_back(retry.job.delivery)

    # Inside ----------------------------------------------------------------------------

    def _hold(self, retry: _Retry) -> None:
        self._held[retry.job.message.seq] = retry
        self._bytes += retry.size

    def _let_go(self, retry: _Retry) -> None:
        del self._held[retry.job.message.seq]
        self._bytes -= retry.size

    def _holds(self, retry: _Retry) -> bool:
        return self._held.get(retry.job.message.seq) is retry

    def _due(self, retry: _Retry) -> None:
        if self._holds(retry) and not retry.sending:
            message = retry.job.message
            message.due_ms = 0
            self._send(retry, self._post.hand_over(self._queue, message, self._owner.settings))

    def _send(self, retry: _Retry, sent: Deferred[None]) -> None:
        retry.sending = True
        sent.addCallbacks(self._sent, self._not_sent, callbackArgs=(retry,), errbackArgs=(retry,))
        self._owner.track(sent)

    def _sent(self, _: None, retry: _Retry) -> None:
        retry.sent = True
        if self._holds(retry):
            self._let_go(retry)
            self._owner.passed_on(retry.attempt, retry.job.delivery)
            self._owner.resize()

    def _not_sent(self, failure: Failure, retry: _Retry) -> None:
        """It stays here, and is published after a pause; or it comes again."""
        retry.sending = False
        retry.at = self._clock.monotonic() + TROUBLE_PAUSE_S
        if self._holds(retry) and not self._stopped:
            log.warn(
                "{queue}: the next attempt of message {id} can't be published yet: {reason}",
                queue=str(self._queue),
                id=retry.job.message.id,
                reason=failure.getErrorMessage(),
            )
            self._wakeups.add(TROUBLE_PAUSE_S, retry)
