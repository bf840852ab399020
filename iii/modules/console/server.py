"""The console's port: everything that serves one console, put together.

The same for an engine in this process and for one elsewhere; who makes it brings the engine
(``Backend``).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger

from iii.engine.clock import Clock
from iii.modules.console.api import Api
from iii.modules.console.backend import Backend
from iii.modules.console.config import ConsoleConfig
from iii.modules.console.entrance import Entrance
from iii.modules.console.facts import Facts
from iii.modules.console.files import Files
from iii.modules.console.pages import Pages
from iii.modules.console.site import Root, Upgrade
from iii.modules.console.tester import Tester
from iii.modules.console.tunnel import Tunnels
from iii.modules.console.visit import ConsoleRequest
from iii.net import effective_host, is_loopback, listen, show_address, shown
from iii.tlsport import certificates
from iii.webserver import Connections, QuietSite

log = Logger()

MAX_CONNECTIONS = 200
IDLE_LIMIT_S = 60.0
NO_TOKEN = (
    "the console is not started: it would be reachable from other machines on {host} and asks "
    "for no token; set token (III_CONSOLE_TOKEN), or bind it to 127.0.0.1"
)


class ConsoleServer:
    """One console.

    :param clock: the time of sessions and failed attempts
    """

    def __init__(self, reactor: Any, clock: Clock, engine: Backend, config: ConsoleConfig) -> None:
        self._reactor = reactor
        self._config = config
        self.loopback = is_loopback(effective_host(config.host))
        self._certificates = certificates(config.tls, clock, "the console's port")
        self._facts = Facts(engine, config)
        entrance = Entrance(
            clock,
            token=config.token or None,
            loopback=self.loopback,
            allowed=config.allowed_origins,
            secure=config.tls is not None,
            path=config.base,
        )
        self.tunnels = Tunnels(reactor, engine, self._facts, entrance)
        #: path below the console's → who takes WebSockets there
        self._pages = Pages(reactor, clock, engine)
        self.upgrades: dict[str, Upgrade] = {
            "ws/streams": self.tunnels.upgrade,
            "ws/console": self._pages.upgrade,
        }
        root: Any = Root(
            Api(engine, Tester(reactor, clock).routes, read_only=config.read_only),
            self._facts,
            entrance,
            Files(base=config.base),
            self.upgrades,
            config.base,
        )
        site: Any = QuietSite
        made = site(
            root,
            ConsoleRequest,
            timeout=IDLE_LIMIT_S,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self._connections = Connections(made, lambda: MAX_CONNECTIONS)
        self._ports: list[Any] = []
        self._unbinding: list[Deferred[Any]] = []

    @property
    def refusal(self) -> str | None:
        """Why it must not be started; None: it may."""
        if self.loopback or self._config.token:
            return None
        return NO_TOKEN.format(host=effective_host(self._config.host))

    @property
    def port(self) -> int | None:
        """Where it listens, if it does."""
        return self._ports[0].getHost().port if self._ports else None

    @property
    def url(self) -> str:
        """Its address on this machine."""
        host = effective_host(self._config.host)
        name = "127.0.0.1" if host in (None, "localhost", "0.0.0.0", "::") else str(host)
        scheme = "http" if self._config.tls is None else "https"
        return f"{scheme}://{show_address(name, self.port)}{self._config.base}"

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people."""
        return [shown(port) for port in self._ports]

    def start(self) -> None:
        """Listen.

        :raises StartError: the address is taken or can't be bound
        """
        config = self._config
        setting = "the setting 'port' of iii-console"
        self._ports = listen(
            self._reactor, self._connections, config.host, config.port, setting, self._certificates
        )
        self._facts.port = self.port or config.port
        log.info("the console is at {url}", url=self.url)

    def renew(self) -> None:
        """Read the certificate again."""
        if self._certificates is not None:
            self._certificates.renew()

    def closing(self) -> None:
        """No new connections."""
        ports, self._ports = self._ports, []
        self._unbinding += [maybeDeferred(port.stopListening) for port in ports]

    async def stop(self) -> None:
        """End what is left."""
        self.closing()
        await gatherResults(self._unbinding)
        self.tunnels.stop()
        await self._pages.stop()
        await self._connections.end()
