"""``/ws/streams``: the engine's stream port on the console's own origin.

The upgrade is repeated to the stream port, and from then on bytes are passed both ways,
each side held back when the other is slow.  The stream port answers the upgrade, pings and
closes; nothing of that is looked at here.

What was shown to the console is the console's: its cookie and its token go no further.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.modules.console.api import error
from iii.modules.console.backend import Backend
from iii.modules.console.entrance import Entrance
from iii.modules.console.facts import Facts
from iii.modules.console.unchecked import UncheckedTls
from iii.modules.console.visit import Visit
from iii.net import show_address

log = Logger()

CONNECT_S = 10.0
MAX_TUNNELS = 100
#: Of the connection to us, or said anew.
_NOT_PASSED = frozenset(
    ("host", "origin", "cookie", "authorization", "x-forwarded-for", "forwarded", "content-length")
)


class _Side(Protocol):
    """One end of a tunnel; ``other`` is the other one."""

    transport: Any
    other: _Side | None = None
    ended = False

    def dataReceived(self, data: bytes) -> None:
        """Twisted: pass it on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: this end is gone, so the other goes when it has everything."""
        self.ended = True
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            if other.transport is not None:
                other.transport.unregisterProducer()
                other.transport.loseConnection()
        self.gone()

    def gone(self) -> None:
        """This end is gone."""


class _Browser(_Side):
    """The end towards the browser."""

    def __init__(self, tunnels: set[_Browser]) -> None:
        self._tunnels = tunnels

    def connectionMade(self) -> None:
        """Twisted: the request was taken over."""
        self._tunnels.add(self)

    def gone(self) -> None:
        """Side."""
        self._tunnels.discard(self)


class Tunnels:
    """All tunnels of one console.

    :ivar open: those that are
    """

    def __init__(self, reactor: Any, engine: Backend, facts: Facts, entrance: Entrance) -> None:
        self._reactor = reactor
        self._engine = engine
        self._facts = facts
        self._entrance = entrance
        self.open: set[_Browser] = set()
        self._connecting: set[Deferred[Any]] = set()

    def __len__(self) -> int:
        return len(self.open)

    def upgrade(self, visit: Visit) -> None:
        """Make one of ``visit``."""
        if len(self.open) + len(self._connecting) >= MAX_TUNNELS:
            visit.send(error(503, "too many stream connections"))
            return
        connecting = Deferred.fromCoroutine(self._connect(visit))
        self._connecting.add(connecting)
        connecting.addErrback(self._failed, visit)
        connecting.addBoth(lambda _: self._connecting.discard(connecting))

    def stop(self) -> None:
        """End them all."""
        for connecting in list(self._connecting):
            connecting.cancel()
        for browser in list(self.open):
            browser.transport.abortConnection()

    async def _connect(self, visit: Visit) -> None:
        instance = await self._facts.instance()
        endpoint = None if instance is None else instance["endpoints"].get("stream")
        if endpoint is None:
            visit.send(error(503, "WebSocket error: the engine has no stream port"))
            return
        host, port = self._engine.place("stream", endpoint["host"], endpoint["port"])
        target = self._target(host, port, secure=endpoint["tls"])
        side = await target.connect(Factory.forProtocol(_Side))
        if visit.over:
            side.transport.loseConnection()
            return
        side.transport.write(self._request(visit, show_address(host, port)))
        browser = _Browser(self.open)
        browser.other, side.other = side, browser
        _take_over(visit, browser)

    def _target(self, host: str, port: int, *, secure: bool) -> Any:
        """What connects there, an ``IStreamClientEndpoint``."""
        plain: Any = HostnameEndpoint(self._reactor, host.encode("idna"), port, timeout=CONNECT_S)
        if not secure:
            return plain
        creator: Any = UncheckedTls()
        return wrapClientTLS(creator, plain)

    def _request(self, visit: Visit, host: str) -> bytes:
        """The upgrade, to the stream port."""
        uri = "/" + (f"?{visit.query_text}" if visit.query_text else "")
        lines = [f"GET {uri} HTTP/1.1", f"host: {host}", f"x-forwarded-for: {visit.client}"]
        cookies = self._entrance.without_ours(visit.headers.get("cookie", ""))
        if cookies:
            lines.append(f"cookie: {cookies}")
        if not self._entrance.asks and "authorization" in visit.headers:
            lines.append(f"authorization: {visit.headers['authorization']}")
        lines += [
            f"{name}: {value}" for name, value in visit.headers.items() if name not in _NOT_PASSED
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _failed(self, failure: Failure, visit: Visit) -> None:
        if failure.check(ConnectError, CancelledError) is None:
            log.failure("a stream connection could not be made", failure)
        visit.send(error(503, f"WebSocket error: {failure.getErrorMessage()}"))


def _take_over(visit: Visit, browser: _Browser) -> None:
    """From here on the connection of ``visit`` is ``browser``'s."""
    channel: Any = visit.request.channel
    transport: Any = channel.transport
    visit.over = True
    channel.setTimeout(None)
    transport.unregisterProducer()
    early = b"".join(channel._dataBuffer)
    # As Autobahn takes over: the channel has no transport any more.
    channel.transport = None
    transport.wrappedProtocol = browser
    side = browser.other
    connected: Any = browser
    connected.makeConnection(transport)
    if side is not None and side.transport is not None:
        transport.registerProducer(side.transport, True)
        side.transport.registerProducer(transport, True)
    transport.resumeProducing()
    if early:
        browser.dataReceived(early)
