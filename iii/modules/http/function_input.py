"""What a function gets to see of one request.

The request object without its channels, and the caller's own fields for the top
level (docs/http.md, "What a function receives").  Middleware and conditions see
parts of the same.  How the bytes are joined is in ``request``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from iii.modules.http import request
from iii.modules.http.entry import Entry
from iii.modules.http.exchange import Exchange

if TYPE_CHECKING:
    from iii.modules.http.service import HttpService


class FunctionInput:
    """The input made from ``exchange`` for the function of ``entry``.

    :param values: the path parameters' values, in the pattern's order
    """

    # What most requests never change are class attributes: setting them costs.
    params: dict[str, str] = {}
    query: list[tuple[str, str]] = []
    # The request's body as JSON (null when it is none), and its members.
    _body = b"null"
    _members: dict[str, Raw] | None = None
    _request_id: str | None = None

    def __init__(
        self, service: HttpService, exchange: Exchange, entry: Entry, values: tuple[str, ...]
    ) -> None:
        self.service = service
        self.exchange = exchange
        self.entry = entry
        self.values = values

    def bind_params(self) -> None:
        """Name the values the router found."""
        if self.values:
            self.params = self.entry.params(self.values)

    def object(self) -> bytes:
        """The request object without channels, closing brace, and lifted fields."""
        more = b""
        if self.service.config.expose_multi_values:
            more = b',"query_params_all":%b,"headers_all":%b' % (
                request.encode(request.all_values(self.query)),
                request.encode(self.exchange.headers.all_values()),
            )
        return request.request_object(
            self.opening(), self.params, self.query, self.headers_json(), self._body, more
        )

    def headers_json(self) -> bytes:
        """The request's headers as a JSON object."""
        headers, name = self.exchange.headers, self.service.request_id_header
        if self._request_id is None or name is None:
            return headers.json
        return request.encode({**headers.values, name: self._request_id})

    def opening(self) -> bytes:
        """The fields known before any request came."""
        return self.entry.opening(self.exchange.method)

    @property
    def route_text(self) -> str:
        """The pattern, for log lines."""
        return self.entry.pattern.text

    @property
    def shown_route(self) -> str | None:
        """The pattern, for figures and spans; None: there is none."""
        return self.entry.shown

    def lifted(self) -> bytes:
        """The caller's own fields, for the top level."""
        if not self.service.config.flatten_request:
            return b""
        return request.lifted(self.params, self._members, self.query)
