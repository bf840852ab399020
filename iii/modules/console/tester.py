"""``http/send``: a request to the engine's own HTTP port, made by this process.

A page of the console can't send one itself: it would come from another origin, and what is
forbidden there would look like a fault of the route.  The request goes nowhere else than to
that port, and redirections are shown, not followed.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseFailed
from twisted.web.http_headers import Headers

from iii.engine.clock import Clock
from iii.modules.console.asking import Asked, HandlerError
from iii.modules.console.backend import TooLate
from iii.modules.console.routes import Route
from iii.modules.console.unchecked import UncheckedHttps
from iii.net import show_address

log = Logger()

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
CONNECT_S = 5.0
DEFAULT_LIMIT_S = 30.0
LONGEST_LIMIT_S = 120.0
#: Of an answer's body; the rest is not read.
MAX_SHOWN_BYTES = 1024 * 1024
#: Which a client makes itself.
_NOT_SENT = frozenset(("host", "content-length", "connection", "transfer-encoding"))


class Sent(msgspec.Struct):
    """The answer.

    :ivar body: as text; as base64 when ``encoding`` says so
    :ivar truncated: there was more
    """

    status: int
    headers: list[tuple[str, str]]
    body: str
    encoding: str
    truncated: bool
    duration_ms: float


class Tester:
    """Sends the requests of one console."""

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self._clock = clock
        agent: Any = Agent
        self._agent = agent(reactor, UncheckedHttps(), connectTimeout=CONNECT_S)
        self.routes = (Route("POST", "http/send", self.send, "sends an HTTP request"),)

    async def send(self, asked: Asked) -> Sent:
        """``http/send``: ``method``, ``path``, ``headers``, ``body``, ``timeout_ms``.

        :raises HandlerError: it is no request
        :raises TooLate: it took too long
        """
        method = str(asked.fields.get("method", "GET")).upper()
        if method not in METHODS:
            raise HandlerError(f"method is one of {', '.join(METHODS)}", 400)
        path = asked.text("path", "request body")
        body, headers = _body(asked.fields.get("body")), _headers(asked.fields.get("headers"))
        limit_s = _limit(asked.fields.get("timeout_ms"))
        url = await self._url(asked, path)
        producer: Any = None
        if body:
            producer = FileBodyProducer(BytesIO(body))
        started = self._clock.monotonic()
        asking: Deferred[Any] = Deferred.fromCoroutine(self._ask(method, url, headers, producer))
        timer = self._clock.call_later(limit_s, asking.cancel)
        try:
            status, fields, shown = await asking
        except (CancelledError, ConnectError, ResponseFailed) as error:
            if not timer.active():
                raise TooLate from error
            raise HandlerError(f"the engine's HTTP port did not answer: {error}", 502) from error
        finally:
            if timer.active():
                timer.cancel()
        took_ms = (self._clock.monotonic() - started) * 1000
        text, encoding = _text(bytes(shown.data))
        return Sent(status, fields, text, encoding, shown.truncated, took_ms)

    async def _url(self, asked: Asked, path: str) -> bytes:
        instance = await asked.read("engine::instance::info")
        endpoint = instance["endpoints"].get("http")
        if endpoint is None:
            raise HandlerError("the engine has no HTTP port", 404)
        host, port = asked.engine.place("http", endpoint["host"], endpoint["port"])
        scheme = "https" if endpoint["tls"] else "http"
        # What is encoded stays so; what no URL may have is encoded.
        safe = quote(path if path.startswith("/") else f"/{path}", safe="/?&=%:@!$'()*+,;~-._#[]")
        return f"{scheme}://{show_address(host, port)}{safe.partition('#')[0]}".encode()

    async def _ask(self, method: str, url: bytes, headers: Headers, producer: Any) -> Any:
        response: Any = await self._agent.request(method.encode(), url, headers, producer)
        shown = _Shown()
        response.deliverBody(shown)
        await shown.done
        fields = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, values in response.headers.getAllRawHeaders()
            for value in values
        ]
        return response.code, fields, shown


class _Shown(Protocol):
    """The beginning of a body."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.truncated = False
        self.done: Deferred[None] = Deferred(lambda _: self._stop())

    def dataReceived(self, data: bytes) -> None:
        """Twisted: a piece."""
        room = MAX_SHOWN_BYTES - len(self.data)
        self.data += data[:room]
        if len(data) > room and not self.truncated:
            self.truncated = True
            self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: that was all, or it broke off; what there is is shown."""
        if not self.done.called:
            self.done.callback(None)

    def _stop(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


def _body(value: Any) -> bytes:
    """Text as it is, anything else as JSON."""
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _headers(value: Any) -> Headers:
    fields = Headers()
    if value is None:
        return fields
    if not isinstance(value, dict):
        raise HandlerError("headers is an object of names and values", 400)
    for name, text in value.items():
        line = f"{name}: {text}"
        if not name or any(ord(letter) < 32 or ord(letter) > 255 for letter in line):
            raise HandlerError(f"header {name!r} can't be sent", 400)
        if name.lower() not in _NOT_SENT:
            fields.addRawHeader(name.encode("latin-1"), str(text).encode("latin-1"))
    return fields


def _limit(timeout_ms: Any) -> float:
    if timeout_ms is None:
        return DEFAULT_LIMIT_S
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, int | float) or timeout_ms <= 0:
        raise HandlerError("timeout_ms is a number of milliseconds", 400)
    return min(float(timeout_ms) / 1000, LONGEST_LIMIT_S)


def _text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
