"""A request on one of the module's own connections.

The plain answer is one join of ready-made parts and one write.  A streamed one
is chunked, unless its length is known or the client speaks HTTP/1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from iii.modules.http.body import Incoming
from iii.modules.http.exchange import BodySink, Client
from iii.modules.http.fields import Fields
from iii.modules.http.heads import HeaderBlock

if TYPE_CHECKING:
    from iii.modules.http.connection import HttpConnection

STATUS_LINES = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    if status in HTTPStatus._value2member_map_
    else b"HTTP/1.1 %d Status\r\n" % status
    for status in range(100, 600)
}
_LENGTHS = [b"content-length: %d\r\n\r\n" % length for length in range(4096)]
_NO_BODY = frozenset((204, 304))


class FastExchange:
    """A request on an ``HttpConnection`` (see ``exchange.Exchange``)."""

    # What most requests never change are class attributes: setting them costs.
    body: bytes | None = b""
    length: int | None = 0
    continue_due = False
    incoming: Incoming | None = None
    client: Client | None = None
    _held = b""
    _left: int | None = None
    _chunked = False
    _drained: Callable[[], None] | None = None

    def __init__(
        self,
        connection: HttpConnection,
        method: str,
        path: str,
        query: str,
        block: HeaderBlock,
        http_1_1: bool,
    ) -> None:
        self._connection: HttpConnection | None = connection
        self._http_1_1 = http_1_1
        self.method = method
        self.path = path
        self.query = query
        self.headers = block.headers
        self.close = block.close if http_1_1 else not block.keep_alive
        if block.chunked or block.length:
            self.length = None if block.chunked else block.length
            self.continue_due = block.expects_continue and http_1_1

    # The request's body ----------------------------------------------------------------

    def collect(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        """Exchange: the whole body."""
        if self.body is not None:
            done(None if len(self.body) > limit else self.body)
        elif self.incoming is not None:
            if self.length is None or self.length <= limit:
                self._continue()
            self.incoming.collect(limit, done)

    def stream(self, sink: BodySink) -> None:
        """Exchange: the body as it comes."""
        if self.incoming is not None:
            self._continue()
            self.incoming.stream(sink)
            return
        if self.body:
            # Arrived with the head, so it is one small piece.
            sink.body_data(self.body)
        sink.body_end(True)

    def pause_body(self) -> None:
        """Exchange: stop reading."""
        if self.incoming is not None:
            self.incoming.hold(True)

    def resume_body(self) -> None:
        """Exchange: go on reading."""
        if self.incoming is not None:
            self.incoming.hold(False)

    def discard_body(self) -> None:
        """Exchange: the rest is of no use."""
        if self.incoming is not None and not self.incoming.complete:
            self.incoming.discard()

    def _continue(self) -> None:
        if self.continue_due:
            self.continue_due = False
            if self._connection is not None and not self.incoming_bytes:
                self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def incoming_bytes(self) -> int:
        """Bytes of the body that are here already."""
        return 0 if self.incoming is None else self.incoming.received

    # The answer ------------------------------------------------------------------------

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Exchange: the whole answer in one write."""
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        if self.incoming is not None or self.close or connection.server.closing:
            connection.settle(self)
        server = connection.server
        prefix = server.prefix(status)
        if status in _NO_BODY:
            end, body = b"\r\n", b""
        else:
            size = len(body)
            end = _LENGTHS[size] if size < 4096 else b"content-length: %d\r\n\r\n" % size
            if self.method == "HEAD":
                body = b""
        if self.close:
            connection.send(b"".join((prefix, fields.wire, b"connection: close\r\n", end, body)))
        elif self._http_1_1:
            connection.send(b"".join((prefix, fields.wire, end, body)))
        else:
            alive = b"connection: keep-alive\r\n"
            connection.send(b"".join((prefix, fields.wire, alive, end, body)))
        connection.answered(self)

    def start(
        self, status: int, fields: Fields, length: int | None, drained: Callable[[], None]
    ) -> None:
        """Exchange: the head of a streamed answer; it goes out with the first bytes."""
        connection = self._connection
        if connection is None:
            return
        bare = status in _NO_BODY or self.method == "HEAD"
        self._drained = drained
        self._left = length
        self._chunked = length is None and self._http_1_1 and not bare
        if length is None and not self._http_1_1 and not bare:
            self.close = True
        if bare:
            self._left = 0
        connection.settle(self)
        head = [connection.server.prefix(status), fields.wire]
        if self._chunked:
            head.append(b"transfer-encoding: chunked\r\n")
        elif length is not None and status not in _NO_BODY:
            head.append(b"content-length: %d\r\n" % length)
        if self.close:
            head.append(b"connection: close\r\n")
        elif not self._http_1_1:
            head.append(b"connection: keep-alive\r\n")
        head.append(b"\r\n")
        self._held = b"".join(head)
        connection.begin_stream()

    def write(self, data: bytes) -> bool:
        """Exchange: a piece."""
        connection = self._connection
        if connection is None:
            return True
        if self._left is not None:
            # No more than was announced, whatever the function sends.
            data = data[: self._left]
            self._left -= len(data)
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        held, self._held = self._held, b""
        if held or data:
            connection.send(held + data if held else data)
        return not connection.output_full

    def finish(self) -> None:
        """Exchange: all pieces are sent."""
        connection = self._connection
        if connection is None:
            return
        if self._left and self.method != "HEAD":
            self.abort()
            return
        self._connection = None
        last = b"0\r\n\r\n" if self._chunked else b""
        if self._held or last:
            connection.send(self._held + last)
        connection.end_stream()
        connection.answered(self)

    def abort(self) -> None:
        """Exchange: break off."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._held:
            connection.send(self._held)
        # Without chunks or a length only a reset shows that something is missing.
        connection.break_off(reset=not self._chunked and self._left is None)

    def drained(self) -> None:
        """The connection has room again."""
        if self._drained is not None:
            self._drained()

    def gone(self) -> None:
        """The connection ended."""
        self._connection = None
        if self.incoming is not None:
            self.incoming.broken()
        client, self.client = self.client, None
        if client is not None:
            client.client_gone()
