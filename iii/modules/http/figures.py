"""What is known of requests afterwards: counts by route, and a span of each.

A request is over when its answer is decided, or, for a streamed one, when the stream
ends.  Everything that knows no route is counted under ``-``: paths come from outside,
and there are as many as somebody likes to try.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from iii.engine.callcounts import OTHER, Durations
from iii.engine.instruments import Sample
from iii.engine.module import ModuleApi
from iii.engine.tracing import TRACE_STATE, Error
from iii.modules.http.exchange import Exchange

if TYPE_CHECKING:
    from iii.modules.http.serving import Serving

MAX_COUNTED_ROUTES = 10_000
NO_ROUTE = "-"
_ATTRIBUTES = (
    "http.request.method",
    "http.route",
    "url.path",
    "url.query",
    "url.scheme",
    "server.address",
    "user_agent.original",
    "http.request.header.content_type",
    "http.request.body.size",
    "http.response.status_code",
    "iii.function.kind",
    TRACE_STATE,
)
_METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"))


class RouteFigures:
    """One method on one route.

    :ivar statuses: status → how many answers
    :ivar last: the status of the last one; 0: there was none
    """

    __slots__ = ("durations", "last", "statuses")

    def __init__(self) -> None:
        self.durations = Durations()
        self.statuses: dict[int, int] = {}
        self.last = 0

    def add(self, status: int, seconds: float) -> None:
        """One more answer."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.last = status
        self.durations.add(seconds)


class Figures:
    """Follows the requests of one HTTP service."""

    def __init__(self, api: ModuleApi) -> None:
        self._tracing = api.tracing
        self.now = api.clock.monotonic
        self._routes: dict[tuple[str, str], RouteFigures] = {}
        api.instrument(
            "iii_http_requests_total",
            "counter",
            "Answered HTTP requests",
            self._totals,
            ("method", "route", "status"),
        )
        api.instrument(
            "iii_http_request_duration_seconds",
            "histogram",
            "From the head of a request to its answer, or to the end of a streamed one",
            self._durations,
            ("method", "route"),
        )

    def of(self, method: str, route: str) -> RouteFigures | None:
        """What was counted of a route; None: nothing yet."""
        return self._routes.get((method, route))

    def begin(self, serving: Serving) -> None:
        """A request begins: its calls belong to its span."""
        serving.started = self.now()
        exchange = serving.exchange
        shown = serving.shown_route or exchange.path
        serving.context = self._tracing.context(
            exchange.headers.traceparent, exchange.method, shown
        )

    def ended(self, serving: Serving, status: int, error: Error | None) -> None:
        """A request that had a slot is over."""
        exchange, started = serving.exchange, serving.started
        route = serving.shown_route
        self._figures(exchange.method, route).add(status, self.now() - started)
        self._span(exchange, serving.context, started, status, error, route)

    def refused(self, exchange: Exchange, status: int, error: Error | None) -> None:
        """A request was answered without a route, at once."""
        self._figures(exchange.method, None).add(status, 0.0)
        parent = exchange.headers.traceparent
        context = self._tracing.context(parent, exchange.method, exchange.path)
        self._span(exchange, context, self.now(), status, error, None)

    # Inside ----------------------------------------------------------------------------

    def _figures(self, method: str, route: str | None) -> RouteFigures:
        if route is None:
            method, route = method if method in _METHODS else OTHER, NO_ROUTE
        figures = self._routes.get((method, route))
        if figures is None:
            if len(self._routes) >= MAX_COUNTED_ROUTES:
                method = route = OTHER
            figures = self._routes.setdefault((method, route), RouteFigures())
        return figures

    def _span(
        self,
        exchange: Exchange,
        context: str | None,
        started: float,
        status: int,
        error: Error | None,
        route: str | None,
    ) -> None:
        if context is None or context[-1] != "1" or self._tracing.sink is None:
            return  # before anything is put together
        method, path, query = exchange.method, exchange.path, exchange.query
        headers = exchange.headers
        field = headers.values.get
        shown = path if route is None else route
        self._tracing.span(
            f"{method} {shown}",
            "server",
            headers.traceparent,
            context,
            started,
            200 <= status < 300,
            error,
            (
                _ATTRIBUTES,
                method,
                "" if route is None else shown,
                path,
                query,
                field("x-forwarded-proto", "http"),
                field("host", ""),
                field("user-agent", ""),
                field("content-type", ""),
                exchange.length or 0,
                status,
                "user",
                field("tracestate", ""),
            ),
        )

    def _totals(self) -> Iterator[Sample]:
        for (method, route), figures in list(self._routes.items()):
            for status, count in list(figures.statuses.items()):
                yield (method, route, str(status)), count

    def _durations(self) -> Iterator[Sample]:
        for labels, figures in list(self._routes.items()):
            yield labels, figures.durations
