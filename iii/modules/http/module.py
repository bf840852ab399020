"""The ``iii-http`` module: functions behind URLs.

Trigger type ``http`` (and ``api``, its name in the oldest SDKs).  The listener is
bound while the engine starts, before workers can connect; a taken port stops the
start.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.tcp import Port
from twisted.logger import Logger

from iii.engine.module import Module, ModuleApi
from iii.modules.http.config import HttpConfig
from iii.modules.http.entry import HttpTrigger
from iii.modules.http.resource import Routes
from iii.modules.http.routes import RouteList, RouteRows, RoutesInput
from iii.modules.http.server import HttpServer
from iii.modules.http.service import HttpService
from iii.net import listen, shown
from iii.tlsport import Certificates, certificates

log = Logger()


class HttpModule(Module):
    """Serves ``http`` triggers."""

    name = "iii-http"
    config = HttpConfig

    def __init__(self, settings: HttpConfig) -> None:
        super().__init__(settings)
        self._config = settings
        self._service: HttpService | None = None
        self._server: HttpServer | None = None
        self._ports: list[Port] = []
        self._certificates: Certificates | None = None
        self._unbinding: list[Deferred[Any]] = []

    def start(self, engine: ModuleApi) -> None:
        """Module: listen and offer the trigger types."""
        service = self._service = HttpService(engine, self._config)
        routes = Routes(service)
        self._server = HttpServer(
            engine.clock,
            engine.turn,
            routes.serve,
            error=service.error,
            error_fields=service.cors.json(None),
        )
        self._certificates = certificates(self._config.tls, engine.clock, "iii-http")
        self._ports = listen(
            engine.reactor,
            self._server,
            self._config.host,
            self._config.port,
            "the setting 'port' of iii-http",
            self._certificates,
        )
        address: Any = self._ports[0].getHost()
        engine.announce("http", address.port)
        for name, description in (("http", "HTTP API trigger"), ("api", "Older name of http")):
            engine.trigger_type(name, service, description=description, trigger_schema=HttpTrigger)
        engine.function(
            "engine::http::routes",
            RouteList(service).listed,
            takes=RoutesInput,
            gives=RouteRows,
            description="List the routes and how they do",
            wants_call=True,
        )
        log.info("http listens on {addresses}", addresses=", ".join(map(shown, self._ports)))
        if self._config.error_format == "legacy":
            log.warn("http: error_format has no effect: errors have one form (docs/http.md)")

    def change(self, settings: HttpConfig) -> bool:
        """Module: all but where and how it listens changes while it runs."""
        now, service, server = self._config, self._service, self._server
        if service is None or server is None:
            return False
        if (settings.host, settings.port, settings.tls) != (now.host, now.port, now.tls):
            return False
        if not service.change(settings):
            return False
        self._config = settings
        server.error_fields = service.cors.json(None)
        return True

    def closing(self) -> None:
        """Module: no new connections; requests on open ones get 503."""
        if self._service is not None and self._server is not None:
            self._service.closing = True
            self._server.closing = True
        self._unbind()

    def renew(self) -> None:
        """Module: read the certificate again."""
        if self._certificates is not None:
            self._certificates.renew()

    @property
    def under_way(self) -> int:
        """Module: requests that are not answered to the end."""
        return 0 if self._server is None else self._server.under_way

    async def stop(self) -> None:
        """Module: end what is left."""
        self.closing()
        await gatherResults(self._unbinding)
        if self._service is not None and self._server is not None:
            self._server.stop()
            self._service.stop()

    def _unbind(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            self._unbinding.append(maybeDeferred(port.stopListening))
