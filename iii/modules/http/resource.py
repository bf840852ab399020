"""The routes as a ``twisted.web`` resource.

The module's own listener hands its light requests to ``serve``; a stock
``twisted.web.server.Site`` calls ``render``, where an adapter makes its request
look the same.  Either way the routes can't tell the difference.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from iii.modules.http.exchange import Exchange
from iii.modules.http.service import HttpService
from iii.modules.http.site import SiteExchange


class Routes(Resource):
    """All ``http`` triggers."""

    isLeaf = True

    def __init__(self, service: HttpService) -> None:
        Resource.__init__(self)
        self._service = service

    def serve(self, exchange: Exchange) -> None:
        """Answer a request, now or later."""
        self._service.serve(exchange)

    def render(self, request: Request) -> int:
        """Twisted: the same for a stock request."""
        self._service.serve(SiteExchange(request))
        return NOT_DONE_YET
