"""A stock ``twisted.web`` request as an ``Exchange``.

twisted.web has read the whole body before it asks the resource, so there is no
back-pressure on uploads; everything else is as on the module's own connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from iii.modules.http.exchange import FRAME_BYTES, BodySink, Client
from iii.modules.http.fields import Fields
from iii.modules.http.heads import BadHead, RequestHeaders, split_target

_NO_BODY = frozenset((204, 304))


@implementer(IPushProducer)
class SiteExchange:
    """A request of a stock ``Site`` (see ``exchange.Exchange``)."""

    def __init__(self, request: Request) -> None:
        self._request: Any = request
        self._open = True
        self._full = False
        self._left: int | None = None
        self._drained: Callable[[], None] | None = None
        self._sink: BodySink | None = None
        self._body_held = False
        self.client: Client | None = None
        self.method: str = self._request.method.decode("latin-1")
        try:
            self.path, self.query = split_target(self._request.uri.decode("latin-1"))
        except BadHead:
            self.path, self.query = "", ""
        raw = self._request.requestHeaders.getAllRawHeaders()
        self.headers = RequestHeaders([(name, value) for name, many in raw for value in many])
        content: Any = self._request.content
        content.seek(0, 2)
        self.length: int | None = content.tell()
        content.seek(0)
        self.body: bytes | None = b"" if self.length == 0 else None
        self._request.defaultContentType = None
        self._request.responseHeaders.removeHeader(b"server")
        self._request.notifyFinish().addErrback(self._gone)

    def _gone(self, reason: Failure) -> None:
        self._open = False
        client, self.client = self.client, None
        if client is not None:
            client.client_gone()

    # The request's body ----------------------------------------------------------------

    def collect(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        """Exchange: the whole body."""
        if self.length is not None and self.length > limit:
            done(None)
        else:
            done(self._request.content.read())

    def stream(self, sink: BodySink) -> None:
        """Exchange: the body in pieces."""
        self._sink = sink
        self._pump()

    def pause_body(self) -> None:
        """Exchange: hold on."""
        self._body_held = True

    def resume_body(self) -> None:
        """Exchange: go on."""
        self._body_held = False
        self._pump()

    def discard_body(self) -> None:
        """Exchange: the rest is of no use."""
        self._sink = None

    def _pump(self) -> None:
        while self._sink is not None and not self._body_held:
            piece = self._request.content.read(FRAME_BYTES)
            if not piece:
                sink, self._sink = self._sink, None
                sink.body_end(True)
                return
            self._sink.body_data(piece)

    # The answer ------------------------------------------------------------------------

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Exchange: the whole answer."""
        if not self._open:
            return
        self._open = False
        self._head(status, fields)
        if status not in _NO_BODY:
            self._request.setHeader(b"content-length", b"%d" % len(body))
        self.client = None
        if self.method == "HEAD" or status in _NO_BODY:
            body = b""
        self._request.write(body)
        self._request.finish()

    def start(
        self, status: int, fields: Fields, length: int | None, drained: Callable[[], None]
    ) -> None:
        """Exchange: the head of a streamed answer."""
        if not self._open:
            return
        self._head(status, fields)
        self._drained = drained
        if self.method == "HEAD" or status in _NO_BODY:
            self._left = 0
        else:
            self._left = length
        if length is not None and status not in _NO_BODY:
            self._request.setHeader(b"content-length", b"%d" % length)
        self._request.registerProducer(self, True)

    def write(self, data: bytes) -> bool:
        """Exchange: a piece."""
        if not self._open:
            return True
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if data:
            self._request.write(data)
        return not self._full

    def finish(self) -> None:
        """Exchange: all pieces are sent."""
        if not self._open:
            return
        if self._left:
            self.abort()
            return
        self._open = False
        self.client = None
        self._request.unregisterProducer()
        if not self._request.startedWriting:
            self._request.write(b"")
        self._request.finish()

    def abort(self) -> None:
        """Exchange: break off."""
        if not self._open:
            return
        self._open = False
        self._request.unregisterProducer()
        self._request.loseConnection()

    def _head(self, status: int, fields: Fields) -> None:
        self._request.setResponseCode(status)
        for name, value in fields.pairs:
            self._request.responseHeaders.addRawHeader(name, value)

    def pauseProducing(self) -> None:
        """IPushProducer: the client doesn't read fast enough."""
        self._full = True

    def resumeProducing(self) -> None:
        """IPushProducer: there is room."""
        self._full = False
        if self._drained is not None:
            self._drained()

    def stopProducing(self) -> None:
        """IPushProducer: the client is gone; ``notifyFinish`` tells."""
        self._full = False
