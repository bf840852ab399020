"""``engine::http::routes``: the routes that are live, and how they do."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from iii.engine.bindings import Binding
from iii.engine.callcounts import quantile
from iii.engine.invocations import Call
from iii.engine.workers import Access
from iii.modules.http.entry import Entry
from iii.modules.http.figures import RouteFigures
from iii.modules.http.router import Route
from iii.modules.http.service import HttpService

MAX_LISTED_ROUTES = 1_000


class RoutesInput(Struct):
    """The input; ``search`` is part of a path or a function id."""

    search: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED_ROUTES)] = MAX_LISTED_ROUTES
    offset: Annotated[int, Meta(ge=0)] = 0


class RouteRow(Struct):
    """One method on one path.

    :ivar standby: other functions that offer it and would serve if this one went
    :ivar p95_ms: None: nobody asked for it yet
    """

    method: str
    path: str
    function_id: str
    namespace: str
    condition_function_id: str | None
    middleware_function_ids: list[str]
    trigger_ids: list[str]
    standby: list[str]
    active: int
    waiting: int
    count: int
    errors: int
    p95_ms: float | None
    last_status: int | None


class RouteRows(Struct):
    """The answer; ``total``: how many match."""

    routes: list[RouteRow]
    total: int


class RouteList:
    """Answers the function.

    :param service: whose routes
    """

    def __init__(self, service: HttpService) -> None:
        self._service = service

    def listed(self, asked: RoutesInput, call: Call) -> RouteRows:
        """``engine::http::routes``: by path, then method."""
        api = self._service.api
        worker = None if call.caller is None else api.worker(call.caller)
        access = None if worker is None else worker.access
        needle = (asked.search or "").lower()
        rows = [
            self._row(route)
            for route in self._service.router
            if _matches(route.serving, needle)
            and (access is None or _may_see(access, route.serving.binding))
        ]
        rows.sort(key=lambda row: (row.path, row.method))
        return RouteRows(rows[asked.offset : asked.offset + asked.limit], len(rows))

    def _row(self, route: Route[Entry]) -> RouteRow:
        entry = route.serving
        binding = entry.binding
        figures = self._service.figures.of(route.method, entry.shown) or RouteFigures()
        statuses = figures.statuses
        p95_s = quantile(figures.durations.buckets, 0.95)
        return RouteRow(
            route.method,
            entry.shown,
            binding.function_id,
            binding.namespace,
            entry.condition,
            list(entry.middleware),
            [registration.id for registration in binding.registrations],
            [other.binding.function_id for other in route.stack[:-1]],
            route.active,
            len(route.waiting),
            sum(statuses.values()),
            sum(count for status, count in statuses.items() if status >= 500),
            None if p95_s is None else p95_s * 1000,
            figures.last or None,
        )


def _may_see(access: Access, binding: Binding) -> bool:
    return access.may_call(binding.function_id, binding.namespace)


def _matches(entry: Entry, needle: str) -> bool:
    return needle in entry.shown.lower() or needle in entry.binding.function_id.lower()
