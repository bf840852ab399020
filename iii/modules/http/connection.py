"""HTTP/1.x on one TCP connection, as RFC 9112 asks.

Requests are answered in the order they came; the next one is looked at when the
answer before is out and its body is in.  Whatever makes the frame of a message
doubtful is answered once and ends the connection.

An answer is one write, straight to the socket when nothing is buffered there;
the transport gets what the kernel refuses.  A client that doesn't read its
answers stops being read itself.  All patience has limits: ``Limits``.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from iii.errors import Code
from iii.modules.http.body import Incoming
from iii.modules.http.chunked import BadChunk
from iii.modules.http.fast import FastExchange
from iii.modules.http.heads import (
    MAX_HEAD_BYTES,
    MAX_REQUEST_LINE_BYTES,
    BadHead,
    HeaderBlock,
    bad_request_line,
    check_frame,
    find_bare_lf,
    match_request_line,
    split_target,
)

if TYPE_CHECKING:
    from iii.modules.http.server import HttpServer

#: Bytes of pipelined requests kept while an answer is under way.
PIPELINE_BYTES = 64 * 1024
#: An unread body larger than this isn't worth keeping the connection for.
DRAIN_BYTES = 1024 * 1024
#: So much of an unwanted body is read after the last answer, so that it arrives.
MAX_LINGER_BYTES = 64 * 1024 * 1024
#: Over TLS an answer of so many bytes may wait without its connection being held up.
SMALL_ANSWER_BYTES = 64 * 1024
#: Header lines longer than this aren't kept for comparison.
KEPT_BLOCK_BYTES = 4096

_METHODS = {
    method.encode(): method
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
}
# With so few clients there is nothing to gather from a reactor iteration, and
# waiting for its end would only cost time.
FEW_CONNECTIONS = 4

_READ_BODY = 1
_READ_PIPELINE = 2
_READ_OUTPUT = 4


@implementer(IPushProducer)
class HttpConnection(Protocol):
    """One client connection."""

    _socket: socket.socket | None = None

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self._turn = server.turn
        self._buffer = b""
        self._block: HeaderBlock | None = None
        self._exchange: FastExchange | None = None
        self._incoming: Incoming | None = None
        self._answered = False
        self._advancing = False
        self._timing_head = False
        self._held_reads = 0
        self._finished = False
        self._streaming = False
        self._producing = False
        self._drained = 0
        self._drained_before = 0
        self.output_full = False

    def connectionMade(self) -> None:
        """Twisted: a client is here."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        if isinstance(transport, tcp.Connection) and not transport.TLS:
            self._socket = transport.getHandle()
        self.server.connections.add(self)
        self._time_head()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the client is gone."""
        self._finished = True
        self._socket = None
        self._buffer = b""
        self._block = None
        self.server.forget(self)
        incoming, self._incoming = self._incoming, None
        exchange, self._exchange = self._exchange, None
        if incoming is not None and (exchange is None or exchange.incoming is not incoming):
            incoming.broken()
        if exchange is not None:
            exchange.gone()

    # Input -----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes from the client."""
        turn = self._turn
        if len(self.server.connections) <= FEW_CONNECTIONS:
            turn.run(self._received, data)
            return
        if not turn.open:
            turn.begin()
        self._received(data)

    def _received(self, data: bytes) -> None:
        if self._finished:
            self._drained += len(data)
            return
        if self._incoming is not None:
            data = self._receive_body(self._incoming, data)
            if not data:
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self._exchange is None:
            self._advance()
        elif len(self._buffer) > PIPELINE_BYTES:
            self._hold(_READ_PIPELINE, True)

    def _advance(self) -> None:
        """Handle what is in the buffer, one request after the other."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and not self._finished and not self.output_full:
                if self._exchange is not None or not self._next_request():
                    break
        except BadHead as bad:
            self._refuse(bad)
        finally:
            self._advancing = False
        if self._held_reads & _READ_PIPELINE and len(self._buffer) <= PIPELINE_BYTES:
            self._hold(_READ_PIPELINE, False)
        if self._exchange is None and not self._finished and not self._timing_head:
            self.server.idle.add(self)

    def _next_request(self) -> bool:
        """Start the request at the head of the buffer.  False: it isn't complete."""
        data = self._buffer
        if data[:1] == b"\r":
            # A few clients end a body with an empty line that isn't part of it.
            data = data.removeprefix(b"\r\n").removeprefix(b"\r\n")
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD_BYTES:
            self._buffer = data
            self._check_partial(data, end)
            return False
        line = match_request_line(data)
        if line is None:
            raise bad_request_line(data)
        start = line.end()
        if start > MAX_REQUEST_LINE_BYTES:
            raise BadHead(414, "uri_too_long", "the request line is too long")
        raw = data[start : end + 2]
        block = self._block
        if block is None or block.raw != raw:
            block = HeaderBlock(raw)
            self._block = block if len(raw) <= KEPT_BLOCK_BYTES else None
        http_1_1 = line[3] == b"1"
        if not http_1_1 or not block.has_host:
            check_frame(block, http_1_1)
        method = _METHODS.get(line[1]) or line[1].decode()
        path, query = split_target(line[2].decode())
        if path == "*" and method != "OPTIONS":
            raise BadHead(400, Code.BAD_REQUEST, "malformed request target")
        exchange = FastExchange(self, method, path, query, block, http_1_1)
        self.server.idle.discard(self)
        if self._timing_head:
            self._timing_head = False
            self.server.heads.discard(self)
        self._exchange = exchange
        self._answered = False
        body_at = end + 4
        if block.length == 0 and not block.chunked:
            self._buffer = data[body_at:]
        elif not block.chunked and len(data) - body_at >= block.length:
            exchange.body = data[body_at : body_at + block.length]
            self._buffer = data[body_at + block.length :]
        else:
            self._begin_body(exchange, data[body_at:])
        if self._exchange is exchange:
            self.server.serve(exchange)
        return True

    def _begin_body(self, exchange: FastExchange, data: bytes) -> None:
        exchange.body = None
        self._buffer = b""
        self._incoming = exchange.incoming = Incoming(self, exchange.length)
        self.server.watch_body(self)
        if data:
            self._buffer = self._receive_body(self._incoming, data)

    def _receive_body(self, incoming: Incoming, data: bytes) -> bytes:
        try:
            return incoming.receive(data)
        except BadChunk as error:
            self._refuse(BadHead(400, Code.BAD_REQUEST, str(error)))
            return b""

    def _check_partial(self, data: bytes, end: int) -> None:
        """Whether more bytes can still make this a good head.

        :raises BadHead: they can't
        """
        line_end = data.find(b"\r\n", 0, MAX_REQUEST_LINE_BYTES)
        if line_end < 0 and len(data) > MAX_REQUEST_LINE_BYTES:
            raise BadHead(414, "uri_too_long", "the request line is too long")
        if end > MAX_HEAD_BYTES or len(data) > MAX_HEAD_BYTES:
            raise BadHead(431, "header_too_large", "the header lines are too long")
        if find_bare_lf(data):
            raise BadHead(400, Code.BAD_REQUEST, "lines end with CRLF")
        if not self._timing_head:
            self._time_head()

    def _time_head(self) -> None:
        self._timing_head = True
        self.server.idle.discard(self)
        self.server.heads.add(self)

    @property
    def busy(self) -> bool:
        """Whether an answer is owed, under way, or not read yet."""
        return (self._exchange is not None and not self._answered) or self._unsent

    # Source (of a body) ----------------------------------------------------------------

    @property
    def waits_for_body(self) -> bool:
        """Whether the client owes us bytes right now."""
        return self._incoming is not None and not self._held_reads

    @property
    def body_bytes(self) -> int:
        """Bytes of the body received so far."""
        return 0 if self._incoming is None else self._incoming.received

    def hold_body(self, on: bool) -> None:
        """Source: stop or go on reading."""
        self._hold(_READ_BODY, on)

    def body_complete(self) -> None:
        """Source: the body is in."""
        self._incoming = None
        self.server.unwatch_body(self)
        self._hold(_READ_BODY, False)
        if self._answered and not self._finished:
            self._next()

    def body_unwanted(self) -> None:
        """Source: what still comes is thrown away; too much of it ends the connection."""
        incoming = self._incoming
        if self._answered and incoming is not None and _is_long(incoming):
            self._close()

    def _hold(self, reason: int, on: bool) -> None:
        before = self._held_reads
        self._held_reads = before | reason if on else before & ~reason
        transport: Any = self.transport
        if transport is None or self._finished:
            return
        if self._held_reads and not before:
            transport.pauseProducing()
        elif before and not self._held_reads:
            transport.resumeProducing()

    # Output ----------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write at once what the kernel takes, buffer the rest."""
        transport: Any = self.transport
        sock = self._socket
        if sock is not None and not transport.dataBuffer and not transport._tempDataBuffer:
            try:
                sent = sock.send(data)
            except OSError:
                # Full, or broken: the transport waits or finds out itself.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        elif sock is None and len(data) <= SMALL_ANSWER_BYTES and self._is_idle:
            # A transport with TLS hands it on at once only when nobody waits for more room.
            transport.write(data)
            return
        if not self._producing:
            self._producing = True
            transport.registerProducer(self, True)
        transport.write(data)
        if not self._streaming and not self.output_full:
            self._stop_producing()

    @property
    def _is_idle(self) -> bool:
        """Whether what is written now meets nothing that waits."""
        return not self._producing and not self._unsent

    @property
    def _unsent(self) -> bool:
        """Whether bytes wait for the client to read."""
        transport: Any = self.transport
        return bool(transport.dataBuffer or transport._tempDataBuffer)

    def _stop_producing(self) -> None:
        if self._producing:
            self._producing = False
            transport: Any = self.transport
            transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """IPushProducer: the client doesn't read fast enough."""
        self.output_full = True
        self.server.stalls.add(self)
        if not self._streaming:
            self._hold(_READ_OUTPUT, True)

    def resumeProducing(self) -> None:
        """IPushProducer: it has read everything."""
        self.output_full = False
        self.server.stalls.discard(self)
        self._hold(_READ_OUTPUT, False)
        if not self._streaming:
            self._stop_producing()
            self._advance()
        elif self._exchange is not None:
            self._exchange.drained()

    def stopProducing(self) -> None:
        """IPushProducer: the connection is lost; ``connectionLost`` follows."""
        self.output_full = False

    def begin_stream(self) -> None:
        """A streamed answer begins."""
        self._streaming = True

    def end_stream(self) -> None:
        """It is complete."""
        self._streaming = False
        if not self.output_full:
            self._stop_producing()

    def break_off(self, *, reset: bool) -> None:
        """The answer is broken off: the client must see that."""
        self._finished = True
        transport: Any = self.transport
        if reset or self._unsent:
            transport.abortConnection()
        else:
            # Everything is with the kernel: a FIN after it, and no last chunk.
            self._streaming = False
            self._stop_producing()
            transport.loseConnection()

    # The end of an exchange ------------------------------------------------------------

    def settle(self, exchange: FastExchange) -> None:
        """Decide, before the head of the answer is written, whether it is the last."""
        if self.server.closing:
            exchange.close = True
        incoming = exchange.incoming
        if incoming is None or incoming.complete or incoming.streaming:
            return
        if exchange.continue_due or _is_long(incoming):
            exchange.close = True
        incoming.discard()

    def answered(self, exchange: FastExchange) -> None:
        """The answer is out."""
        if self._exchange is not exchange:
            return
        self._answered = True
        exchange.client = None
        if exchange.close and (self._incoming is None or not self._incoming.streaming):
            self._close()
        elif self._incoming is None:
            self._next()

    def _next(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.close:
            self._close()
        elif self._buffer:
            self._advance()
        elif not self._advancing:
            self.server.idle.add(self)

    def _close(self) -> None:
        """Nothing more is said; unread bytes of the client must not reset the answer."""
        self._finished = True
        self._exchange = None
        transport: Any = self.transport
        self.server.stalls.add(self)
        if self._incoming is None and not self._buffer:
            transport.loseConnection()
            return
        self._buffer = b""
        self._incoming = None
        self.server.unwatch_body(self)
        self._hold(_READ_BODY | _READ_PIPELINE | _READ_OUTPUT, False)
        self._held_reads = 0
        transport.resumeProducing()
        transport.loseWriteConnection()
        self.server.lingering.add(self)

    def _refuse(self, bad: BadHead) -> None:
        """Answer a request that can't be served, and close."""
        exchange, self._exchange = self._exchange, None
        answered = self._answered or self._streaming
        self._finished = True
        if exchange is not None:
            exchange.gone()
        if answered and exchange is not None:
            # Its answer is under way or out: a second one would be read as the next.
            self.cut()
            return
        body = msgspec.json.encode(self.server.error(bad.code, bad.message))
        fields = self.server.error_fields
        self.send(
            b"%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (self.server.prefix(bad.status), fields.wire, len(body), body)
        )
        self._buffer = b"?"
        self._close()

    # Impatience ------------------------------------------------------------------------

    def head_overdue(self) -> None:
        """The head didn't come in time."""
        self._timing_head = False
        if self._buffer:
            self._refuse(BadHead(408, "request_timeout", "the request did not arrive in time"))
        else:
            self.end()

    def body_overdue(self) -> None:
        """The body comes too slowly."""
        self._refuse(BadHead(408, "request_timeout", "the request body did not arrive in time"))

    def linger_over(self) -> None:
        """The client had time to read the last answer."""
        still_sending = self._drained > self._drained_before
        self._drained_before = self._drained
        # ``stalls`` has the last word about answers that are not read.
        if self._unsent or (still_sending and self._drained < MAX_LINGER_BYTES):
            self.server.lingering.add(self)
        else:
            self.cut()

    def shut_down(self) -> None:
        """The server stops."""
        exchange = self._exchange
        if exchange is not None and exchange.client is not None:
            exchange.client.shut_down()
        else:
            self.end()

    def end(self) -> None:
        """Close; nothing is owed."""
        self._finished = True
        self.server.stalls.add(self)
        transport: Any = self.transport
        transport.loseConnection()

    def cut(self) -> None:
        """Close at once, whatever is unsent."""
        self._finished = True
        transport: Any = self.transport
        transport.abortConnection()


def _is_long(incoming: Incoming) -> bool:
    """Whether what is left of a body isn't worth reading for the connection's sake."""
    return incoming.left is None or incoming.left > DRAIN_BYTES
