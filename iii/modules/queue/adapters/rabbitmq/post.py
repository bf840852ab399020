"""Messages on their way to the broker: to a queue, into a wait, to the dead letters.

A wait has a time of its own, and waits of any time are wanted.  The usual back-offs of a
queue have a wait each; any other time is made of powers of two: a message goes into the
longest wait that is not too long, and whoever gets it afterwards sends it on.  So there
are few waits, and no message stands behind one that is due later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.modules.queue.adapters.rabbitmq.codec import encode, encode_dead
from iii.modules.queue.adapters.rabbitmq.names import Names, Place
from iii.modules.queue.adapters.rabbitmq.topology import Topology
from iii.modules.queue.keys import NO_KEY, key_in
from iii.modules.queue.message import HIGHEST_PRIORITY, Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.rabbitmq import Broker, Properties, Unroutable

#: No wait is shorter; a message that is due sooner comes so much late at most.
SHORTEST_WAIT_MS = 8
#: What is due within this goes to where it is due, and whoever gets it waits.
SOON_MS = 1_000
#: A message whose function is nowhere is looked at again after this, by whichever engine.
PARKED_MS = 30_000
#: No wait is longer: 2^31 milliseconds are 24 days, and then the message goes on.
LONGEST_WAIT_MS = 2**31
HIGHEST_AMQP_PRIORITY = 255

Declare = Callable[[], "Deferred[None]"]
UsedWait = Callable[[QueueName, Place, int], None]


class Post:
    """Sends messages.

    :param clock: tells when a wait is over
    :param used: told of every wait that a message goes into
    :param held: told of topics of which no group took a message
    """

    def __init__(
        self,
        clock: Clock,
        broker: Broker,
        names: Names,
        topology: Topology,
        used: UsedWait,
        held: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._broker = broker
        self._names = names
        self._topology = topology
        self._used = used
        self._held = held

    # Fresh -----------------------------------------------------------------------------

    def publish(self, queue: QueueName, message: Message, settings: LaneSettings) -> Deferred[None]:
        """To every group of a topic, or to a named queue.

        A topic's message that no group takes is kept in the topic's queue.
        """
        place = self._names.place(queue)
        if self._topology.is_ready(queue):
            return self._publish(queue, place, message, settings)
        return self._topology.ensure(queue).addCallback(
            lambda _: self._publish(queue, place, message, settings)
        )

    def hand_over(
        self, queue: QueueName, message: Message, settings: LaneSettings
    ) -> Deferred[None]:
        """Into one queue, past its exchange."""
        place = self._names.place(queue)
        properties, body = self._encoded(queue, message, settings)
        return self._to(place.queue, properties, body, lambda: self._topology.ensure_queue(queue))

    def _publish(
        self, queue: QueueName, place: Place, message: Message, settings: LaneSettings
    ) -> Deferred[None]:
        properties, body = self._encoded(queue, message, settings)
        sent = self._broker.publish(
            place.exchange, place.key, message.id, properties.encoded(), body
        )
        return sent.addErrback(self._nowhere, queue, message, settings)

    def _nowhere(
        self, failure: Failure, queue: QueueName, message: Message, settings: LaneSettings
    ) -> Deferred[None]:
        failure.trap(Unroutable)
        if queue.kind == "named":
            self._topology.forget()
            return self.hand_over(queue, message, settings)
        kept = self.hand_over(QueueName("topic", queue.name), message, settings)
        return kept.addCallback(lambda _: self._held(queue.name))

    # Later -----------------------------------------------------------------------------

    def retry(
        self, queue: QueueName, message: Message, settings: LaneSettings, wait_ms: int
    ) -> Deferred[None]:
        """Back into its queue after one of the back-offs that the settings say.

        :param wait_ms: at most ``LONGEST_WAIT_MS``
        """
        message.due_ms = 0
        place = self._names.place(queue)
        return self._wait(queue, place, message, settings, max(1, wait_ms))

    def delay(
        self, queue: QueueName, message: Message, settings: LaneSettings, wait_ms: int
    ) -> Deferred[None]:
        """Into its queue when it is due, which its ``due_ms`` says."""
        if wait_ms <= SOON_MS:
            return self.hand_over(queue, message, settings)
        place = self._names.place(queue)
        return self._wait(queue, place, message, settings, step_ms(wait_ms))

    def delay_topic(
        self, topic: str, message: Message, settings: LaneSettings, wait_ms: int
    ) -> Deferred[None]:
        """To all groups that a topic has when it is due."""
        place = self._names.delayed(topic)
        if wait_ms <= SOON_MS:
            # It goes into no wait; but whoever comes has to know that there is something.
            self._used(QueueName("topic", topic), place, SOON_MS)
            properties, body = self._encoded(QueueName("topic", topic), message, settings)
            return self._to(
                place.queue, properties, body, lambda: self._topology.ensure_delayed(topic)
            )
        queue = QueueName("topic", topic)
        return self._wait(queue, place, message, settings, step_ms(wait_ms))

    def _wait(
        self,
        queue: QueueName,
        place: Place,
        message: Message,
        settings: LaneSettings,
        ms: int,
    ) -> Deferred[None]:
        self._used(queue, place, ms)
        until_ms = self._clock.wall_ms() + ms
        properties, body = self._encoded(queue, message, settings, until_ms)
        ensure = partial(self._topology.ensure_wait, place, ms)
        return self._to(place.wait(ms), properties, body, ensure)

    def park(self, queue: QueueName, message: Message, settings: LaneSettings) -> Deferred[None]:
        """Where messages of a named queue wait for their function."""
        place = self._names.place(queue)
        until_ms = self._clock.wall_ms() + PARKED_MS
        properties, body = self._encoded(queue, message, settings, until_ms)
        return self._to(place.parked, properties, body, lambda: self._topology.ensure_parked(queue))

    # Dead ------------------------------------------------------------------------------

    def bury(self, queue: QueueName, message: Message, settings: LaneSettings) -> Deferred[None]:
        """To the dead letters of ``queue``."""
        place = self._names.place(queue)
        properties, body = encode_dead(queue, message, settings.max_attempts)
        return self._to(place.dead, properties, body, lambda: self._topology.ensure_queue(queue))

    # Inside ----------------------------------------------------------------------------

    def _to(
        self, name: str, properties: Properties, body: bytes, declare: Declare
    ) -> Deferred[None]:
        """Into the queue ``name``, which is declared if it is not there."""
        id, encoded = properties.message_id or "", properties.encoded()

        def send(_: None) -> Deferred[None]:
            return self._broker.publish("", name, id, encoded, body)

        def refused(failure: Failure) -> Deferred[None]:
            failure.trap(Unroutable)
            # Somebody deleted it.
            self._topology.forget()
            return declare().addCallback(send)

        return declare().addCallback(send).addErrback(refused)

    def _encoded(
        self, queue: QueueName, message: Message, settings: LaneSettings, until_ms: int = 0
    ) -> tuple[Properties, bytes]:
        priority = self._priority(queue, message)
        return encode(queue, message, settings.max_attempts, priority, until_ms)

    def _priority(self, queue: QueueName, message: Message) -> int | None:
        highest = self._topology.priorities(queue)
        if highest is None:
            return None
        return min(highest, HIGHEST_AMQP_PRIORITY, max(0, HIGHEST_PRIORITY - message.urgency))


def step_ms(wait_ms: int) -> int:
    """The longest wait of a power of two that is not longer than ``wait_ms``."""
    if wait_ms <= SHORTEST_WAIT_MS:
        return SHORTEST_WAIT_MS
    return min(1 << (wait_ms.bit_length() - 1), LONGEST_WAIT_MS)


def priority_in(data: Raw, field: str) -> int | None:
    """The priority that a member of a message's data says."""
    written = key_in(data, field)
    return int(written) if written != NO_KEY and written.isdecimal() else None
