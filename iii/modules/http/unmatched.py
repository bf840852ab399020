"""Requests no route matches, when ``not_found_function`` is set.

They take the ordinary way, on a route of their own that no trigger made: the
function gets the actual path, and its answer is a 404 unless it says otherwise.
"""

from __future__ import annotations

from msgspec import Raw

from iii.engine.bindings import Binding, Registration, TriggerType
from iii.errors import Code
from iii.modules.http import request
from iii.modules.http.entry import Entry
from iii.modules.http.router import Route
from iii.modules.http.serving import Serving


class _NoProvider:
    """The binding below is nobody's trigger."""

    def add(self, binding: Binding) -> None:
        """Provider: never called."""

    def remove(self, binding: Binding) -> None:
        """Provider: never called."""


def not_found_route(function_id: str) -> Route[Entry]:
    """A route that isn't in the router."""
    registration = Registration(
        "not_found_function", "http", function_id, Raw(b'{"api_path":"*"}'), owner=None
    )
    binding = Binding(TriggerType("http", _NoProvider()), registration, None)
    route: Route[Entry] = Route("*")
    route.stack.append(Entry(binding, ignore_trailing_slash=False))
    return route


class Unmatched(Serving):
    """Carries a request that matched nothing."""

    default_status = 404

    @property
    def plain(self) -> bool:
        """Middleware is for matched routes."""
        return True

    @property
    def route_text(self) -> str:
        """There is no pattern to name."""
        return self.exchange.path

    @property
    def shown_route(self) -> str | None:
        """The path is the client's, and there are as many as somebody likes to try."""
        return None

    def bind_params(self) -> None:
        """A path that matched nothing has no parameters."""

    def opening(self) -> bytes:
        """The actual path, and a trigger without route."""
        return request.opening_unmatched(self.exchange.path, self.exchange.method)

    def no_writer(self) -> None:
        """Nothing came of it: the usual 404."""
        if not self._writer_came:
            self.fail(404, Code.ROUTE_NOT_FOUND, f"no route matches {self.exchange.path}")
