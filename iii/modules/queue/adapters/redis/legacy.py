"""Channels of topics, as engines of the original and other programs use them.

They know ``PUBLISH <topic> <JSON>`` only.  One engine of all listens to the channel of a
topic that has subscribers, and puts what it hears into the topic's queue; it holds a lease
for that, and when it is gone another one takes over.  What is published meanwhile is lost,
as everything is that nobody listens to.

Messages that we publish ourselves, if that is wanted, carry a mark and are not put again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.ids import next_id
from iii.errors import IIIError
from iii.modules.queue.adapter import New, Receipt
from iii.modules.queue.adapters.redis.config import RedisQueueConfig
from iii.modules.queue.adapters.redis.envelope import opened, sealed
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.adapters.redis.keys import name_of
from iii.modules.queue.adapters.redis.legacy_scripts import HOLD, LET_GO
from iii.modules.queue.names import topic
from iii.redis import RedisError

log = Logger()

LEASE_MS = 10_000
LOOK_EVERY_S = 3.0
REPORT_EVERY_S = 60.0


class Legacy:
    """The channels of this engine's topics.

    :param put: keeps a message
    """

    def __init__(
        self, hub: Hub, settings: RedisQueueConfig, put: Callable[[New], Deferred[Receipt]]
    ) -> None:
        self._hub = hub
        self._listens = settings.legacy_pubsub
        self._publishes = settings.legacy_publish
        self._put = put
        self._topics: set[str] = set()
        self._held: set[str] = set()
        self._timer: Timer | None = None
        self._dropped_told_at: float | None = None
        self._stopped = False

    def start(self) -> None:
        """Look from time to time whether somebody has to take over."""
        if self._listens and not self._stopped:
            self._timer = self._hub.clock.call_later(LOOK_EVERY_S, self._again)

    def listen(self, name: str) -> None:
        """Topic ``name`` has a subscriber here."""
        # Our own channels are not for messages, whatever a topic is called.
        if self._listens and name not in self._topics and not name.startswith(self._hub.key("")):
            self._topics.add(name)
            self._hold([name])

    def leave(self, name: str) -> None:
        """Topic ``name`` has no subscriber any more."""
        self._topics.discard(name)
        if name in self._held:
            self._held.discard(name)
            self._hub.redis.unsubscribe(name)
            self._hub.run(LET_GO, 1, name_of(topic(name))).addErrback(_later)

    def back(self) -> None:
        """Redis is back."""
        self._hold(sorted(self._topics))

    async def stop(self) -> None:
        """Let others listen."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        held, self._held = sorted(self._held), set()
        for name in held:
            self._hub.redis.unsubscribe(name)
        if held and self._hub.redis.up:
            let_go = self._hub.run(LET_GO, len(held), *(name_of(topic(name)) for name in held))
            await let_go.addErrback(_later)

    # Sending ---------------------------------------------------------------------------

    def published(self, new: New, kept: Deferred[Receipt]) -> Deferred[Receipt]:
        """Publish a message on the channel of its topic as well, once it is kept."""
        if not self._publishes or new.queues[0].kind == "named":
            return kept
        return kept.addCallback(self._publish, new)

    def _publish(self, receipt: Receipt, new: New) -> Receipt:
        if not receipt.duplicate:
            body = sealed(new, self._hub.prefix)
            sent = self._hub.redis.call("PUBLISH", new.queues[0].name, body)
            # It is kept; who listens only has no right to every message.
            sent.addErrback(_later)
        return receipt

    # Listening -------------------------------------------------------------------------

    def _again(self) -> None:
        self.start()
        self._hold(sorted(self._topics))

    def _hold(self, names: list[str]) -> None:
        """Take or renew the leases of ``names``."""
        if names and self._hub.redis.up:
            queues = [name_of(topic(name)) for name in names]
            asked = self._hub.run(HOLD, LEASE_MS, len(queues), *queues)
            asked.addCallbacks(self._told, _later, callbackArgs=(names,))

    def _told(self, held: list[int], names: list[str]) -> None:
        if self._stopped:
            return
        for name, is_ours in zip(names, held, strict=True):
            if is_ours and name not in self._held:
                self._held.add(name)
                self._hub.redis.subscribe(name, self._heard)
            elif not is_ours and name in self._held:
                self._held.discard(name)
                self._hub.redis.unsubscribe(name)

    def _heard(self, channel: bytes, body: bytes) -> None:
        """Somebody published; it may be anybody, and anything."""
        name = channel.decode()
        try:
            found = opened(body)
        except ValueError as error:
            self._drop(name, str(error))
            return
        if found.engine == self._hub.prefix:
            return  # it is in the queue already
        new = New(
            next_id(),
            found.data,
            [topic(name)],
            traceparent=found.trace.traceparent,
            baggage=found.trace.baggage,
        )
        self._put(new).addErrback(self._not_put, name)

    def _not_put(self, failure: Failure, name: str) -> None:
        failure.trap(IIIError)
        self._drop(name, str(failure.value))

    def _drop(self, name: str, problem: str) -> None:
        now, told_at = self._hub.clock.monotonic(), self._dropped_told_at
        if told_at is None or now - told_at >= REPORT_EVERY_S:
            self._dropped_told_at = now
            log.warn(
                "queue {queue}: dropped a message that was published on its channel: {problem}",
                queue=name,
                problem=problem,
            )


def _later(failure: Failure) -> Any:
    """Redis is away, which its client tells."""
    failure.trap(RedisError)
    return succeed(None)
