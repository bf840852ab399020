"""One connection on the worker port, whatever it turns out to be.

What a connection is shows in its path: a worker on ``/``, a telemetry socket on
``/otel``, one end of a channel under ``/ws/channels/``.  It gets its role when
the upgrade is accepted and the role hears about messages and the end.

The handshake is Autobahn's; refusals are put into the words clients know
(docs/protocol.md, "Endpoints").

A role ends when the close frame goes out, not when the socket is gone: nothing can
be sent any more, so no call may be routed here.  The socket itself has a few
seconds for its goodbye, whatever the peer does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs

from autobahn.util import encode_truncate
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.wire.channel import ChannelReader, ChannelWriter
from iii.wire.frames import FastFrames
from iii.wire.link import CLOSE_OVERLOAD
from iii.wire.outbox import STALL_S, Outbox
from iii.wire.session import Session
from iii.wire.telemetry import TelemetrySocket

if TYPE_CHECKING:
    from iii.wire.listener import WorkerFactory

log = Logger()

CLOSE_INTERNAL_ERROR = 1011
CHANNEL_PREFIX = "/ws/channels/"
MAX_REQUEST_BYTES = 64 * 1024

READ_BYTES = 256 * 1024

_PONG_OR_PING = (0x89, 0x8A)

_NO_UPGRADE = "Connection header did not include 'upgrade'"
_NOT_13 = "`Sec-WebSocket-Version` header did not include '13'"

# Autobahn's reason starts with → what clients of the original know.
_REFUSALS = (
    ("HTTP Upgrade header", _NO_UPGRADE),
    ("HTTP Connection header", _NO_UPGRADE),
    ("WebSocket version", _NOT_13),
    ("could not parse HTTP Sec-WebSocket-Version", _NOT_13),
    ("WebSocket connection denied - Hixie76", _NOT_13),
    ("HTTP Sec-WebSocket-Key header missing", "`Sec-WebSocket-Key` header missing"),
)


class Role(Protocol):
    """What a connection is for."""

    def opened(self, outbox: Outbox) -> None:
        """The upgrade is done; ``outbox`` is the way out."""
        ...

    def received(self, payload: bytes, is_binary: bool) -> None:
        """One message."""
        ...

    def closed(self, clean: bool) -> None:
        """The connection ended; ``clean`` when the peer said goodbye."""
        ...


class Connection(FastFrames):
    """A WebSocket connection on the worker port."""

    factory: WorkerFactory
    transport: Any
    openHandshakeTimeout: float
    closeHandshakeTimeout: float
    _outbox: Outbox | None = None
    _role: Role | None = None
    _ending: Timer | None = None
    _lingering: Timer | None = None
    heard_at = 0.0

    # Handshake -------------------------------------------------------------------------

    def onConnect(self, request: ConnectionRequest) -> None:
        """Autobahn: the upgrade is valid; find the role by the path.

        :raises ConnectionDeny: nothing is at that path
        """
        try:
            self._role = self._role_at(request.path)
        except ConnectionDeny:
            raise
        except Exception:
            # Autobahn answers 500 and keeps the reason to itself.
            log.failure("{peer}: upgrade of {path}", peer=self.peer, path=request.path)
            raise

    def _role_at(self, path: str) -> Role:
        engine = self.factory.engine
        if path == "/":
            peer = self.transport.getPeer()
            return Session(engine, self, getattr(peer, "host", "unknown"))
        if path == "/otel":
            return TelemetrySocket(engine)
        if path.startswith(CHANNEL_PREFIX):
            return self._channel_role(path[len(CHANNEL_PREFIX) :], self.http_request_uri)
        raise ConnectionDeny(404, "")

    def _channel_role(self, channel_id: str, uri: str) -> Role:
        query = parse_qs(uri.partition("?")[2], keep_blank_values=True)
        missing = [name for name in ("key", "dir") if name not in query]
        if missing:
            text = f"Failed to deserialize query string: missing field `{missing[0]}`"
            raise ConnectionDeny(400, text)
        direction = query["dir"][-1]
        if direction not in ("read", "write"):
            text = (
                f"Failed to deserialize query string: unknown variant `{direction[:32]}`, "
                "expected `read` or `write`"
            )
            raise ConnectionDeny(400, text)
        channel = self.factory.engine.channels.find(channel_id, query["key"][-1])
        if channel is None:
            raise ConnectionDeny(404, "Channel not found")
        if direction == "read":
            return ChannelReader(channel, self)
        return ChannelWriter(channel, self)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Autobahn: refuse the upgrade."""
        body = reason
        method, _, rest = getattr(self, "http_status_line", "").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if code not in (404, 503) and method and not _known(path):
            code, body = 404, ""
        elif code == 405 or method not in ("GET", ""):
            code, body = 405, ""
        else:
            for start, text in _REFUSALS:
                if reason.startswith(start):
                    code, body = 400, text
        # The query may hold keys; the rest of the reason may be as long as the request.
        log.info(
            "{peer}: refused {request!r}: {code} {body}",
            peer=self.peer,
            request=f"{method[:16]} {path[:80]}",
            code=code,
            body=body[:80],
        )
        self._answer(code, body)
        self.dropConnection(abort=False)

    def onOpenHandshakeTimeout(self) -> None:
        """Autobahn: the upgrade did not come in time."""
        if self.state == self.STATE_CONNECTING:
            limit = self.openHandshakeTimeout
            log.warn("{peer}: dropped, no upgrade within {s:g} s", peer=self.peer, s=limit)
        super().onOpenHandshakeTimeout()

    def _answer(self, code: int, body: str) -> None:
        content = body.encode()
        head = f"HTTP/1.1 {code} {_PHRASES.get(code, 'Error')}\r\n"
        if code == 405:
            head += "allow: GET\r\n"
        if content:
            head += "content-type: text/plain; charset=utf-8\r\n"
        head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + content)

    def onOpen(self) -> None:
        """Autobahn: the connection is open."""
        self.transport.bufferSize = READ_BYTES
        # What only the handshake needed: 10,000 connections feel it.
        for spent in ("http_headers", "http_request_data", "_transport_details"):
            self.__dict__.pop(spent, None)
        self._outbox = Outbox(
            self.transport, self.factory.engine.turn, self.factory.engine.clock, self._stalled
        )
        role = self._role
        assert role is not None
        if isinstance(role, ChannelReader | ChannelWriter):
            # Some never read, so they can't be pinged: the kernel looks after them.
            self.transport.setTcpKeepAlive(True)
        else:
            self.factory.watch(self)
        self.frame_received = role.received  # type: ignore[method-assign]
        role.opened(self._outbox)

    # In --------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes; what they cause to be sent goes out together."""
        factory = self.factory
        self.heard_at = factory.monotonic()
        if self.state == self.STATE_CONNECTING and len(self.data) > MAX_REQUEST_BYTES:
            self.failHandshake(f"the request has more than {MAX_REQUEST_BYTES} bytes", 431)
            return
        try:
            factory.turn.run(super().dataReceived, data)
        except Exception:
            # A fault of ours costs this connection, visibly, and nobody else.
            log.failure("{peer}: handling its messages failed", peer=self.peer)
            self.sendClose(CLOSE_INTERNAL_ERROR, "internal error")

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Autobahn: the connection is gone."""
        if self._outbox is not None:
            self._outbox.close()
            self.factory.unwatch(self)
        self._end_role(wasClean)

    def _end_role(self, clean: bool) -> None:
        role, self._role = self._role, None
        self.__dict__.pop("frame_received", None)
        if role is not None and self._outbox is not None:
            role.closed(clean)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the socket is gone."""
        super().connectionLost(reason)
        for timer in (self.closeHandshakeTimeoutCall, self._ending, self._lingering):
            if timer is not None and timer.active():
                timer.cancel()
        self.closeHandshakeTimeoutCall = None
        self.factory.gone(self)

    # Out -------------------------------------------------------------------------------

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Autobahn: control frames; a pong overtakes bulk that is queued."""
        if self._outbox is None:
            super().sendData(data, sync, chopsize)
        elif data[0] in _PONG_OR_PING:
            self._outbox.send_ahead(data)
        else:
            self._outbox.send_last(data)

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        """Close with any code; Autobahn's own form takes only 1000 and private ones."""
        if self.state == self.STATE_OPEN:
            if code == CLOSE_OVERLOAD and self._outbox is not None:
                self._outbox.discard()
            text = None if reason is None else encode_truncate(reason, 123)
            self.sendCloseFrame(code=code, reasonUtf8=text, isReply=False)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Autobahn: the close frame, ours or the answer to the peer's."""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if self._ending is None:
            # In a turn of its own: who closes may be in the middle of something.
            self._ending = self.factory.engine.clock.call_later(0, self._end_role, isReply)

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """Autobahn: the peer broke the protocol."""
        if self.state == self.STATE_OPEN:
            log.warn("{who}: closed with {code}: {reason}", who=self.who, code=code, reason=reason)
        super()._fail_connection(code, reason)

    def dropConnection(self, abort: bool = False) -> None:
        """Autobahn: end the TCP connection, when not ``abort`` behind what is still to be sent."""
        if self.wasClean:
            # Both said goodbye: a reset could overtake what is still on its way.
            abort = False
        if not abort and self._outbox is not None:
            self._outbox.hand_over()
        super().dropConnection(abort)
        if not abort and self._lingering is None:
            self._lingering = self.factory.engine.clock.call_later(
                self.closeHandshakeTimeout, self.transport.abortConnection
            )

    def drop(self) -> None:
        """End the TCP connection without a goodbye."""
        self.dropConnection(abort=True)
        # Also when it was closed before and waits for a peer that reads nothing.
        self.transport.abortConnection()

    @property
    def who(self) -> str:
        """Whose connection it is, for log lines."""
        role = self._role
        return role.worker.describe if isinstance(role, Session) else str(self.peer)

    def _stalled(self) -> None:
        log.warn("{who}: dropped, it took nothing for {s:g} s", who=self.who, s=STALL_S)
        self.drop()


def _known(path: str) -> bool:
    return path in ("/", "/otel") or path.startswith(CHANNEL_PREFIX)


_PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
