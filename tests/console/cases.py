"""A case with an engine that has a console, and a client of it."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock as FakeTime
from twisted.internet.task import LoopingCall

from iii.engine.clock import Clock
from iii.testing import InProcessEngine
from tests.http.support import Client, Response
from tests.observability.module_case import ModuleCase, otel
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import dial, upgrade

Entry = dict[str, Any]

STATE: Entry = {"class": "modules::state::StateModule"}
STREAM: Entry = {"class": "modules::stream::StreamModule"}
QUEUE: Entry = {"class": "modules::queue::QueueModule"}
PUBSUB: Entry = {"class": "modules::pubsub::PubSubModule"}
CRON: Entry = {"class": "modules::cron::CronModule"}
HTTP: Entry = {"class": "modules::api::RestApiModule"}
TOKEN = "correct horse battery staple"


def console(**config: Any) -> Entry:
    """The console's entry."""
    return {"class": "modules::console::ConsoleModule", "config": config}


class ConsoleCase(ModuleCase):
    """An engine with a console.

    :ivar engine: the last that was started
    """

    engine: InProcessEngine
    #: header → value, of every request
    credentials: dict[str, str] = {}

    async def serve(self, *modules: Entry, clock: Clock | None = None, **config: Any) -> None:
        """Start an engine with these modules, observability and a console."""
        self.engine = await self.start(otel(), *modules, console(**config), clock=clock)

    async def serve_later(self, *modules: Entry, **config: Any) -> FakeTime:
        """The same; its time stands still until it is moved."""
        time = FakeTime()
        time.advance(1_800_000_000)
        # An engine needs time to stop.
        passing = LoopingCall(time.advance, 1.0)
        self.addCleanup(lambda: passing.stop() if passing.running else None)
        await self.serve(*modules, clock=Clock.virtual(time), **config)
        self.addCleanup(lambda: passing.start(0.01) and None)
        return time

    @property
    def port(self) -> int:
        """The console's."""
        port: int = self.engine.ready["console"]
        return port

    async def get(self, path: str, **headers: str) -> Response:
        """``GET`` from the console."""
        return await self.send("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Response:
        """``POST`` JSON to the console."""
        return await self.send("POST", path, json.dumps(body).encode(), **headers)

    async def send(
        self, method: str, path: str, body: bytes = b"", *, port: int | None = None, **headers: str
    ) -> Response:
        """Any request; underscores in the names of headers are dashes."""
        client: Client = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.port), Client()
        )
        fields = {"host": "localhost", **self.credentials, "content-length": str(len(body))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        client.send("\r\n".join([*lines, "", ""]).encode() + body)
        answer = await client.response(head=method == "HEAD")
        client.close()
        await client.end()
        return answer

    async def ok(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """The JSON of a request that has to succeed; with a body it is a ``POST``."""
        chosen = method or ("GET" if body is None else "POST")
        sent = b"" if body is None else json.dumps(body).encode()
        answer = await self.send(chosen, path, sent)
        self.assertEqual(answer.status, 200, (path, answer.body))
        return answer.json

    async def refused(self, status: int, path: str, body: Any = None, method: str = "POST") -> str:
        """The error of a request that has to fail."""
        answer = await self.send(method, path, b"" if body is None else json.dumps(body).encode())
        self.assertEqual(answer.status, status, answer.body)
        text: str = answer.json["error"]
        return text

    async def here(self, *functions: str) -> RawWorker:
        """A worker of the engine."""
        return await self.worker(self.engine, *functions)

    async def upgrade_status(self, path: str, **headers: str) -> int:
        """The status of the answer to an upgrade."""
        socket = await dial(self.port)
        self.addCleanup(socket.drop)
        socket.raw(upgrade(path, self.port, **headers))
        await socket.until(lambda: bool(socket.head), "answer")
        return socket.status

    async def answering(self, worker: RawWorker, function_id: str, **outcome: Any) -> Any:
        """What ``function_id`` of ``worker`` is called with next, after it was answered."""
        return (await worker.answer(function_id, **outcome))["data"]
