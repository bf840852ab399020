"""One connection of a WebSocket server, whatever it turns out to be.

It gets its role when the upgrade is accepted (``role_for``: by path, or whatever a
server goes by), and the role hears about messages and the end.  A server that has to ask
somebody first may take its time: what the client sends meanwhile waits, and when the client
goes, the asking is called off and there never is a role.

The handshake is Autobahn's; refusals are put into the words clients know
(docs/protocol.md, "Endpoints").

A role ends when the close frame goes out, not when the socket is gone: nothing can
be sent any more, so no call may be routed here.  The socket itself has a few
seconds for its goodbye, whatever the peer does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from autobahn.util import encode_truncate
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.websocket.codes import CLOSE_INTERNAL_ERROR, CLOSE_OVERLOAD
from iii.websocket.frames import FastFrames, Receive
from iii.websocket.outbox import STALL_S, Outbox
from iii.websocket.refused import Refused

if TYPE_CHECKING:
    from iii.websocket.server import WebSocketFactory

log = Logger()

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
    """A WebSocket connection; what kind of it is up to ``role_for``."""

    factory: WebSocketFactory
    transport: Any
    openHandshakeTimeout: float
    closeHandshakeTimeout: float
    _outbox: Outbox | None = None
    _role: Role | None = None
    _ending: Timer | None = None
    _lingering: Timer | None = None
    _asking: Deferred[Role] | None = None
    heard_at = 0.0

    # Handshake -------------------------------------------------------------------------

    def role_for(self, request: ConnectionRequest) -> Role | Deferred[Role]:
        """What this connection is for, or will be when somebody was asked.

        :raises ConnectionDeny: nothing is at that path
        """
        raise NotImplementedError

    def knows(self, path: str) -> bool:
        """Whether there is anything at ``path``; a bad request to nothing is a 404."""
        return True

    def subprotocol(self) -> str | None:
        """Which of the offered ones is taken up."""
        return None

    def keep_alive(self, role: Role) -> None:
        """See to it that a peer that has vanished is noticed."""
        self.factory.watch(self)

    def connectionMade(self) -> None:
        """Twisted: a client is there."""
        super().connectionMade()
        # Autobahn looks for its own option before it has it.
        self.transport.setTcpNoDelay(True)

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Autobahn: the upgrade is valid; find the role.

        :raises ConnectionDeny: there is none
        """
        refusal = self.factory.browsers.refusal(request.headers)
        if refusal is not None:
            log.warn(
                "{peer}: refused a page of {origin!r} on {host!r}: add the origin to "
                "allowed_origins to let it connect",
                peer=self.peer,
                origin=request.headers["origin"][:200],
                host=request.host[:200],
            )
            self._role = Refused(self, refusal)
            return self.subprotocol()
        try:
            role = self.role_for(request)
        except ConnectionDeny:
            raise
        except Exception:
            # Autobahn answers 500 and keeps the reason to itself.
            log.failure("{peer}: upgrade of {path}", peer=self.peer, path=request.path)
            raise
        if isinstance(role, Deferred):
            return self._await_role(role)
        self._role = role
        return self.subprotocol()

    def _await_role(self, asking: Deferred[Role]) -> Deferred[str | None]:
        """Somebody is asked; the request itself came in time."""
        self._asking = asking
        timeout, self.openHandshakeTimeoutCall = self.openHandshakeTimeoutCall, None
        if timeout is not None:
            timeout.cancel()
        accepted: Deferred[str | None] = Deferred()

        def decided(role: Role | Failure) -> None:
            self._asking = None
            if self.state != self.STATE_CONNECTING:
                return  # The client has not waited.
            if isinstance(role, Failure):
                log.failure("{peer}: upgrade", failure=role, peer=self.peer)
                accepted.errback(role)
                return
            self._role = role
            # What came meanwhile is handled in there.
            self.factory.turn.run(accepted.callback, self.subprotocol())
            accepted.addErrback(self._handling_failed)

        asking.addBoth(decided)
        return accepted

    def processHandshake(self) -> None:
        """Autobahn: bytes before the upgrade is decided; those behind the request wait."""
        if self._asking is None:
            super().processHandshake()

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Autobahn: refuse the upgrade."""
        body = reason
        method, _, rest = getattr(self, "http_status_line", "").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if code not in (404, 503) and method and not self.knows(path):
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
        factory = self.factory
        self._outbox = Outbox(self.transport, factory.turn, factory.clock, self._stalled)
        role = self._role
        assert role is not None
        self.keep_alive(role)
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
            self._handling_failed(Failure())

    def receive_with(self, receive: Receive) -> Receive:
        """Give messages to ``receive`` from now on.

        :returns: who got them so far
        """
        before = self.frame_received
        self.frame_received = receive  # type: ignore[method-assign,assignment]
        return before

    def _handling_failed(self, failure: Failure) -> None:
        """A fault of ours costs this connection, visibly, and nobody else."""
        log.failure("{peer}: handling its messages failed", failure=failure, peer=self.peer)
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
        asking = self._asking
        if asking is not None:
            asking.cancel()
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
            self._ending = self.factory.clock.call_later(0, self._end_role, isReply)

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
            self._lingering = self.factory.clock.call_later(
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
        return str(self.peer)

    def _stalled(self) -> None:
        log.warn("{who}: dropped, it took nothing for {s:g} s", who=self.who, s=STALL_S)
        self.drop()


_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
