"""What accepts connections of a WebSocket server, pings them, ends them.

Pings are spread out by themselves: each connection is due 20 s after it opened
and every 20 s from then on, in one queue with one timer.  A connection that was
silent for 60 s is dropped.  Which connections are watched like that is theirs to say
(``Connection.keep_alive``).
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from iii.browsers import Browsers
from iii.engine.clock import Clock, Deadlines, Timer
from iii.engine.turn import Turn
from iii.net import listen, shown
from iii.tlsport import Certificates
from iii.websocket.connection import Connection
from iii.websocket.frames import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES

log = Logger()

PING_S = 20.0
SILENT_S = 60.0
HANDSHAKE_S = 10.0
CLOSE_S = 2.0


class _Timeouts:
    """What Autobahn wants of a timer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def call_later(self, delay: float, function: Any, *args: Any) -> Timer:
        """Run ``function`` in ``delay`` seconds."""
        return self._clock.call_later(delay, function, *args)


class WebSocketFactory(WebSocketServerFactory):
    """Makes connections and keeps track of the open ones.

    :cvar protocol: the class of connections
    :param handshake_s: how long an upgrade request may take to arrive
    :param browsers: which pages may connect; None: those of this machine
    """

    protocol: Any
    noisy = False

    def __init__(
        self,
        reactor: IReactorCore,
        clock: Clock,
        turn: Turn,
        handshake_s: float = HANDSHAKE_S,
        browsers: Browsers | None = None,
    ) -> None:
        super().__init__(server="", reactor=reactor)  # type: ignore[no-untyped-call]
        # Autobahn's time-outs on the engine's clock, and none that outlives its connection.
        self._batched_timer = _Timeouts(clock)
        self.clock = clock
        self.turn = turn
        self.browsers = browsers or Browsers()
        self.monotonic = clock.monotonic
        self.connections: set[Connection] = set()
        self._pings: Deadlines[Connection] = Deadlines(clock, PING_S, self._ping)
        self._emptied: Deferred[None] | None = None
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            versions=[13],
            maxFramePayloadSize=MAX_FRAME_BYTES,
            maxMessagePayloadSize=MAX_MESSAGE_BYTES,
            openHandshakeTimeout=handshake_s,
            closeHandshakeTimeout=CLOSE_S,
            failByDrop=False,
            echoCloseCodeReason=True,
            perMessageCompressionAccept=lambda offers: None,
            webStatus=False,
            serveFlashSocketPolicy=False,
            allowNullOrigin=True,
            tcpNoDelay=True,
        )

    def buildProtocol(self, addr: Any) -> Any:
        """Twisted: a connection was accepted."""
        connection: Any = super().buildProtocol(addr)
        self.connections.add(connection)
        return connection

    def watch(self, connection: Connection) -> None:
        """Ping ``connection`` from now on."""
        self._pings.add(connection)

    def unwatch(self, connection: Connection) -> None:
        """No more pings."""
        self._pings.discard(connection)

    def gone(self, connection: Connection) -> None:
        """A connection ended."""
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def emptied(self) -> Deferred[None]:
        """Fires when no connection is left."""
        if self._emptied is None:
            self._emptied = Deferred()
            if not self.connections:
                self.clock.call_later(0, self._none_left)
        return self._emptied

    def stop(self) -> None:
        """No more timers."""
        self._pings.stop()

    def _none_left(self) -> None:
        if self._emptied is not None and not self.connections:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def _ping(self, connection: Connection) -> None:
        silent = self.monotonic() - connection.heard_at
        if silent >= SILENT_S:
            log.warn("{peer}: dropped, silent for {s:.0f} s", peer=connection.peer, s=silent)
            connection.drop()
            return
        connection.sendPing()
        self._pings.add(connection)


class WebSocketListener:
    """Listens for connections of one server.

    :param factory: makes them
    :param host: an address, or None for ``III_HOST`` or loopback
    :param port: 0 takes a free one; ``port`` tells the real one after ``listen``
    :param certificates: for TLS; None: the port is plain
    """

    def __init__(
        self,
        factory: WebSocketFactory,
        host: str | None,
        port: int,
        certificates: Certificates | None = None,
    ) -> None:
        self.factory = factory
        self.host = host
        self.port = port
        self.certificates = certificates
        self._ports: list[Any] = []

    def listen(self, setting: str = "the setting 'port'") -> None:
        """Bind.

        :param setting: what chose the port, for error messages
        :raises StartError: the address is taken
        """
        self._ports = listen(
            self.factory.reactor, self.factory, self.host, self.port, setting, self.certificates
        )
        self.port = self._ports[0].getHost().port

    @property
    def is_open(self) -> bool:
        """Whether it accepts connections."""
        return bool(self._ports)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people."""
        return [shown(port) for port in self._ports]

    @property
    def scheme(self) -> str:
        """``ws``, or ``wss`` with TLS."""
        return "ws" if self.certificates is None else "wss"

    def renew(self) -> None:
        """Read the certificate again; what is open stays open."""
        if self.certificates is not None:
            self.certificates.renew()

    def stop_listening(self) -> Deferred[Any]:
        """Accept no more connections."""
        ports, self._ports = self._ports, []
        closing: list[Deferred[Any]] = []
        for port in ports:
            stopped = port.stopListening()
            if stopped is not None:
                closing.append(stopped)
        return gatherResults(closing)

    def close_all(self, code: int, reason: str) -> Deferred[Any]:
        """Close every connection with ``code``; fires when all are gone.

        Who has not gone after 2 s is dropped.
        """
        for connection in list(self.factory.connections):
            if connection.state == connection.STATE_OPEN:
                connection.sendClose(code, reason)
            else:
                connection.drop()
        emptied = self.factory.emptied()
        timer = self.factory.clock.call_later(CLOSE_S, self._drop_all)

        def done(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            self.factory.stop()
            return result

        return emptied.addBoth(done)

    def _drop_all(self) -> None:
        for connection in list(self.factory.connections):
            connection.drop()
