"""Several real engines in one test, and a server that only looks like one."""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from iii.builder import EmbeddedEngine, EngineBuilder
from iii.engine.clock import Clock
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.rawsocket import RawSocket, open_socket

WAIT_S = 10.0
HELLO = "11111111-2222-4333-8444-555555555555"


class Running:
    """One engine of a test.

    :ivar port: its worker port
    """

    def __init__(self, embedded: EmbeddedEngine) -> None:
        self.engine = embedded.engine
        self.port: int = embedded.ready["worker"]
        self.service = embedded.service
        self._embedded = embedded
        self._stopped = False

    @property
    def url(self) -> str:
        """Where workers connect."""
        return f"ws://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Stop in good order; again: nothing."""
        if not self._stopped:
            self._stopped = True
            await self._embedded.destroy()


class BridgeCase(TestCase):
    """Starts engines, collects what they log."""

    timeout = 30

    async def setUp(self) -> None:
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._note)
        self.addCleanup(globalLogPublisher.removeObserver, self._note)
        self._sockets: list[RawSocket] = []
        self._engines: list[Running] = []
        self._fakes: list[FakeEngine] = []

    async def tearDown(self) -> None:
        for socket in self._sockets:
            socket.drop()
        for running in reversed(self._engines):
            await running.stop()
        for fake in self._fakes:
            await fake.stop()
        for socket in self._sockets:
            await socket.ended()
        _cancel_batched_timers()

    def _note(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("iii."):
            self.lines.append(f"{event['log_level'].name}: {formatEvent(event)}")

    def said(self, text: str) -> list[str]:
        """The lines of the log with ``text`` in it."""
        return [line for line in self.lines if text in line]

    async def start(
        self, *modules: Mapping[str, Any], port: int = 0, clock: Clock | None = None, **top: Any
    ) -> Running:
        """An engine with these entries; everything is in memory.

        :param top: other keys of the configuration
        """
        environ = {"III_IN_MEMORY": "1"}
        quiet = {"class": "iii-observability", "config": {"prometheus_port": 0}}
        builder = EngineBuilder(reactor, clock=clock, environ=environ)
        listed = [quiet, *(dict(module) for module in modules)]
        builder.with_config({**top, "modules": listed})
        embedded = builder.address(f"127.0.0.1:{port}").build()
        await embedded.start()
        running = Running(embedded)
        self._engines.append(running)
        return running

    async def bridge(self, to: str, *, more: Any = (), **config: Any) -> Running:
        """An engine with a bridge to ``to``, which is connected."""
        running = await self.start(bridge_entry(to, **config), *more)
        await self.eventually(lambda: self.said("iii-bridge-client: connected to"))
        self.lines.clear()
        return running

    async def worker(self, running: Running, *functions: str) -> RawWorker:
        """A worker of an engine, with functions."""
        socket = await open_socket(running.port)
        self._sockets.append(socket)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register(*functions)
        return worker

    async def fake(self, **how: Any) -> FakeEngine:
        """A server that speaks as a test tells it to."""
        fake = FakeEngine(**how)
        self._fakes.append(fake)
        return fake

    async def eventually(self, there: Callable[[], Any], wait_s: float = WAIT_S) -> None:
        """Wait until ``there()``, polling: for what no message announces."""
        for _ in range(int(wait_s / 0.005)):
            if there():
                return
            await self.pause(0.005)
        self.fail("it did not happen; the log:\n" + "\n".join(self.lines))

    async def offered(self, running: Running, *ids: str) -> None:
        """Wait until an engine has functions."""
        known = running.engine.functions
        await self.eventually(lambda: all(known.get(id) is not None for id in ids))

    def free_port(self) -> int:
        """A port on which nobody listens until the test does."""
        holder = sockets.socket()
        self.addCleanup(holder.close)
        # Bound but not listening: the kernel gives it to nobody else, a server may have it.
        holder.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port

    async def pause(self, seconds: float) -> None:
        """Let the reactor run."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed


def bridge_entry(url: str | None = None, **config: Any) -> dict[str, Any]:
    """A bridge in a configuration."""
    said = {"url": url, **config} if url else config
    return {"class": "modules::bridge_client::BridgeClientModule", "config": said}


class FakeConnection(WebSocketServerProtocol):
    """One link, as a server that a test holds in its hands sees it."""

    factory: Any
    pings = 0

    def onConnect(self, request: Any) -> Any:
        """Autobahn: the upgrade."""
        fake = self.factory.fake
        fake.requests.append(request)
        if fake.refuse:
            raise ConnectionDeny(fake.refuse, "no")
        return None if fake.upgrade else Deferred()

    def onPing(self, payload: bytes) -> None:
        """Autobahn: a ping, which is answered."""
        self.pings += 1
        super().onPing(payload)

    def onOpen(self) -> None:
        """Autobahn: open."""
        fake = self.factory.fake
        fake.links.append(self)
        if fake.hello is not None:
            self.say({"type": "workerregistered", "worker_id": fake.hello})

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Autobahn: a message."""
        fake = self.factory.fake
        message = msgspec.json.decode(payload)
        fake.inbox.append(message)
        answer = fake.answer(message)
        if answer is not None:
            reply = {"type": "invocationresult", "invocation_id": message["invocation_id"]}
            self.say({**reply, "function_id": message["function_id"], **answer})

    def say(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self.sendMessage(msgspec.json.encode(message))


class FakeEngine:
    """A worker port without an engine.

    :param hello: the worker id it tells; None: it tells none
    :param answers: function → ``{"result": …}`` or ``{"error": …}``; everything else is
        ``function_not_found``
    :param upgrade: False: it never answers the upgrade
    :param refuse: the status with which it does
    :param port: where to listen; 0: a free one
    """

    def __init__(
        self,
        *,
        hello: str | None = HELLO,
        answers: Mapping[str, Any] | None = None,
        upgrade: bool = True,
        refuse: int = 0,
        port: int = 0,
    ) -> None:
        self.hello = hello
        self.upgrade = upgrade
        self.refuse = refuse
        self.answers = dict(answers or {})
        self.inbox: list[dict[str, Any]] = []
        self.requests: list[Any] = []
        self.links: list[FakeConnection] = []
        factory: Any = WebSocketServerFactory()  # type: ignore[no-untyped-call]
        factory.protocol = FakeConnection
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)
        factory.fake = self
        self._port = reactor.listenTCP(port, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.port: int = self._port.getHost().port

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://127.0.0.1:{self.port}"

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """What becomes of a message; None: nothing."""
        if message["type"] != "invokefunction" or message.get("invocation_id") is None:
            return None
        known = self.answers.get(message["function_id"], _not_found(message["function_id"]))
        said: dict[str, Any] | None = known(message) if callable(known) else known
        return said

    def got(self, type: str, **fields: Any) -> list[dict[str, Any]]:
        """The messages of a type with these fields."""
        return [
            message
            for message in self.inbox
            if message["type"] == type and fields.items() <= message.items()
        ]

    async def stop(self) -> None:
        """Close the port and cut every link."""
        for link in self.links:
            link.transport.abortConnection()
        await maybeDeferred(self._port.stopListening)


def _not_found(id: str) -> dict[str, Any]:
    return {"error": {"code": "function_not_found", "message": f"Function {id} not found"}}
