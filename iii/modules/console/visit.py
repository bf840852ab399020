"""A request to the console's port, and how it is answered.

Every answer has the headers that keep a browser from doing anything with it but show it:
scripts, styles and connections of this origin only, in no frame, with no referrer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.web.server import Request

from iii.modules.console.asking import Answer

#: A request's body.
MAX_BODY_BYTES = 10 * 1024 * 1024
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SAFE_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
READING = ("GET", "HEAD")


class ConsoleRequest(Request):
    """A request whose body is kept up to ``MAX_BODY_BYTES``.

    :ivar too_large: there was more
    """

    too_large = False

    def handleContentChunk(self, data: bytes) -> None:
        """Twisted: a piece of the body."""
        content: Any = self.content
        if self.too_large or content.tell() + len(data) > MAX_BODY_BYTES:
            self.too_large = True
        else:
            content.write(data)


class Visit:
    """One request.

    :param request: a ``ConsoleRequest``; Twisted's types say nothing about most of it
    :ivar headers: lower-case name → value; of several the last
    :ivar client: the address of whoever asks
    :ivar path: raw, with the slash at its beginning
    """

    __slots__ = ("client", "headers", "method", "over", "path", "query_text", "request")

    def __init__(self, request: Any) -> None:
        self.request = request
        self.method: str = request.method.decode("latin-1").upper()
        self.path: str = request.path.decode("latin-1")
        self.query_text: str = request.uri.decode("latin-1").partition("?")[2]
        self.headers: dict[str, str] = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        peer = self.request.getClientAddress()
        self.client: str = getattr(peer, "host", "somebody")
        self.over = False
        request.notifyFinish().addErrback(self._gone)

    @property
    def reads(self) -> bool:
        """Whether the method can only look."""
        return self.method in READING

    @property
    def upgrades(self) -> bool:
        """Whether it wants to become a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def query(self) -> dict[str, str]:
        """Name → value, decoded; of several the last."""
        return {
            name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
            for name, values in (self.request.args or {}).items()
        }

    def body(self) -> bytes:
        """All of it, unless it was too large."""
        self.request.content.seek(0)
        data: bytes = self.request.content.read()
        return data

    def send(self, answer: Answer, more: Mapping[str, str] | None = None) -> None:
        """Answer; nothing happens when the client is gone."""
        if self.over:
            return
        request = self.request
        request.setResponseCode(answer.status)
        fields = {
            **SAFE_HEADERS,
            "cache-control": "no-store",
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            **answer.headers,
            **(more or {}),
        }
        if answer.status == 304:
            del fields["content-length"], fields["content-type"]
        request.responseHeaders.removeHeader(b"server")
        for name, value in fields.items():
            request.setHeader(name.encode(), value.encode("latin-1"))
        if request.too_large:
            request.setHeader(b"connection", b"close")
        if self.method != "HEAD" and answer.body:
            request.write(answer.body)
        self.over = True
        request.finish()

    def _gone(self, _: object) -> None:
        self.over = True
