"""Small pages for machines: ``GET`` and ``HEAD``, and a line of text for mistakes."""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request

TEXT = b"text/plain; charset=utf-8"


class Page(Resource):
    """Something to read; there is nothing below it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def render(self, request: Request) -> bytes | int:
        """Twisted: answer."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return reply(request, 405, TEXT, b"this can only be read\n")
        return self.answer(request)

    def answer(self, request: Request) -> bytes | int:
        """Answer a ``GET`` or ``HEAD``."""
        raise NotImplementedError

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Twisted: what is below."""
        return Missing()


class Missing(Page):
    """Not here, by any method."""

    def render(self, request: Request) -> bytes | int:
        """Twisted: answer."""
        return reply(request, 404, TEXT, b"there is nothing here\n")


def reply(request: Request, status: int, content_type: bytes, body: bytes) -> bytes:
    """Set status and header fields; what ``render`` returns."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type)
    request.setHeader(b"content-length", b"%d" % len(body))
    return b"" if request.method == b"HEAD" else body
