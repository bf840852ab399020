"""One AMQP connection: pika's Twisted protocol, told to say why it failed.

pika does the handshake, heartbeats and everything about channels.  What is written on a
hot path (``iii.rabbitmq.frames``) goes through ``emit`` between pika's own frames, whole
frames of one channel at a time.

Importing this imports the reactor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pika import ConnectionParameters, PlainCredentials  # type: ignore[import-untyped]
from pika.adapters.twisted_connection import (  # type: ignore[import-untyped]
    TwistedChannel,
    TwistedProtocolConnection,
)
from pika.channel import Channel  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from iii.rabbitmq.address import Address
from iii.rabbitmq.errors import BrokerAway, BrokerError

HEARTBEAT_S = 20
#: The broker is stopped.
CONNECTION_FORCED = 320

#: What goes wrong is told by who it happens to, once.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)

__all__ = ["Channel", "ChannelClosedByBroker", "TwistedChannel", "Wire", "WireFactory", "reason_of"]


class Wire(TwistedProtocolConnection):  # type: ignore[misc]
    """One connection.

    :param lost: called once, with the reason, when it has ended
    :ivar blocked: why the broker takes no messages at the moment; None: it does
    :ivar ready: fires when the handshake is over; None once it is
    """

    ready: Deferred[Any] | None

    def __init__(
        self, address: Address, purpose: str, reactor: Any, lost: Callable[[Wire, str], None]
    ) -> None:
        parameters = ConnectionParameters(
            host=address.host,
            port=address.port,
            virtual_host=address.vhost,
            credentials=PlainCredentials(address.username, address.password),
            heartbeat=HEARTBEAT_S,
            client_properties={"connection_name": f"iii {purpose}"},
        )
        super().__init__(parameters, custom_reactor=reactor)
        self._lost = lost
        self._reason: str | None = None
        self._cause: Exception | None = None
        self.blocked: str | None = None
        self._impl.add_on_connection_blocked_callback(self._blocked)
        self._impl.add_on_connection_unblocked_callback(self._unblocked)

    @property
    def frame_max(self) -> int:
        """The longest frame that was agreed upon."""
        size: int = self._impl.params.frame_max
        return size

    def emit(self, data: bytes) -> None:
        """Write whole frames."""
        transport: Any = self.transport
        transport.write(data)

    def raw_channel(self) -> Deferred[Channel]:
        """A new channel, as pika's own callbacks see it."""
        opened: Deferred[Channel] = Deferred()
        self._impl.channel(None, opened.callback)
        self._calls.add(opened)
        return opened.addCallback(self._clear_call, opened)

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self._reason = self._reason or reason
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def leave(self) -> None:
        """Say goodbye and end it; what was written before is read by the broker."""
        self._reason = self._reason or "the engine is stopping"
        if self._impl.is_open:
            self._impl.close()

    def connectionLost(self, reason: Failure = Failure(ConnectionError("lost"))) -> None:  # noqa: B008
        """Protocol: it has ended."""
        # What the broker said before it hung up, which pika is going to forget.
        self._cause = self._impl._error
        super().connectionLost(reason)
        self._lost(self, self._reason or reason.getErrorMessage())

    def _on_connection_failed(self, connection: Any, error: Any = None) -> None:
        # pika's own loses the error.
        ready, self.ready = self.ready, None
        error = error if self._cause is None else self._cause
        if ready is not None:
            ready.errback(error if isinstance(error, Exception) else BrokerAway(str(error)))

    def _on_connection_closed(self, connection: Any, error: Any) -> None:
        error = error if self._cause is None else self._cause
        if isinstance(error, ConnectionClosedByBroker):
            self._reason = self._reason or error.reply_text
        super()._on_connection_closed(connection, error)

    def _blocked(self, _: Any, frame: Any) -> None:
        self.blocked = str(frame.method.reason)

    def _unblocked(self, _: Any, frame: Any) -> None:
        self.blocked = None


class WireFactory(Factory):
    """Makes one ``Wire``."""

    noisy = False

    def __init__(self, *make: Any) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Wire:
        """Factory."""
        wire = Wire(*self._make)
        wire.factory = self
        return wire


def reason_of(error: BaseException | None) -> BrokerError:
    """What a failure of pika's means."""
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, ChannelClosedByBroker):
        return BrokerError(f"RabbitMQ: {error.reply_text}", reply=error.reply_code)
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return BrokerError("RabbitMQ refused user and password", reply=403)
    if isinstance(error, ProbableAccessDeniedError):
        return BrokerError("RabbitMQ refused the access to the virtual host", reply=403)
    if isinstance(error, ConnectionClosedByBroker) and error.reply_code == CONNECTION_FORCED:
        return BrokerAway(f"RabbitMQ: {error.reply_text}")
    if isinstance(error, ConnectionClosedByBroker):
        return BrokerError(f"RabbitMQ: {error.reply_text}", reply=error.reply_code)
    if isinstance(error, ChannelClosed):
        return BrokerAway("the channel was closed")
    if isinstance(error, AMQPError) and not str(error):
        return BrokerAway(f"the connection to RabbitMQ was lost ({type(error).__name__})")
    return BrokerAway(f"the connection to RabbitMQ was lost: {error}")


def told(started: Callable[..., Any], *arguments: Any, **named: Any) -> Deferred[Any]:
    """Do something with a channel; failures are ``BrokerError``."""
    doing: Deferred[Any] = maybeDeferred(started, *arguments, **named)
    return doing.addErrback(_translated)


def _translated(failure: Failure) -> Any:
    raise reason_of(failure.value) from failure.value
