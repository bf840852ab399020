"""Everything on a broker that is no message: declare, bind, count, look at, delete.

Each piece of work gets a channel that is thrown away.  A refusal closes its channel, so
nothing else may be on it; and closing a channel puts back, in their places, the messages
that were looked at and not taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii.rabbitmq.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError
from iii.rabbitmq.link import Link

if TYPE_CHECKING:
    from iii.rabbitmq.protocol import TwistedChannel

Arguments = dict[str, Any]

#: A broker that is silent for so long is as good as gone.
ANSWER_LIMIT_S = 8.0


class Got:
    """A message that was looked at."""

    __slots__ = ("body", "properties", "tag")

    def __init__(self, tag: int, properties: Any, body: bytes) -> None:
        self.tag = tag
        self.properties = properties
        self.body = body


class Desk:
    """A channel for one piece of work: ``async with broker.desk() as desk``.

    What a method is refused is a ``BrokerError`` with the broker's reply code, and a new
    channel for the next.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: TwistedChannel | None = None

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(self, *_: object) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and channel.is_open:
            channel.close()
            # What was looked at is back in its place when the broker has closed it.
            await channel.on_closed

    # Exchanges and queues --------------------------------------------------------------

    async def exchange(self, name: str, type: str) -> bool:
        """Declare a durable exchange; false: it is there with another type, and stays."""
        try:
            await self._do("exchange_declare", exchange=name, exchange_type=type, durable=True)
        except BrokerError as error:
            if error.reply != PRECONDITION_FAILED:
                raise
            return False
        return True

    async def queue(self, name: str, arguments: Arguments | None = None) -> bool:
        """Declare a durable queue; false: it is there with other arguments, and stays."""
        try:
            await self._do("queue_declare", queue=name, durable=True, arguments=arguments)
        except BrokerError as error:
            if error.reply != PRECONDITION_FAILED:
                raise
            return False
        return True

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let messages of an exchange go to a queue."""
        await self._do("queue_bind", queue=queue, exchange=exchange, routing_key=routing_key)

    async def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let them go there no more; what does not exist is unbound."""
        try:
            await self._do("queue_unbind", queue=queue, exchange=exchange, routing_key=routing_key)
        except BrokerError as error:
            if error.reply != NOT_FOUND:
                raise

    async def size(self, queue: str) -> tuple[int, int] | None:
        """How many messages are ready in a queue, and its consumers; None: no such queue."""
        try:
            answer = await self._do("queue_declare", queue=queue, passive=True)
        except BrokerError as error:
            if error.reply != NOT_FOUND:
                raise
            return None
        return answer.method.message_count, answer.method.consumer_count

    async def purge(self, queue: str) -> int:
        """Throw away what is ready in a queue; how many that were."""
        try:
            answer = await self._do("queue_purge", queue=queue)
        except BrokerError as error:
            if error.reply != NOT_FOUND:
                raise
            return 0
        count: int = answer.method.message_count
        return count

    async def delete(self, queue: str, *, only_empty: bool = False) -> int | None:
        """Delete a queue; how many messages it had.  None: it is not empty, and stays."""
        try:
            answer = await self._do("queue_delete", queue=queue, if_empty=only_empty)
        except BrokerError as error:
            if error.reply == PRECONDITION_FAILED:
                return None
            if error.reply != NOT_FOUND:
                raise
            return 0
        count: int = answer.method.message_count
        return count

    # Messages --------------------------------------------------------------------------

    async def get(self, queue: str) -> Got | None:
        """The next message of a queue, which comes back to its place unless it is acked.

        None: there is none, or no such queue.
        """
        try:
            found = await self._do("basic_get", queue=queue)
        except BrokerError as error:
            if error.reply != NOT_FOUND:
                raise
            return None
        if found is None:
            return None
        return Got(found.method.delivery_tag, found.properties, found.body)

    def ack(self, got: Got) -> None:
        """Take a message that ``get`` of this desk gave, for good."""
        assert self._channel is not None
        self._channel.basic_ack(got.tag)

    # Inside ----------------------------------------------------------------------------

    async def _do(self, method: str, **named: Any) -> Any:
        from iii.rabbitmq.protocol import told

        wire = self._link.wire
        if wire is None or not wire.is_open:
            raise self._link.away()
        channel = self._channel
        limit = self._link.clock.call_later(
            ANSWER_LIMIT_S, wire.abort, f"no answer for {ANSWER_LIMIT_S:.0f} s"
        )
        try:
            if channel is None or not channel.is_open:
                channel = self._channel = await told(wire.channel)
            return await told(getattr(channel, method), **named)
        finally:
            if limit.active():
                limit.cancel()
