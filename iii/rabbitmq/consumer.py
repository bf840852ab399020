"""One queue consumed: its messages in, acknowledgements out.

A consumer has a channel of its own, so what happens to it (its queue is deleted, a
message was held for longer than the broker allows) concerns nobody else.  When the
channel or the connection ends, everything unacknowledged is the broker's again and comes
anew; the consumer comes back by itself.  A ``Delivery`` of an earlier channel is *stale*:
acknowledging it does nothing.

Acknowledgements of one reactor turn are gathered: what is done in a row is told with one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.engine.ids import next_id
from iii.rabbitmq.errors import ACCESS_REFUSED, BrokerError
from iii.rabbitmq.link import Link

if TYPE_CHECKING:
    from iii.rabbitmq.protocol import Channel

log = Logger()

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 5.0
#: How often is looked whether another engine has let go of an exclusive queue.
EXCLUSIVE_RETRY_S = 1.0


class Delivery:
    """A message that came in."""

    __slots__ = ("body", "channel", "properties", "redelivered", "tag")

    def __init__(
        self, channel: Any, tag: int, redelivered: bool, properties: Any, body: bytes
    ) -> None:
        self.channel = channel
        self.tag = tag
        self.redelivered = redelivered
        self.properties = properties
        self.body = body


class Receiver(Protocol):
    """Who gets the messages."""

    def delivered(self, delivery: Delivery) -> None:
        """A message came."""
        ...

    def gone(self) -> None:
        """What was delivered and not acknowledged comes again."""
        ...


class Consumer:
    """Consumes one queue while it is wanted.

    :param prepare: called before each consuming, to declare what is needed
    :param exclusive: nobody else may consume the queue; while somebody does, we wait
    :ivar changing: messages may be on their way back, because of ``change``
    """

    def __init__(
        self,
        clock: Clock,
        link: Link,
        queue: str,
        receiver: Receiver,
        prepare: Callable[[], Awaitable[None]],
        *,
        prefetch: int,
        exclusive: bool = False,
    ) -> None:
        self._clock = clock
        self._link = link
        self.queue = queue
        self._receiver = receiver
        self._prepare = prepare
        self.prefetch = prefetch
        self.exclusive = exclusive
        self._wanted = False
        self._channel: Channel | None = None
        self._opening: Deferred[None] | None = None
        self._tag: str | None = None
        self._failures = 0
        self._retry: Timer | None = None
        #: unacknowledged deliveries in order; true: to be acknowledged
        self._open: dict[int, bool] = {}
        self._flushing = False
        self.changing = False

    @property
    def consuming(self) -> bool:
        """Whether messages come."""
        return self._tag is not None

    def start(self) -> None:
        """Let messages come, now and whenever the connection is there."""
        self._wanted = True
        self.connected()

    def connected(self) -> None:
        """The link is there (again), or may be."""
        if self._wanted and self._opening is None and self._tag is None:
            self._cancel_retry()
            if self._link.wire is None:
                return
            self._opening = Deferred.fromCoroutine(self._consume())
            self._opening.addErrback(self._not_consuming)

    def stop(self) -> Deferred[None]:
        """Let no more messages come; those that did may still be acknowledged."""
        self._wanted = False
        self.changing = False
        self._cancel_retry()
        return self._cancel()

    def close(self) -> None:
        """After ``stop``: end the channel; what is unacknowledged is the broker's again."""
        self._close_channel()

    def change(self, prefetch: int, exclusive: bool) -> None:
        """Other settings; what was delivered stays as it is."""
        if (prefetch, exclusive) == (self.prefetch, self.exclusive):
            return
        self.prefetch, self.exclusive = prefetch, exclusive
        if self._tag is not None:
            # They are a consumer's from its beginning: end this one, begin another.
            self.changing = True
            self._cancel().addCallback(lambda _: self.connected())

    def _cancel(self) -> Deferred[None]:
        stopped: Deferred[None] = Deferred()
        channel, tag, self._tag = self._channel, self._tag, None
        if channel is None or tag is None or not channel.is_open:
            stopped.callback(None)
            return stopped

        def cancelled(*_: Any) -> None:
            if not stopped.called:
                stopped.callback(None)

        channel.add_on_close_callback(cancelled)
        channel.basic_cancel(tag, cancelled)
        return stopped

    # Acknowledging ---------------------------------------------------------------------

    def stale(self, delivery: Delivery) -> bool:
        """Whether it is the broker's again."""
        return delivery.channel is not self._channel

    def ack(self, delivery: Delivery) -> None:
        """It is done."""
        if delivery.channel is self._channel:
            self._open[delivery.tag] = True
            if not self._flushing:
                self._flushing = True
                self._clock.call_later(0, self._flush)

    def give_back(self, delivery: Delivery) -> None:
        """Let it come again, in its place."""
        channel = self._channel
        if delivery.channel is channel and channel is not None and channel.is_open:
            self._open.pop(delivery.tag, None)
            channel.basic_nack(delivery.tag, requeue=True)

    def leave(self) -> None:
        """The connection is about to be closed: send what is gathered, do nothing more."""
        self._wanted = False
        self._cancel_retry()
        self.flush()

    def flush(self) -> None:
        """Send the acknowledgements that are gathered."""
        self._flush()

    def _flush(self) -> None:
        self._flushing = False
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        in_a_row, last = 0, 0
        for tag, done in self._open.items():
            if not done:
                break
            in_a_row, last = in_a_row + 1, tag
        if in_a_row:
            channel.basic_ack(last, multiple=in_a_row > 1)
        single = [tag for tag, done in self._open.items() if done and tag > last]
        for tag in single:
            channel.basic_ack(tag)
        if single:
            self._open = {tag: done for tag, done in self._open.items() if not done}
        elif in_a_row == len(self._open):
            self._open.clear()
        else:
            for tag in list(self._open)[:in_a_row]:
                del self._open[tag]

    # Consuming -------------------------------------------------------------------------

    async def _consume(self) -> None:
        await self._prepare()
        wire = self._link.wire
        if wire is None:
            raise self._link.away()
        channel = self._channel
        if channel is None or not channel.is_open:
            channel = await wire.raw_channel()
            channel.add_on_close_callback(self._closed)
            channel.add_on_cancel_callback(self._cancelled)
            self._channel = channel
            self._open = {}
        await self._rpc(channel, channel.basic_qos, prefetch_count=self.prefetch)
        if not self._wanted:
            self._opening = None
            return
        tag = f"consumer-{next_id()}"
        asked = self._rpc(
            channel,
            channel.basic_consume,
            self.queue,
            self._delivered,
            exclusive=self.exclusive,
            consumer_tag=tag,
        )
        await asked
        self._tag = tag
        self._opening = None
        self.changing = False
        self._failures = 0
        if not self._wanted:
            self.stop()

    def _rpc(self, channel: Any, method: Callable[..., Any], *parts: Any, **more: Any) -> Any:
        answered: Deferred[Any] = Deferred()

        def closed(_: Any, reason: Any) -> None:
            if not answered.called:
                answered.errback(reason if isinstance(reason, Exception) else Exception(reason))

        def answer(frame: Any) -> None:
            if not answered.called:
                answered.callback(frame)

        channel.add_on_close_callback(closed)
        method(*parts, **more, callback=answer)
        return answered

    def _delivered(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        tag: int = method.delivery_tag
        if channel is not self._channel:
            return
        self._open[tag] = False
        delivery = Delivery(channel, tag, method.redelivered, properties, body)
        try:
            self._receiver.delivered(delivery)
        except Exception:
            # One message's trouble must not cost the connection.
            log.failure("a message of {queue}", queue=self.queue)

    def _cancelled(self, _: Any) -> None:
        """The broker ended it: the queue was deleted."""
        self._tag = None
        self._close_channel()

    def _close_channel(self) -> None:
        channel = self._channel
        if channel is not None and channel.is_open:
            channel.close()

    def _closed(self, channel: Any, reason: Any) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        was_consuming, self._tag = self._tag is not None, None
        self._open = {}
        self._receiver.gone()
        if self._opening is None and self._wanted:
            if was_consuming and self._link.wire is not None and self._link.wire.is_open:
                log.debug("{queue}: the channel ended: {reason}", queue=self.queue, reason=reason)
            self._later()

    def _not_consuming(self, failure: Failure) -> None:
        self._opening = None
        self.changing = False
        if not self._wanted:
            return
        from iii.rabbitmq.protocol import reason_of

        error = reason_of(failure.value)
        if error.reply == ACCESS_REFUSED and self.exclusive:
            self._later(EXCLUSIVE_RETRY_S)
            return
        if self._link.wire is not None and self._link.wire.is_open:
            log.error(
                "RabbitMQ: {queue} can't be consumed: {reason}; trying again",
                queue=self.queue,
                reason=error.message if isinstance(error, BrokerError) else str(error),
            )
        self._later()

    def _later(self, delay_s: float | None = None) -> None:
        self._cancel_retry()
        if delay_s is None:
            delay_s = min(FIRST_RETRY_S * 2.0 ** min(self._failures, 10), LONGEST_RETRY_S)
            delay_s = 0.0 if self._failures == 0 else delay_s
            self._failures += 1
        self._retry = self._clock.call_later(delay_s, self._again)

    def _again(self) -> None:
        self._retry = None
        self.connected()

    def _cancel_retry(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
