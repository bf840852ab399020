"""A real engine with the module, and a real web server that it calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet import reactor as default_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from iii.engine.module import ModuleApi
from iii.modules.http_functions import HttpFunctionsModule
from iii.modules.http_functions.config import HttpFunctionsConfig, Security
from tests.support.engine_case import EngineCase, RawWorker

reactor: Any = default_reactor

OPEN = HttpFunctionsConfig(
    security=Security(
        url_allowlist=["localhost", "127.0.0.1"], block_private_ips=False, require_https=False
    )
)
STRICT = HttpFunctionsConfig()


@dataclass
class Seen:
    """One request, as the server saw it."""

    method: str
    uri: str
    headers: dict[str, list[str]]
    body: bytes
    connection: int

    def header(self, name: str) -> str:
        """The only value of a header."""
        [value] = self.headers[name]
        return value


class FarSide(Resource):
    """Answers everything with the same answer and keeps what it saw.

    :ivar answer: status, body and headers; None: no answer at all
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.answer: tuple[int, bytes, dict[str, str]] | None = (200, b'{"ok":true}', {})
        self.arrived: list[Deferred[None]] = []
        self.open: list[Request] = []

    def render(self, request: Request) -> Any:
        """IResource."""
        fields = request.requestHeaders.getAllRawHeaders()
        self.seen.append(
            Seen(
                request.method.decode(),
                request.uri.decode(),
                {name.decode().lower(): [v.decode() for v in values] for name, values in fields},
                request.content.read(),
                request.getClientAddress().port,
            )
        )
        self.open.append(request)
        request.notifyFinish().addBoth(lambda _: self.open.remove(request))
        waiting, self.arrived = self.arrived, []
        for arrived in waiting:
            arrived.callback(None)
        if self.answer is None:
            return NOT_DONE_YET
        status, body, headers = self.answer
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return body

    async def request(self) -> Seen:
        """The next request."""
        arrived: Deferred[None] = Deferred()
        self.arrived.append(arrived)
        await arrived
        return self.seen[-1]


class HttpFunctionsCase(EngineCase):
    """An engine, a worker with nothing but functions over HTTP, and their server.

    :cvar settings: the module's
    :ivar environ: what the module sees as environment
    """

    settings = OPEN
    w: RawWorker

    async def setUp(self) -> None:
        self.environ: dict[str, str] = {}
        await super().setUp()
        self.far = FarSide()
        self.server = reactor.listenTCP(0, Site(self.far), interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.server.getHost().port}"
        self.w = await self.worker()

    def prepare(self) -> None:
        """EngineCase: load the module."""
        self.module = HttpFunctionsModule(self.settings, environ=self.environ)
        self.module.start(ModuleApi(self.engine, "iii-http-functions"))

    async def tearDown(self) -> None:
        await self.module.stop()
        await self.server.stopListening()
        await self.eventually(lambda: not self.far.open)
        await super().tearDown()

    async def register(self, id: str = "far", path: str = "/hook", **invocation: Any) -> None:
        """Register a function over HTTP."""
        await self.w.register(id, invocation={"url": self.url + path, **invocation})

    async def call(self, data: Any = None, id: str = "far", **fields: Any) -> Any:
        """Call it; its result."""
        return await self.w.call(id, data, **fields)

    async def error(self, data: Any = None, id: str = "far", **fields: Any) -> tuple[str, str]:
        """Call what is to fail: code and message."""
        error = await self.w.error_of(id, data, **fields)
        return error["code"], error["message"]


class Names:
    """A reactor with a name server of a test's own.

    :param answers: what a name leads to, one list per question; the last one stays
    :ivar asked: the names it was asked for
    """

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.connected: list[str] = []
        self.nameResolver = self

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, *args: Any) -> None:
        """IHostnameResolver."""
        self.asked.append(name)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        for text in found:
            kind = IPv6Address if ":" in text else IPv4Address
            receiver.addressResolved(kind("TCP", text, port))
        receiver.resolutionComplete()

    def connectTCP(self, host: str, port: int, *args: Any, **more: Any) -> Any:
        """IReactorTCP: only noted down; what is called next is loopback."""
        self.connected.append(host)
        return reactor.connectTCP("127.0.0.1", port, *args, **more)
