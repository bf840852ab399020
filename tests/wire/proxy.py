"""A TCP proxy that cuts connections on one side before the other.

``cut`` ends the client's side at once; the server's side stays open for a while, as
when a cable is pulled or a NAT forgets: the server learns late.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class _Side(Protocol):
    """One of the two connections of a pair; bytes go to the ``other``."""

    other: _Side | None = None
    over = False

    def __init__(self) -> None:
        self._early = b""

    def dataReceived(self, data: bytes) -> None:
        """Protocol: pass it on."""
        if self.other is None:
            self._early += data
        elif not self.other.over:
            self.other.transport.write(data)

    def join(self, other: _Side) -> None:
        """The other connection is there: what came early follows."""
        self.other = other
        if self._early and not other.over:
            other.transport.write(self._early)
            self._early = b""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Protocol: end the other side as well, unless it is to learn late."""
        self.over = True
        if self.other is not None and not self.other.over and not self.cut_off:
            self.other.transport.loseConnection()

    cut_off = False

    def abort(self) -> None:
        """End this side, and not the other."""
        self.cut_off = True
        if not self.over:
            self.transport.abortConnection()


class CuttingProxy(Factory):
    """Listens on a free port and passes every connection on to ``target``.

    :ivar pairs: client port → (client's side, server's side)
    """

    noisy = False

    def __init__(self, target: int) -> None:
        self._target = target
        self._late: list[Any] = []
        self.pairs: dict[int, tuple[_Side, _Side]] = {}
        self._port: Any = reactor.listenTCP(0, self, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.port: int = self._port.getHost().port

    def buildProtocol(self, addr: Any) -> _Side:
        """Factory: a client; dial the server."""
        client, server = _Side(), _Side()
        dialled = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self._target), server)

        def connected(_: object) -> None:
            self.pairs[addr.port] = (client, server)
            client.join(server)
            server.join(client)

        dialled.addCallback(connected)
        return client

    def cut(self, client_port: int, delay_s: float) -> None:
        """End the connection for the client now, for the server in ``delay_s``."""
        client, server = self.pairs.pop(client_port)
        client.abort()
        self._late.append(reactor.callLater(delay_s, server.abort))  # type: ignore[attr-defined]

    @property
    def settled(self) -> bool:
        """Whether the server has learnt of every cut."""
        self._late = [late for late in self._late if late.active()]
        return not self._late

    async def stop(self) -> None:
        """End everything."""
        for late in self._late:
            if late.active():
                late.cancel()
        for pair in self.pairs.values():
            for side in pair:
                side.abort()
        await self._port.stopListening()
