"""``/ws/console``: takes over requests that become WebSockets of pages."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred

from iii.browsers import ANY, Browsers
from iii.engine.clock import Clock
from iii.engine.turn import Turn
from iii.modules.console.api import error
from iii.modules.console.backend import Backend
from iii.modules.console.page import Page
from iii.modules.console.visit import Visit
from iii.websocket.connection import Connection
from iii.websocket.server import WebSocketFactory, WebSocketListener

MAX_PAGES = 60
CLOSE_RESTART = 1012


class PageConnection(Connection):
    """A page's connection."""

    factory: PageFactory

    def role_for(self, request: ConnectionRequest) -> Page:
        """Connection: there is but one role."""
        return self.factory.page(self)

    @property
    def who(self) -> str:
        """Connection: for log lines."""
        return f"a page at {self.peer}"


class PageFactory(WebSocketFactory):
    """Makes connections for requests that were let in already."""

    protocol = PageConnection

    def __init__(self, reactor: Any, clock: Clock, engine: Backend) -> None:
        # Whether its page may connect has been checked with every other request.
        super().__init__(reactor, clock, Turn(clock), browsers=Browsers([ANY]))
        self._engine = engine
        self.pages: set[Page] = set()

    def page(self, connection: PageConnection) -> Page:
        """The role of a connection."""
        page = Page(self._engine, self.clock, connection, self.pages.discard)
        self.pages.add(page)
        return page


class Pages:
    """All open pages of one console."""

    def __init__(self, reactor: Any, clock: Clock, engine: Backend) -> None:
        self._factory = PageFactory(reactor, clock, engine)
        # It never listens: connections come from the console's port.
        self._connections = WebSocketListener(self._factory, None, 0)

    def __len__(self) -> int:
        return len(self._factory.pages)

    def upgrade(self, visit: Visit) -> None:
        """Make one of ``visit``."""
        if len(self._factory.connections) >= MAX_PAGES:
            visit.send(error(503, "too many pages are open"))
            return
        channel: Any = visit.request.channel
        transport: Any = channel.transport
        connection: Any = self._factory.buildProtocol(transport.getPeer())
        visit.over = True
        channel.setTimeout(None)
        transport.unregisterProducer()
        early = b"".join(channel._dataBuffer)
        # As Autobahn takes over: the channel has no transport any more.
        channel.transport = None
        transport.wrappedProtocol = connection
        connection.makeConnection(transport)
        transport.resumeProducing()
        connection.dataReceived(_again(visit) + early)

    def stop(self) -> Deferred[Any]:
        """End them all."""
        for page in list(self._factory.pages):
            page.closed(True)
        return self._connections.close_all(CLOSE_RESTART, "the engine is stopping")


def _again(visit: Visit) -> bytes:
    """The request as it came, for who reads upgrades."""
    lines = [f"GET {visit.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in visit.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
