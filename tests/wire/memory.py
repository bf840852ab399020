"""Server protocols without a network: a transport that records, and what became of both.

``Outcome`` is everything a peer or an application could notice about a connection, so
two implementations are alike when their outcomes are equal after every chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from iii.websocket.frames import FastFrames
from tests.support.rawsocket import upgrade

CLOSE_ME = b"close me"
DROP_ME = b"drop me"


class RecordingTransport(StringTransport):
    """Keeps what was written; does not mind a producer that never was."""

    def __init__(self) -> None:
        super().__init__(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 1),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 2),
        )
        self.aborted = False

    def unregisterProducer(self) -> None:
        """Transport: Autobahn calls this without having registered one."""
        self.producer = None

    def abortConnection(self) -> None:
        """Transport: end it at once."""
        self.aborted = True
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Transport: there is no TCP."""


@dataclass
class Outcome:
    """What is to be seen of a connection."""

    messages: list[tuple[bytes, bool]] = field(default_factory=list)
    written: bytes = b""
    dropped: bool = False
    aborted: bool = False
    state: int = 0
    codes: tuple[Any, ...] = ()
    closed: tuple[Any, ...] = ()


class _Recorder:
    """Mixed into both protocols: messages are kept, two of them are orders."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome = Outcome()

    def heard(self, payload: bytes, is_binary: bool) -> None:
        """One message for the application."""
        protocol: Any = self
        self.outcome.messages.append((payload, is_binary))
        if payload == CLOSE_ME:
            protocol.sendClose(3001, "asked")
        elif payload == DROP_ME:
            protocol.dropConnection(abort=True)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Autobahn: it is over."""
        self.outcome.closed = (wasClean, code, reason)


class Generic(_Recorder, WebSocketServerProtocol):  # type: ignore[misc]
    """Autobahn as it is."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Autobahn: one message."""
        self.heard(payload, isBinary)


class Fast(_Recorder, FastFrames):
    """The class under test."""

    def frame_received(self, payload: bytes, is_binary: bool) -> None:
        """FastFrames: one message."""
        self.heard(payload, is_binary)


class _Timers:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def call_later(self, delay: float, function: Callable[..., Any], *args: Any) -> Any:
        return self._clock.callLater(delay, function, *args)


class Side:
    """One protocol on a transport, its handshake done.

    :param frame_limit: payload bytes of one frame
    :param message_limit: payload bytes of one message
    """

    def __init__(self, protocol_class: type[Any], frame_limit: int, message_limit: int) -> None:
        self.clock = Clock()
        factory = WebSocketServerFactory()
        factory.protocol = protocol_class
        factory._batched_timer = _Timers(self.clock)
        factory.setProtocolOptions(
            versions=[13],
            maxFramePayloadSize=frame_limit,
            maxMessagePayloadSize=message_limit,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=10,
            closeHandshakeTimeout=2,
            perMessageCompressionAccept=lambda offers: None,
        )
        self.protocol: Any = factory.buildProtocol(None)
        self.transport = RecordingTransport()
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(upgrade("/", 1))
        if self.protocol.state != self.protocol.STATE_OPEN:
            raise AssertionError(f"no handshake: {self.transport.value()!r}")
        self.transport.clear()

    @property
    def over(self) -> bool:
        """Whether a real transport would deliver nothing more."""
        return bool(self.transport.disconnecting)

    def feed(self, data: bytes) -> None:
        """One chunk of the peer."""
        self.protocol.dataReceived(data)

    def close(self) -> None:
        """The application closes."""
        self.protocol.sendClose(3000, "enough")

    def wait(self) -> None:
        """Longer than any time-out."""
        self.clock.advance(30)

    def lose(self) -> None:
        """The TCP connection ends."""
        why = ConnectionAborted() if self.transport.aborted else ConnectionDone()
        self.protocol.connectionLost(Failure(why))

    def outcome(self) -> Outcome:
        """Everything so far."""
        protocol, outcome = self.protocol, self.protocol.outcome
        outcome.written = self.transport.value()
        outcome.dropped = self.over
        outcome.aborted = self.transport.aborted
        outcome.state = protocol.state
        outcome.codes = (
            protocol.localCloseCode,
            protocol.localCloseReason,
            protocol.remoteCloseCode,
            protocol.remoteCloseReason,
            protocol.wasClean,
            protocol.failedByMe,
            protocol.closedByMe,
        )
        return outcome  # type: ignore[no-any-return]
