"""A real engine with the port for Prometheus, a client, and answers read by Prometheus' parsers."""

from __future__ import annotations

from typing import Any, ClassVar

from prometheus_client import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock as FakeTime
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint
from iii.modules.observability.prometheus.server import PrometheusServer
from tests.http.support import Client, Response
from tests.support.engine_case import EngineCase


class Scraped:
    """What a scrape showed.

    :ivar families: as the parser found them
    """

    def __init__(self, families: list[Family]) -> None:
        self.families = families
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one series with these labels."""
        found = self.all(name, **labels)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def all(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """All series of ``name`` that have these labels."""
        return [
            (sample.labels, sample.value)
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def labels_of(self, name: str) -> set[str]:
        """The label names of ``name``."""
        return {label for labels, _ in self.all(name) for label in labels}


def parsed(text: str) -> Scraped:
    """A text in the plain format."""
    return Scraped(list(text_string_to_metric_families(text)))


def parsed_openmetrics(text: str) -> Scraped:
    """A text in the OpenMetrics format; its parser is strict."""
    return Scraped(list(openmetrics.text_string_to_metric_families(text)))


def hub_of(engine: Engine, **config: Any) -> Hub:
    """A hub with this configuration."""
    settings = settings_of(ObservabilityConfig(**config), {})
    return Hub(ModuleApi(engine, "iii-observability"), settings)


def number(
    name: str, value: float, type: Any = "gauge", *, service: str = "shop", **more: Any
) -> Metric:
    """A metric with one number, as a worker sent it."""
    attributes = more.pop("attributes", {})
    points = [NumberPoint(value, list(attributes.items()), more.pop("at", 0))]
    return Metric(name=name, type=type, points=points, service_name=service, received_ns=0, **more)


def histogram(name: str, buckets: list[int], bounds: list[float], **more: Any) -> Metric:
    """A metric with one histogram, as a worker sent it."""
    point = HistogramPoint(sum(buckets), float(sum(buckets)), buckets, bounds, [], 0)
    return Metric(
        name=name,
        type="histogram",
        points=[point],
        service_name="shop",
        received_ns=0,
        **more,
    )


class Warnings:
    """The warnings that were logged since it was made, for a test with ``addCleanup``."""

    def __init__(self, case: Any) -> None:
        self.texts: list[str] = []
        globalLogPublisher.addObserver(self._take)
        case.addCleanup(globalLogPublisher.removeObserver, self._take)

    def _take(self, event: LogEvent) -> None:
        if event["log_level"].name == "warn" and event["log_namespace"].startswith("iii."):
            self.texts.append(formatEvent(event))


def still_engine() -> tuple[Engine, FakeTime]:
    """An engine whose time a test moves."""
    time = FakeTime()
    return Engine(reactor, clock=Clock.virtual(time)), time


class PrometheusCase(EngineCase):
    """An engine with the port.

    :cvar settings: of ``iii-observability``
    """

    settings: ClassVar[dict[str, Any]] = {"prometheus_port": "any"}

    def prepare(self) -> None:
        """EngineCase: listen."""
        self.hub = hub_of(self.engine, **self.settings)
        self.hub.start()
        self.not_ready: list[str] = []
        self.server = PrometheusServer(self.hub, lambda: self.not_ready)
        self.server.start()
        self._clients: list[Client] = []

    async def tearDown(self) -> None:
        for client in self._clients:
            if not client.closed:
                client.close()
        await self.server.stop()
        self.hub.stop()
        for client in self._clients:
            await client.end()
        await super().tearDown()

    async def client(self) -> Client:
        """A connection to the port."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.server.port)
        client: Client = await connectProtocol(endpoint, Client())
        self._clients.append(client)
        return client

    async def ask(
        self, path: str = "/metrics", method: str = "GET", accept: str | None = None
    ) -> Response:
        """A request and its answer."""
        client = await self.client()
        fields = "" if accept is None else f"Accept: {accept}\r\n"
        client.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        return await client.response(head=method == "HEAD")

    async def scrape(self) -> Scraped:
        """``/metrics``, read."""
        answer = await self.ask()
        self.assertEqual(answer.status, 200)
        return parsed(answer.body.decode())
