"""Delayed messages of one topic: from their waits to its exchange, when they are due.

Groups may come and go while a message is delayed, so it waits before the exchange.
Every engine that knows of such messages does this, and each message goes through one.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.modules.queue.adapters.rabbitmq.codec import Unreadable, decode
from iii.modules.queue.adapters.rabbitmq.names import Names
from iii.modules.queue.adapters.rabbitmq.post import SOON_MS, Post
from iii.modules.queue.adapters.rabbitmq.topology import Topology
from iii.modules.queue.message import Message
from iii.modules.queue.names import topic
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.wakeups import Wakeups
from iii.rabbitmq import Broker, Delivery

log = Logger()

#: Messages that are due within a second, at once.
PREFETCH = 1_000
TROUBLE_PAUSE_S = 1.0


class Relay:
    """One topic's.

    :param settings: of topics
    """

    def __init__(
        self,
        clock: Clock,
        broker: Broker,
        names: Names,
        topology: Topology,
        post: Post,
        name: str,
        settings: LaneSettings,
    ) -> None:
        self._clock = clock
        self._post = post
        self._queue = topic(name)
        self._settings = settings
        self.consumer = broker.consumer(
            names.delayed(name).queue,
            self,
            lambda: topology.ensure_delayed(name),
            prefetch=PREFETCH,
        )
        self._stopped = False
        self._soon = Wakeups(clock, self._publish)
        self._again = Wakeups(clock, self.consumer.give_back)
        self.consumer.start()

    def stop(self) -> None:
        """Take nothing more."""
        self._stopped = True
        self._soon.stop()
        self._again.stop()
        self.consumer.stop()

    def delivered(self, delivery: Delivery) -> None:
        """Receiver: a wait is over."""
        now_ms = self._clock.wall_ms()
        try:
            message = decode(self._queue, 0, delivery.properties, delivery.body, now_ms)
        except Unreadable as error:
            log.error("{queue}: unreadable: {why}", queue=self.consumer.queue, why=str(error))
            self.consumer.ack(delivery)
            return
        wait_ms = message.due_ms - now_ms
        if wait_ms > SOON_MS:
            name, settings = self._queue.name, self._settings
            sent = self._post.delay_topic(name, message, settings, wait_ms)
            self._when_sent(sent, delivery)
        else:
            self._soon.add(max(0, wait_ms) / 1000, (message, delivery))

    def _publish(self, due: tuple[Message, Delivery]) -> None:
        message, delivery = due
        if not self.consumer.stale(delivery):
            message.due_ms = 0
            sent = self._post.publish(self._queue, message, self._settings)
            self._when_sent(sent, delivery)

    def _when_sent(self, sent: Deferred[None], delivery: Delivery) -> None:
        sent.addCallbacks(
            lambda _: self.consumer.ack(delivery), self._not_sent, errbackArgs=(delivery,)
        )

    def gone(self) -> None:
        """Receiver: it all comes again."""

    def _not_sent(self, failure: Failure, delivery: Delivery) -> None:
        if not self.consumer.stale(delivery) and not self._stopped:
            log.warn(
                "{queue}: a delayed message can't be passed on and comes again: {reason}",
                queue=self.consumer.queue,
                reason=failure.getErrorMessage(),
            )
            self._again.add(TROUBLE_PAUSE_S, delivery)
