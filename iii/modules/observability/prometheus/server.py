"""The port for Prometheus and for health checks.

``/metrics`` is gathered when somebody asks and not before.  It is a convenience: when
its port is taken the engine warns and goes on.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET, Request

from iii.errors import Code, StartError
from iii.modules.observability.hub import Hub
from iii.modules.observability.prometheus.exposition import Format, chosen, text_of
from iii.modules.observability.prometheus.health import Ready, add_health
from iii.modules.observability.prometheus.pages import TEXT, Missing, Page, reply
from iii.modules.observability.prometheus.readings import Readings
from iii.modules.observability.prometheus.scrape import Scrape
from iii.modules.observability.prometheus.sdkseries import SdkSeries
from iii.modules.observability.prometheus.snapshot import Snapshots
from iii.net import listen, shown
from iii.tlsport import Certificates, certificates
from iii.webserver import Connections, QuietSite

log = Logger()

MAX_CONNECTIONS = 100
MAX_SCRAPES = 10
IDLE_LIMIT_S = 60.0


class PrometheusServer:
    """Listens on ``prometheus_port``, unless that or ``metrics_enabled`` is off.

    :param ready: the names of what is not ready
    :param port: another one than the configured; 0 takes a free one
    """

    def __init__(self, hub: Hub, ready: Ready, *, port: int | None = None) -> None:
        self._hub = hub
        configured = hub.settings.prometheus_port if port is None else (port or "any")
        self._port = 0 if configured == "any" else configured
        self._on = hub.settings.metrics_enabled and configured != 0
        self._series = SdkSeries(hub)
        self._metrics = MetricsPage(hub, Snapshots(hub, self._series))
        root: Any = Missing()
        root.putChild(b"metrics", self._metrics)
        add_health(root, ready)
        self._reactor: Any = hub.engine.reactor
        site: Any = _Site
        made = site(root, timeout=IDLE_LIMIT_S, reactor=self._reactor)
        self._connections = Connections(made, lambda: MAX_CONNECTIONS)
        self._ports: list[Any] = []
        self._certificates: Certificates | None = None

    @property
    def port(self) -> int | None:
        """Where it listens, if it does."""
        return self._ports[0].getHost().port if self._ports else None

    def start(self) -> None:
        """Listen.

        :raises StartError: the host can't be listened on
        :raises TlsError: its certificate is no good
        """
        if not self._on:
            return
        setting = "the setting 'prometheus_port' of iii-observability (0: none)"
        settings, clock = self._hub.settings, self._hub.engine.clock
        self._certificates = certificates(settings.tls, clock, "the metrics port")
        try:
            self._ports = listen(
                self._reactor,
                self._connections,
                settings.host,
                self._port,
                setting,
                self._certificates,
            )
        except StartError as error:
            if error.code != Code.ADDRESS_IN_USE:
                raise
            log.warn("there will be no /metrics, /healthz and /readyz: {why}", why=error.message)
            return
        self._hub.on_metrics(self._series.add)
        self._hub.engine.announce("metrics", self.port)
        log.info("metrics are served on {addresses}", addresses=", ".join(map(shown, self._ports)))

    def renew(self) -> None:
        """Read the certificate again."""
        if self._certificates is not None:
            self._certificates.renew()

    async def stop(self) -> None:
        """Listen no more, and end what is left."""
        ports, self._ports = self._ports, []
        self._hub.forget(self._series.add)
        await gatherResults([maybeDeferred(port.stopListening) for port in ports])
        self._metrics.stop()
        await self._connections.end()


class MetricsPage(Page):
    """``/metrics``."""

    def __init__(self, hub: Hub, snapshots: Snapshots) -> None:
        super().__init__()
        self._clock = hub.engine.clock
        self._readings = Readings(hub.engine)
        self._snapshots = snapshots
        #: and what gathers for them
        self._scrapes: dict[Scrape, Deferred[None]] = {}

    def answer(self, request: Request) -> bytes | int:
        """Page."""
        format = chosen(request.getHeader("accept") or "")
        if request.method == b"HEAD":
            request.setHeader(b"content-type", format.content_type)
            return b""
        if len(self._scrapes) >= MAX_SCRAPES:
            return reply(request, 503, TEXT, b"too many scrapes at the same time\n")
        request.setHeader(b"content-type", format.content_type)
        scrape = Scrape(request, self._clock, self._ended)
        gathering = self._scrapes[scrape] = Deferred()
        gathering.addCallback(lambda _: Deferred.fromCoroutine(self._gather(scrape, format)))
        gathering.addErrback(_failed, scrape)
        gathering.callback(None)
        return NOT_DONE_YET

    async def _gather(self, scrape: Scrape, format: Format) -> None:
        modules = await self._readings.read()
        scrape.begin(text_of(self._snapshots.registry(modules), format))

    def _ended(self, scrape: Scrape) -> None:
        self._scrapes.pop(scrape).cancel()

    def stop(self) -> None:
        """End what is under way."""
        for scrape in list(self._scrapes):
            scrape.cut()


def _failed(reason: Any, scrape: Scrape) -> None:
    log.failure("the metrics could not be gathered; the scrape is cut off", failure=reason)
    scrape.cut()


class _Request(Request):
    def handleContentChunk(self, data: bytes) -> None:
        """Nothing here takes a body: it is read and forgotten."""


class _Site(QuietSite):
    requestFactory = _Request

    def getContentFile(self, length: int | None) -> BytesIO:
        """Twisted: where a body goes; see ``_Request``."""
        return BytesIO()
