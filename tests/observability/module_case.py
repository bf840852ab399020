"""A case with whole engines in the test's process, and what is asked of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.testing import InProcessEngine, in_process
from tests.http.support import Client, Response
from tests.observability.prometheus.cases import Scraped, parsed
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import RawSocket, open_socket

TRACE = "5b8efff798038103d269b633813fc60c"
PARENT = "eee19b7ec3c1b174"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def otel(**config: Any) -> dict[str, Any]:
    """The module's entry in a configuration file of the baseline releases."""
    return {"class": "modules::observability::OtelModule", "config": config}


class ModuleCase(TestCase):
    """Engines with the module in the test's process."""

    timeout = 30

    async def start(
        self, *modules: dict[str, Any], clock: Clock | None = None, **environ: str
    ) -> InProcessEngine:
        """An engine on free ports."""
        started = await in_process(
            reactor, {"port": 0}, modules=modules, environ=environ, clock=clock
        )
        self.addCleanup(started.stop)
        return started

    async def socket(self, engine: InProcessEngine, path: str = "/") -> RawSocket:
        opened = await open_socket(engine.ready["worker"], path)
        self.addCleanup(opened.drop)
        return opened

    async def worker(self, engine: InProcessEngine, *functions: str) -> RawWorker:
        opened = await self.socket(engine)
        worker = RawWorker(opened, await opened.next_message())
        if functions:
            await worker.register(*functions)
        return worker

    async def ask(self, port: int, path: str, method: str = "GET", **headers: str) -> Response:
        """An HTTP request on a connection of its own."""
        client: Client = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port), Client()
        )
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]
        client.send("\r\n".join(head).encode())
        answer = await client.response()
        client.close()
        await client.end()
        return answer

    async def scrape(self, engine: InProcessEngine) -> Scraped:
        answer = await self.ask(engine.ready["metrics"], "/metrics")
        self.assertEqual(answer.status, 200)
        return parsed(answer.body.decode())

    async def eventually(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """What ``attempt`` returns once it is something."""
        for _ in range(400):
            if found := await attempt():
                return found
            passed: Deferred[None] = Deferred()
            reactor.callLater(0.01, passed.callback, None)  # type: ignore[attr-defined]
            await passed
        raise AssertionError(f"nothing came of {attempt}")

    async def names(self, worker: RawWorker, trace_id: str = TRACE) -> dict[str, Any]:
        """The tree of a trace as names within names."""

        def inner(nodes: list[dict[str, Any]]) -> dict[str, Any]:
            return {node["name"]: inner(node["children"]) for node in nodes}

        answer = await worker.call("engine::traces::tree", {"trace_id": trace_id})
        return inner(answer["roots"])

    async def bodies(self, worker: RawWorker, **query: Any) -> list[str]:
        answer = await worker.call("engine::logs::list", query)
        return [entry["body"] for entry in answer["logs"]]

    async def works(self, engine: InProcessEngine) -> None:
        """A worker of this engine is called and answers."""
        worker = await self.worker(engine, "hello")
        id = worker.invoke("hello", {"n": 1})
        await worker.answer("hello", result={"n": 2})
        self.assertEqual((await worker.result_of(id))["result"], {"n": 2})
