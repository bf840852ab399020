"""Messages to RabbitMQ, each confirmed.

One channel in confirm mode takes every message.  A message is kept when the broker says
so; one that goes to no queue comes back (``mandatory``) before it is confirmed, and its
Deferred fails with ``Unroutable``.  Whatever is unconfirmed when the channel ends fails
with ``BrokerAway``: nobody knows whether it was kept, and whoever asked may ask again.

Confirmations come in the order of the messages or for many at once.  One that is overdue
ends the connection, so a broker that hangs is noticed by those who publish.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.errors import Code
from iii.rabbitmq.errors import BrokerAway, BrokerError, Unroutable
from iii.rabbitmq.frames import content, publish_method
from iii.rabbitmq.link import Link

if TYPE_CHECKING:
    from iii.rabbitmq.protocol import Channel, Wire

log = Logger()

CONFIRM_LIMIT_S = 8.0
LOOK_EVERY_S = 1.0
#: Unconfirmed messages; further ones are refused.
MAX_UNCONFIRMED = 20_000
MAX_UNCONFIRMED_BYTES = 64 * 1024 * 1024

Place = tuple[str, str, str]
"""Exchange, routing key, message id: how a returned message is told from others."""


class _Sent:
    """A message on its way."""

    __slots__ = ("at", "place", "size", "waiter")

    def __init__(self, waiter: Deferred[None], place: Place, at: float, size: int) -> None:
        self.waiter = waiter
        self.place = place
        self.at = at
        self.size = size


class Publisher:
    """The channel that takes messages.

    :param opened: called whenever a new channel is there
    :param lost: called when it is gone
    """

    def __init__(
        self,
        clock: Clock,
        link: Link,
        opened: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._link = link
        self._opened = opened
        self._was_lost = lost
        self._wire: Wire | None = None
        self._channel: Channel | None = None
        self._number = 0
        self._frame_max = 0
        self._tag = 0
        self._sent: dict[int, _Sent] = {}
        self._bytes = 0
        self._returned: dict[Place, str] = {}
        self._watch: Timer | None = None

    @property
    def up(self) -> bool:
        """Whether messages can be sent right now."""
        return self._channel is not None

    @property
    def unconfirmed(self) -> int:
        """How many are on their way."""
        return len(self._sent)

    async def open(self, wire: Wire) -> None:
        """Open the channel on a new connection.

        :raises Exception: the connection has ended, or the broker has no confirms
        """
        channel = await wire.raw_channel()
        selected: Deferred[Any] = Deferred()
        channel.add_on_close_callback(self._closed)
        channel.confirm_delivery(self._confirmed, selected.callback)
        await selected
        channel.add_on_return_callback(self._came_back)
        self._wire, self._channel = wire, channel
        self._number = channel.channel_number
        self._frame_max = wire.frame_max
        self._tag = 0
        self._arm()
        self._opened()

    def publish(
        self, exchange: str, routing_key: str, id: str, properties: bytes, body: bytes
    ) -> Deferred[None]:
        """Send a message; fires when the broker has kept it.

        The Deferred fails with ``BrokerAway`` (not sent, or nobody knows), ``Unroutable``
        (no queue), ``BrokerError`` (refused; with the code ``overloaded``: not sent).

        :param id: the message id in ``properties``, as ``Properties.encoded`` has them
        """
        wire = self._wire
        if self._channel is None or wire is None:
            return fail(self._link.away())
        if wire.blocked is not None:
            text = f"RabbitMQ at {self._link.address} takes no messages: {wire.blocked}"
            return fail(BrokerError(text, Code.OVERLOADED))
        if len(self._sent) >= MAX_UNCONFIRMED or self._bytes >= MAX_UNCONFIRMED_BYTES:
            text = f"{len(self._sent)} messages wait for RabbitMQ at {self._link.address}"
            return fail(BrokerError(text, Code.OVERLOADED))
        try:
            method = _method(self._number, exchange, routing_key)
        except ValueError as error:
            return fail(BrokerError(str(error), Code.INVALID_ARGUMENTS))
        waiter: Deferred[None] = Deferred()
        self._tag += 1
        size = len(body) + len(properties)
        self._bytes += size
        place = (exchange, routing_key, id)
        self._sent[self._tag] = _Sent(waiter, place, self._clock.monotonic(), size)
        wire.emit(method + content(self._number, properties, body, self._frame_max))
        return waiter

    def stop(self) -> None:
        """No more timers."""
        self._disarm()

    # Answers ---------------------------------------------------------------------------

    def _came_back(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        place = (method.exchange, method.routing_key, properties.message_id or "")
        self._returned[place] = method.reply_text

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        kept = method.NAME == "Basic.Ack"
        tag: int = method.delivery_tag
        if not method.multiple:
            self._settle(tag, kept)
            return
        # Tags are in the order they were sent.
        done = []
        for sent in self._sent:
            if tag and sent > tag:
                break
            done.append(sent)
        for each in done:
            self._settle(each, kept)

    def _settle(self, tag: int, kept: bool) -> None:
        sent = self._sent.pop(tag, None)
        if sent is None:
            return
        self._bytes -= sent.size
        if not kept:
            sent.waiter.errback(BrokerError("RabbitMQ refused the message (nack)"))
        elif self._returned and sent.place in self._returned:
            why = self._returned.pop(sent.place)
            sent.waiter.errback(Unroutable(f"no queue takes the message: {why}", reply=312))
        else:
            sent.waiter.callback(None)

    def _closed(self, channel: Any, reason: Any) -> None:
        if channel is not self._channel:
            return
        wire = self._wire
        self._channel = self._wire = None
        self._disarm()
        self._returned.clear()
        self._was_lost()
        sent, self._sent = self._sent, {}
        self._bytes = 0
        for one in sent.values():
            text = f"the connection to RabbitMQ was lost before it confirmed: {reason}"
            one.waiter.errback(BrokerAway(text))
        if wire is not None and wire.is_open:
            log.warn("RabbitMQ closed the publishing channel: {reason}", reason=str(reason))
            Deferred.fromCoroutine(self.open(wire)).addErrback(self._not_opened, wire)

    def _not_opened(self, failure: Failure, wire: Wire) -> None:
        wire.abort(f"no channel: {failure.value}")

    # Overdue ---------------------------------------------------------------------------

    def _arm(self) -> None:
        self._disarm()
        self._watch = self._clock.call_later(LOOK_EVERY_S, self._look)

    def _disarm(self) -> None:
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self._watch = None

    def _look(self) -> None:
        wire = self._wire
        if wire is None:
            self._watch = None
            return
        self._watch = self._clock.call_later(LOOK_EVERY_S, self._look)
        oldest = next(iter(self._sent.values()), None)
        if oldest is not None and self._clock.monotonic() - oldest.at >= CONFIRM_LIMIT_S:
            why = "" if wire.blocked is None else f" (it is blocked: {wire.blocked})"
            wire.abort(f"nothing confirmed for {CONFIRM_LIMIT_S:.0f} s{why}")


@lru_cache(10_000)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    return publish_method(channel, exchange, routing_key)
