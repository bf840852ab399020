"""The HTTP application: routes, and what happens to a request first.

``serve`` takes any request and either answers it (``OPTIONS``, no route, wrong
method, too busy, shutting down) or gives it a slot of its route and lets a
``Serving`` carry it through.  It is also the provider of the ``http`` trigger
type: bindings become routes.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.logger import Logger

from iii.engine.bindings import Binding
from iii.engine.clock import Deadlines
from iii.engine.module import ModuleApi
from iii.errors import Code, RegistrationError
from iii.modules.http.config import JSON_BODY_LIMIT, HttpConfig
from iii.modules.http.cors import Cors
from iii.modules.http.entry import Entry
from iii.modules.http.exchange import Exchange
from iii.modules.http.fields import Pair
from iii.modules.http.figures import Figures
from iii.modules.http.router import Place, Route, Router
from iii.modules.http.serving import Serving
from iii.modules.http.unmatched import Unmatched, not_found_route

log = Logger()

#: Requests of all routes together that may wait for a slot.
MAX_WAITING = 4096
#: How long a result-less function may take to open its response channel (decision 5).
WRITER_WAIT_S = 1.0
RETRY_AFTER_S = 1

_RETRY_AFTER: Pair = (b"retry-after", b"%d" % RETRY_AFTER_S)


class HttpService:
    """Serves requests with functions."""

    def __init__(self, api: ModuleApi, config: HttpConfig) -> None:
        self.api = api
        self.figures = Figures(api)
        self.router: Router[Entry] = Router(ignore_trailing_slash=config.ignore_trailing_slash)
        self.closing = False
        self._started = api.clock.monotonic()
        timeout_s = config.default_timeout / 1000
        self.deadlines: Deadlines[Serving] = Deadlines(api.clock, timeout_s, Serving.overdue)
        self.slot_waits: Deadlines[Serving] = Deadlines(
            api.clock, timeout_s, Serving.waited_too_long
        )
        self.writer_waits: Deadlines[Serving] = Deadlines(
            api.clock, WRITER_WAIT_S, Serving.no_writer
        )
        self.waiting = 0
        self._bindings: dict[Binding, tuple[Route[Entry], Entry]] = {}
        self._apply(config)

    def _apply(self, config: HttpConfig) -> None:
        self.config = config
        self.cors = Cors(config.cors)
        self.slots = max(1, config.concurrency_request_limit)
        self.json_limit = JSON_BODY_LIMIT if config.body_limit is None else config.body_limit
        self.stream_limit = config.body_limit
        self.middleware = _global_middleware(config)
        name = config.request_id_header
        self.request_id_header = None if name is None else name.lower()
        self.timeout_s = config.default_timeout / 1000
        function_id = config.not_found_function
        self._not_found = None if function_id is None else not_found_route(function_id)

    def change(self, config: HttpConfig) -> bool:
        """Serve with other settings from the next request on.

        :returns: False when routes would be refused then; nothing was changed
        """
        if config.ignore_trailing_slash != self.config.ignore_trailing_slash:
            try:
                self._route_anew(ignore_trailing_slash=config.ignore_trailing_slash)
            except RegistrationError:
                return False
        self._apply(config)
        for deadlines in (self.deadlines, self.slot_waits):
            deadlines.change(self.timeout_s)
        return True

    def _route_anew(self, *, ignore_trailing_slash: bool) -> None:
        router: Router[Entry] = Router(ignore_trailing_slash=ignore_trailing_slash)
        bindings = {}
        for binding in self._bindings:
            entry = Entry(binding, ignore_trailing_slash=ignore_trailing_slash)
            bindings[binding] = (router.add(entry), entry)
        self.router, self._bindings = router, bindings

    # Provider --------------------------------------------------------------------------

    def add(self, binding: Binding) -> None:
        """Provider: a route appears."""
        entry = Entry(binding, ignore_trailing_slash=self.config.ignore_trailing_slash)
        route = self.router.add(entry)
        self._bindings[binding] = (route, entry)
        log.info(
            "[REGISTERED] Endpoint {method} {pattern} → {function}",
            method=entry.method,
            pattern=entry.pattern.text,
            function=binding.function_id,
        )

    def renewed(self, binding: Binding) -> None:
        """Provider: another worker registered it too, so it is the newest again."""
        route, entry = self._bindings[binding]
        route.stack.remove(entry)
        route.stack.append(entry)

    def remove(self, binding: Binding) -> None:
        """Provider: a route goes; what it is doing goes on."""
        known = self._bindings.pop(binding, None)
        if known is not None:
            entry = known[1]
            self.router.remove(entry)
            log.info(
                "[UNREGISTERED] Endpoint {method} {pattern} → {function}",
                method=entry.method,
                pattern=entry.pattern.text,
                function=binding.function_id,
            )

    # Requests --------------------------------------------------------------------------

    def serve(self, exchange: Exchange) -> None:
        """Take a request."""
        if self.closing:
            self.shutting_down(exchange)
            return
        method = exchange.method
        found = self.router.match(exchange.path)
        if method == "OPTIONS" and self._preflight(exchange, None if found is None else found[0]):
            return
        if found is None:
            self._no_route(exchange)
            return
        place, values = found
        route = place.routes.get(method)
        if route is None and method == "HEAD":
            route = place.routes.get("GET")
        if route is None:
            message = f"{method} is not offered here"
            allow = (b"allow", place.allow)
            self._turn_away(exchange, 405, Code.METHOD_NOT_ALLOWED, message, [allow])
            return
        self._take(Serving(self, exchange, route, values))

    def _take(self, serving: Serving) -> None:
        """Give the request a slot now or later."""
        exchange, route = serving.exchange, serving.route
        exchange.client = serving
        if route.active < self.slots:
            route.active += 1
            serving.begin()
        elif self.waiting < MAX_WAITING:
            self.waiting += 1
            route.waiting.append(serving)
            self.slot_waits.add(serving)
        else:
            exchange.client = None
            self.overloaded(exchange)

    def next_waiting(self, route: Route[Entry]) -> None:
        """A slot of ``route`` is free."""
        route.active -= 1
        # The total first: with many routes the memory of each is cold.
        if not self.waiting or not route.waiting or route.handing_on:
            return
        # A request may end while it begins; the loop here takes care of the next.
        route.handing_on = True
        while route.waiting and route.active < self.slots:
            serving = route.waiting.popleft()
            self.waiting -= 1
            self.slot_waits.discard(serving)
            route.active += 1
            serving.begin()
        route.handing_on = False

    def forget_waiting(self, serving: Serving) -> None:
        """A request that waits for a slot doesn't any more."""
        serving.route.waiting.remove(serving)
        self.waiting -= 1
        self.slot_waits.discard(serving)

    def _preflight(self, exchange: Exchange, place: Place[Entry] | None) -> bool:
        """Answer ``OPTIONS``, unless it is for a function."""
        wanted = "access-control-request-method" in exchange.headers.values
        if place is not None and not wanted and "OPTIONS" in place.routes:
            return False
        allow = b"" if place is None else place.allow
        fields = self.cors.preflight(exchange.headers.origin, allow)
        exchange.respond(200, fields, b"")
        self.figures.refused(exchange, 200, None)
        return True

    def _no_route(self, exchange: Exchange) -> None:
        if self._not_found is not None:
            self._take(Unmatched(self, exchange, self._not_found, ()))
            return
        if self.api.clock.monotonic() < self._started + self.config.startup_grace_ms / 1000:
            message = f"no route matches {exchange.path} yet, workers are still coming back"
            self._turn_away(exchange, 503, Code.STARTING, message, [_RETRY_AFTER])
            return
        message = f"no route matches {exchange.path}"
        self._turn_away(exchange, 404, Code.ROUTE_NOT_FOUND, message, [])

    # Errors ----------------------------------------------------------------------------

    def error(self, code: str, message: str) -> dict[str, Any]:
        """The one form of all errors."""
        error_id = f"{int(self.api.clock.wall() * 1e9) & 0xFFFFFFFFFFFF:x}"
        return {"error": {"code": code, "message": message, "error_id": error_id}}

    def refuse(
        self,
        exchange: Exchange,
        status: int,
        code: str,
        message: str,
        more: list[Pair] | None = None,
        **beside: Any,
    ) -> str:
        """Answer with an error; returns its id."""
        body = self.error(code, message)
        error_id: str = body["error"]["error_id"]
        fields = self.cors.json(exchange.headers.origin)
        if more:
            fields = fields + more
        exchange.respond(status, fields, msgspec.json.encode({**body, **beside}))
        return error_id

    def _turn_away(
        self, exchange: Exchange, status: int, code: str, message: str, more: list[Pair]
    ) -> None:
        """Refuse a request that no ``Serving`` carries."""
        self.refuse(exchange, status, code, message, more)
        self.figures.refused(exchange, status, (code, message, None))

    def shutting_down(self, exchange: Exchange) -> None:
        """The engine stops; another one may be up soon."""
        message = "the engine is shutting down"
        self._turn_away(exchange, 503, Code.SHUTTING_DOWN, message, [_RETRY_AFTER])

    def overloaded(self, exchange: Exchange) -> None:
        """Too many requests wait."""
        message = "too many requests are waiting"
        self._turn_away(exchange, 503, Code.OVERLOADED, message, [_RETRY_AFTER])

    def stop(self) -> None:
        """Forget all timers."""
        for deadlines in (self.deadlines, self.slot_waits, self.writer_waits):
            deadlines.stop()


def _global_middleware(config: HttpConfig) -> tuple[str, ...]:
    """The functions to ask, lowest priority first; equal ones as they are listed."""
    known = []
    for entry in config.middleware:
        if entry.phase == "preHandler":
            known.append(entry)
        else:
            log.warn(
                "http: middleware {function}: there is no phase {phase}, so it never runs",
                function=entry.function_id,
                phase=entry.phase,
            )
    return tuple(entry.function_id for entry in sorted(known, key=lambda entry: entry.priority))
