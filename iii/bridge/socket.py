"""One WebSocket connection that we made to another engine.

The upgrade, control frames, fragments and every fault are Autobahn's.  Whole, unmasked text
and binary frames on an open connection, which is nearly everything an engine sends, are
taken out in one loop, as ``iii.websocket.frames`` does for those of clients; the rule is the
same: Autobahn is only given bytes at a frame boundary, and the loop starts only when
Autobahn holds nothing.

Time is the engine's: Autobahn's own timers are off, the link watches.
"""

from __future__ import annotations

from typing import Any, Protocol

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii import __version__
from iii.bridge.address import Remote
from iii.bridge.masking import MaskedOutbox
from iii.engine.module import ModuleApi
from iii.websocket.codes import CLOSE_INTERNAL_ERROR, CLOSE_NORMAL
from iii.websocket.connection import READ_BYTES
from iii.websocket.frames import MAX_MESSAGE_BYTES, FastFrames
from iii.websocket.outbox import STALL_S, Outbox

log = Logger()

_TEXT, _BINARY = 0x81, 0x82
#: size of a frame's head → the least length that needs it
_LEAST = {2: 0, 4: 126, 10: 65536}
_PONG_OR_PING = (0x89, 0x8A)
# Peers close with these; not every release of Autobahn knows them all.
_NEWER_CODES = (1012, 1013, 1014)


class Owner(Protocol):
    """Whoever wanted the connection."""

    def socket_open(self, socket: Socket) -> None:
        """The upgrade was accepted; ``socket.outbox`` is the way out."""
        ...

    def socket_received(self, payload: bytes) -> None:
        """One message."""
        ...

    def socket_ended(self, socket: Socket, reason: str) -> None:
        """Nothing can be sent any more; told once, also when it never opened."""
        ...


class Socket(WebSocketClientProtocol):
    """A connection to another engine's worker port.

    :ivar outbox: the way out, once it is open
    :ivar heard_at: when the last bytes came, by the engine's monotonic clock
    """

    factory: SocketFactory
    transport: Any
    log = FastFrames.log
    outbox: Outbox | None = None
    heard_at = 0.0
    _partial: bytearray | None = None
    _wanted = 0
    _reason: str | None = None
    _told = False

    # Life ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Twisted: connected; Autobahn asks for the upgrade."""
        self.heard_at = self.factory.monotonic()
        super().connectionMade()
        self.transport.setTcpNoDelay(True)

    def onOpen(self) -> None:
        """Autobahn: the upgrade was accepted."""
        factory = self.factory
        self.transport.bufferSize = READ_BYTES
        self.outbox = MaskedOutbox(self.transport, factory.turn, factory.clock, self._stalled)
        factory.owner.socket_open(self)

    def failHandshake(self, reason: str) -> None:
        """Autobahn: the answer to the upgrade is none."""
        self._reason = reason
        super().failHandshake(reason)  # type: ignore[no-untyped-call]

    def onCloseFrame(self, code: Any, reasonRaw: Any) -> bool | None:
        """Autobahn: the other engine says goodbye."""
        text = (reasonRaw or b"").decode(errors="replace")
        self._reason = f"closed with {code}" + (f": {text}" if text else "")
        known = CLOSE_NORMAL if code in _NEWER_CODES else code
        done: bool | None = super().onCloseFrame(known, reasonRaw)
        self._tell(self._reason)
        # Autobahn leaves the end of the connection to the server, for as long as that takes.
        self.transport.loseConnection()
        return done

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the connection is gone."""
        super().connectionLost(reason)
        if self.outbox is not None:
            self.outbox.close()
        self._tell(self._reason or reason.getErrorMessage())

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """Autobahn: the other engine broke the protocol."""
        self._reason = f"protocol error: {reason}"
        super()._fail_connection(code, reason)
        self._tell(self._reason)
        self.transport.loseConnection()

    def end(self, reason: str) -> None:
        """End the connection without waiting for the other side."""
        self._reason = reason
        self._tell(reason)
        self.transport.abortConnection()

    @property
    def there(self) -> bool:
        """Whether something can be sent."""
        return not self._told

    def send(self, payload: bytes) -> None:
        """Send one message; nowhere, when the connection is over."""
        outbox = self.outbox
        if outbox is None or self._told:
            return
        if outbox.queued and outbox.full:
            self.end(f"it does not read: {outbox.queued} bytes are waiting")
        else:
            outbox.send_text(payload)

    def leave(self) -> None:
        """Say goodbye behind what is queued."""
        if self.state == self.STATE_OPEN:
            self.sendClose(CLOSE_NORMAL, "the engine is stopping")
        else:
            self.transport.abortConnection()

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self.factory.owner.socket_ended(self, reason)

    def _stalled(self) -> None:
        self.end(f"it took nothing for {STALL_S:g} s")

    # In --------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes; what they cause to be sent goes out together."""
        factory = self.factory
        self.heard_at = factory.monotonic()
        try:
            factory.turn.run(self._take, data)
        except Exception:
            log.failure("{remote}: handling its messages failed", remote=str(factory.remote))
            self.end(f"internal error ({CLOSE_INTERNAL_ERROR})")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Autobahn: a message that took the generic way."""
        self._message(payload)

    def _message(self, payload: bytes) -> None:
        if not self._told:
            self.factory.owner.socket_received(payload)

    def _take(self, data: bytes) -> None:
        partial = self._partial
        if partial is not None:
            partial += data
            if len(partial) < self._wanted and self.state == self.STATE_OPEN:
                return
            data = bytes(partial)
            self._partial = None
        if (
            self.state != self.STATE_OPEN
            or self.data
            or self.current_frame is not None
            or self.inside_message
        ):
            self._dataReceived(data)
            return
        self._whole_frames(data)

    def _whole_frames(self, data: bytes) -> None:
        """Decode frame after frame; ``data`` starts at a frame boundary."""
        at, end = 0, len(data)
        while end - at >= 2:
            kind, length = data[at], data[at + 1]
            start = at + 2
            if (kind != _TEXT and kind != _BINARY) or length > 127:
                self._dataReceived(data[at:])
                return
            if length == 126:
                start = at + 4
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start], "big")
            if start > end:
                self._keep(data[at:], start - at)
                return
            stop = start + length
            if length > MAX_MESSAGE_BYTES or length < _LEAST[start - at]:
                self._dataReceived(data[at:])
                return
            if stop > end:
                self._keep(data[at:], stop - at)
                return
            payload = data[start:stop]
            if not payload.isascii() and not _is_utf8(payload):
                self._dataReceived(data[at:])
                return
            at = stop
            self._message(payload)
            if self.state != self.STATE_OPEN:
                if at < end:
                    self._dataReceived(data[at:])
                return
        if at < end:
            self._keep(data[at:], 2)

    def _keep(self, data: bytes, wanted: int) -> None:
        """A frame that is not all here."""
        self._partial = bytearray(data)
        self._wanted = wanted

    # Out -------------------------------------------------------------------------------

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Autobahn: the upgrade request and control frames, which are masked already."""
        outbox = self.outbox
        if outbox is None:
            super().sendData(data, sync, chopsize)
        elif data[0] in _PONG_OR_PING:
            outbox.send_ahead(data)
        else:
            outbox.send_last(data)


class SocketFactory(WebSocketClientFactory):
    """Makes the connections of one link.

    :param owner: hears of them
    """

    protocol: Any = Socket
    noisy = False

    def __init__(self, engine: ModuleApi, remote: Remote, owner: Owner) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            f"{'wss' if remote.secure else 'ws'}://{_host(remote)}{remote.resource}",
            headers=remote.headers,
            useragent=f"iii-engine/{__version__}",
            reactor=engine.reactor,
        )
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
            maxFramePayloadSize=MAX_MESSAGE_BYTES,
            maxMessagePayloadSize=MAX_MESSAGE_BYTES,
            failByDrop=False,
        )
        self.remote = remote
        self.owner = owner
        self.clock = engine.clock
        self.monotonic = engine.clock.monotonic
        self.turn = engine.turn


def _host(remote: Remote) -> str:
    host = f"[{remote.host}]" if ":" in remote.host else remote.host
    return f"{host}:{remote.port}"


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
