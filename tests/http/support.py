"""An HTTP module with fake workers, and a client that shows the raw bytes.

``HttpCase`` runs an engine core with the module on a real loopback socket and
virtual time.  Workers are ``iii.engine.workers.Worker`` objects whose link is a
list of handlers here, so a test decides when and what a function answers.  The
mixins ``Fast`` and ``Stock`` choose the server: the module's own, or a stock
``twisted.web.server.Site`` over the same resource.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock as FakeTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.server import Site
from zope.interface import implementer

from iii.engine.bindings import Registration
from iii.engine.channels import Channel
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.functions import FunctionSpec
from iii.engine.invocations import Call, ErrorBody
from iii.engine.module import ModuleApi
from iii.engine.workers import Worker
from iii.modules.http import HttpConfig, HttpModule
from iii.modules.http.resource import Routes
from iii.modules.http.service import HttpService

Behaviour = Callable[["FakeWorker", Call], None]


class Response:
    """One answer as the client saw it."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.pairs = headers
        self.headers = dict(headers)
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        """Every value of one header."""
        return [value for key, value in self.pairs if key == name]


class Truncated(Exception):
    """The connection ended in the middle of an answer."""


class Client(Protocol):
    """A raw HTTP client connection."""

    def __init__(self) -> None:
        self.received = b""
        self.reads: list[bytes] = []
        self.closed = False
        self.cleanly = False
        self._waiting: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.reads.append(data)
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self.cleanly = reason.check(ConnectionDone) is not None
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.abortConnection()

    async def more(self) -> None:
        """Wait for bytes or the end."""
        if not self.closed:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    async def until(self, text: bytes) -> None:
        """Wait until ``text`` has been received."""
        while text not in self.received:
            if self.closed:
                raise AssertionError(f"{text!r} not in {self.received!r}")
            await self.more()

    async def end(self) -> bytes:
        """Everything until the server closes."""
        while not self.closed:
            await self.more()
        received, self.received = self.received, b""
        return received

    async def response(self, *, head: bool = False) -> Response:
        """The next answer.  ``head``: it is the answer to a HEAD request."""
        while b"\r\n\r\n" not in self.received:
            if self.closed:
                raise Truncated(self.received)
            await self.more()
        top, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            headers.append((name.lower(), value))
        known = dict(headers)
        if head or status in (204, 304) or status < 200:
            return Response(status, headers, b"")
        if "content-length" in known:
            body = await self._take(int(known["content-length"]))
        elif known.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self.end()
        return Response(status, headers, body)

    async def _take(self, size: int) -> bytes:
        while len(self.received) < size:
            if self.closed:
                raise Truncated(self.received)
            await self.more()
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    async def _chunks(self) -> bytes:
        pieces = []
        while True:
            while b"\r\n" not in self.received:
                if self.closed:
                    raise Truncated(b"".join(pieces))
                await self.more()
            line, _, self.received = self.received.partition(b"\r\n")
            piece = await self._take(int(line, 16) + 2)
            if len(piece) == 2:
                return b"".join(pieces)
            pieces.append(piece[:-2])


@implementer(IHalfCloseableProtocol)
class HalfOpenClient(Client):
    """Goes on sending although the server has said its last word."""

    def readConnectionLost(self) -> None:
        self._wake()

    def writeConnectionLost(self) -> None:
        self._wake()


class ChannelReader:
    """The worker's end of ``request_body``."""

    def __init__(self, channel: Channel, *, hungry: bool = True) -> None:
        self.frames: list[bytes] = []
        self.ended: bool | None = None
        self.hungry = hungry
        self.channel = channel
        self._done: Deferred[bytes] = Deferred()
        assert channel.attach_reader(self)

    def deliver(self, payload: bytes, text: bool) -> bool:
        self.frames.append(payload)
        return self.hungry

    def end(self, clean: bool) -> None:
        self.ended = clean
        self._done.callback(b"".join(self.frames))

    def feed_me(self) -> None:
        """Take everything from now on."""
        self.hungry = True
        self.channel.drain()

    async def all(self) -> bytes:
        """The whole body."""
        return await self._done


class ChannelWriter:
    """The worker's end of ``response``."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.paused = False
        self.dropped = False
        assert channel.attach_writer(self)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def reader_gone(self) -> None:
        self.dropped = True

    def control(self, **message: Any) -> None:
        self.channel.put(json.dumps(message).encode(), True)

    def text(self, payload: bytes) -> None:
        self.channel.put(payload, True)

    def write(self, payload: bytes) -> None:
        self.channel.put(payload)

    def close(self, clean: bool = True) -> None:
        self.channel.finish(clean)


class FakeWorker:
    """A connected worker; its functions are Python callables."""

    def __init__(self, case: HttpCase, name: str) -> None:
        self._case = case
        self.engine = case.engine
        self.name = name
        self.refusals: list[tuple[str, ErrorBody]] = []
        self.calls: list[Call] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._triggers = 0
        self.worker = Worker(self, "127.0.0.1", 0)
        self.engine.workers.add(self.worker)

    # Link

    def invoke(self, call: Call) -> None:
        self.calls.append(call)
        self._behaviours[call.function_id](self, call)

    def registration_failed(self, registration: Registration, error: ErrorBody) -> None:
        self.refusals.append((registration.id, error))

    # What a worker does

    def function(self, id: str, behaviour: Behaviour, namespace: str = "default") -> str:
        """Register a function."""
        self._behaviours[id] = behaviour
        self.engine.functions.register(id, FunctionSpec(self.worker), namespace)
        self.worker.functions[(namespace, id)] = None
        return id

    def trigger(
        self,
        function_id: str,
        path: str | None,
        method: str | None = "GET",
        *,
        type: str = "http",
        metadata: Raw | None = None,
        id: str | None = None,
        namespace: str = "default",
        **config: Any,
    ) -> str:
        """Register an ``http`` trigger; returns its id."""
        if path is not None:
            config["api_path"] = path
        if method is not None:
            config["http_method"] = method
        self._triggers += 1
        id = id or f"{self.name}-{self._triggers}"
        registration = Registration(
            id,
            type,
            function_id,
            Raw(json.dumps(config).encode()),
            owner=self.worker,
            metadata=metadata,
            namespace=namespace,
        )
        self.engine.triggers.register(registration).addErrback(lambda _: None)
        return id

    def route(self, path: str, value: Any = None, method: str = "GET", **config: Any) -> str:
        """A function that returns ``value`` (or behaves like it), with a route."""
        id = f"{self.name}.{method} {path}"
        behaviour = value if callable(value) else returns(value)
        self.function(id, behaviour)
        self.trigger(id, path, method, **config)
        return id

    def unregister(self, trigger_id: str) -> None:
        self.engine.triggers.unregister(trigger_id, self.worker)

    def answer(self, call: Call, value: Any) -> bool:
        raw = value if isinstance(value, Raw) else Raw(json.dumps(value).encode())
        return self.engine.invocations.finish(self.worker, call.id, raw, None)

    def nothing(self, call: Call) -> None:
        """Answer without a result."""
        self.engine.invocations.finish(self.worker, call.id, None, None)

    def fail(self, call: Call, code: str, message: str) -> None:
        self.engine.invocations.finish(self.worker, call.id, None, ErrorBody(code, message))

    def disconnect(self) -> None:
        self.engine.worker_gone(self.worker)

    def channel(self, call: Call, field: str) -> Channel:
        """A channel that a request object refers to."""
        ref = data_of(call)[field]
        found = self.engine.channels.find(ref["channel_id"], ref["access_key"])
        assert found is not None, f"{field} is not registered"
        return found

    def reader(self, call: Call, *, hungry: bool = True) -> ChannelReader:
        return ChannelReader(self.channel(call, "request_body"), hungry=hungry)

    def writer(self, call: Call) -> ChannelWriter:
        return ChannelWriter(self.channel(call, "response"))

    @property
    def last(self) -> Call:
        return self.calls[-1]

    @property
    def data(self) -> dict[str, Any]:
        """What the last call was given."""
        return data_of(self.calls[-1])


def data_of(call: Call) -> dict[str, Any]:
    """The input of a call."""
    data: dict[str, Any] = json.loads(bytes(call.data))
    return data


def returns(value: Any) -> Behaviour:
    """Behaviour: answer with ``value`` at once."""
    return lambda worker, call: (worker.answer(call, value), None)[1]


def fails(code: str, message: str) -> Behaviour:
    """Behaviour: fail at once."""
    return lambda worker, call: worker.fail(call, code, message)


def nothing(worker: FakeWorker, call: Call) -> None:
    """Behaviour: answer without a result."""
    worker.nothing(call)


def later(worker: FakeWorker, call: Call) -> None:
    """Behaviour: the test answers."""


class HttpCase(TestCase):
    """An engine core with the HTTP module; see the file's docstring."""

    timeout = 10
    config: dict[str, Any] = {}

    def listen(self, config: HttpConfig) -> int:
        """Start the server under test; returns its port."""
        raise NotImplementedError("use the mixins Fast or Stock")

    def setUp(self) -> None:
        self.time = FakeTime()
        self.engine = Engine(reactor, clock=Clock.virtual(self.time))
        self.api = ModuleApi(self.engine, "iii-http")
        self.clients: list[Client] = []
        self.addCleanup(self._close_clients)
        self.addCleanup(self.engine.stop)
        self._workers = 0
        settings = {"host": "127.0.0.1", "port": 0, "default_timeout": 1000, **self.config}
        self.port = self.listen(HttpConfig(**settings))

    async def _close_clients(self) -> None:
        for client in self.clients:
            if not client.closed:
                client.close()
        for client in self.clients:
            while not client.closed:
                await client.more()
        # The server's side of those closes, before trial looks for open sockets.
        await self.pause()
        await self.pause()

    def worker(self, name: str | None = None) -> FakeWorker:
        self._workers += 1
        return FakeWorker(self, name or f"w{self._workers}")

    async def connect(self, kind: type[Client] = Client) -> Client:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client: Client = await connectProtocol(endpoint, kind())
        self.clients.append(client)
        return client

    async def pause(self, seconds: float = 0.0) -> None:
        """Let sockets get on."""
        await deferLater(reactor, seconds, lambda: None)

    async def until(self, condition: Callable[[], Any], what: str = "condition") -> None:
        """Let sockets get on until ``condition()``."""
        for _ in range(400):
            if condition():
                return
            await self.pause(0.005)
        raise AssertionError(f"waited in vain for: {what}")

    async def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Client:
        """Send a request on a fresh connection."""
        client = await self.connect()
        client.send(request_bytes(method, target, body, headers))
        return client

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """One request on a fresh connection."""
        client = await self.send(method, target, body, headers)
        return await client.response(head=method == "HEAD")

    async def get(self, target: str, *headers: tuple[str, str]) -> Response:
        return await self.request("GET", target, None, headers)

    async def post_json(self, target: str, body: Any) -> Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", target, raw, [("Content-Type", "application/json")])

    def assertError(self, response: Response, status: int, code: str, message: str = "") -> None:
        """``response`` is the error envelope."""
        self.assertEqual(response.status, status, response.body)
        error = response.json["error"]
        self.assertEqual(set(error), {"code", "message", "error_id"})
        self.assertEqual(error["code"], code)
        self.assertIn(message, error["message"])
        self.assertRegex(error["error_id"], r"^[0-9a-f]{1,12}$")
        self.assertEqual(response.headers["content-type"], "application/json")


def request_bytes(
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The bytes of a plain request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost:3111"]
    lines.extend(f"{name}: {value}" for name, value in headers)
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class Fast:
    """The module's own server."""

    def listen(self: Any, config: HttpConfig) -> int:
        self.module = HttpModule(config)
        self.module.start(self.api)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.module.stop()))
        self.service = self.module._service
        self.server = self.module._server
        port: int = self.engine.ready["http"]
        return port


class Stock:
    """A stock twisted.web server over the same resource."""

    def listen(self: Any, config: HttpConfig) -> int:
        self.service = HttpService(self.api, config)
        for name in ("http", "api"):
            self.api.trigger_type(name, self.service)
        site = Site(Routes(self.service))
        site.displayTracebacks = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        self.addCleanup(self.service.stop)
        number: int = port.getHost().port
        return number
