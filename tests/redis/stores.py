"""Engines with state and streams on one Redis, behind worker ports."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from iii.engine import corefunctions
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.state import StateConfig, StateModule
from iii.modules.state.adapters.redis import RedisState
from iii.modules.stream.adapters.redis import RedisStreams
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.module import StreamModule
from iii.redis import RedisConfig
from iii.wire.listener import WorkerListener
from tests.redis.cases import RedisCase
from tests.stream.cases import Subscriber
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.rawsocket import RawSocket, open_socket

STREAM, GROUP = "chat", "g"


class Running:
    """One engine.

    :ivar workers: those that connected
    """

    def __init__(self, url: str) -> None:
        self.engine = Engine(reactor)
        corefunctions.install(self.engine)
        self.state = StateModule(StateConfig())
        self.state.adapter = RedisState(RedisConfig(redis_url=url))
        self.streams = StreamModule(StreamConfig(port=0, host="127.0.0.1"))
        self.streams.adapter = RedisStreams(RedisConfig(redis_url=url))
        self.listener = WorkerListener(self.engine, host="127.0.0.1", port=0)
        self.workers: list[RawWorker] = []
        self.sockets: list[RawSocket] = []

    async def start(self) -> None:
        """Everything up."""
        self.engine.start()
        for module in (self.state, self.streams):
            ready = module.start(ModuleApi(self.engine, module.name))
            assert isinstance(ready, Deferred)
            await ready
        self.listener.listen()

    async def worker(self, *functions: str) -> RawWorker:
        """A connected worker."""
        socket = await open_socket(self.listener.port)
        worker = RawWorker(socket, await socket.next_message())
        self.workers.append(worker)
        await worker.register(*functions)
        return worker

    async def client(
        self, group: str = GROUP, item: str | None = None, stream: str = STREAM
    ) -> Subscriber:
        """A client of the stream port that has joined and taken its ``sync``."""
        client, _ = await self.joined(group, item, stream)
        return client

    async def joined(
        self, group: str = GROUP, item: str | None = None, stream: str = STREAM
    ) -> tuple[Subscriber, Any]:
        """The same, with its ``sync``."""
        socket = await open_socket(self.streams.port, "/")
        self.sockets.append(socket)
        client = Subscriber(socket)
        client.join(group, item, stream)
        return client, await client.next()

    async def stop(self) -> None:
        """Everything down."""
        for worker in self.workers:
            await worker.leave()
        for socket in self.sockets:
            socket.drop()
            await socket.ended()
        await self.listener.stop_listening()
        self.listener.factory.stop()
        for module in (self.state, self.streams):
            stopping: Any = module.stop()
            if stopping is not None:
                await stopping
        self.engine.stop()
        _cancel_batched_timers()


class StoresCase(RedisCase):
    """Engines on a Redis of the test's own."""

    async def running(self) -> Running:
        """One more engine."""
        engine = Running(self.server.url)
        self.addCleanup(engine.stop)
        await engine.start()
        return engine


def state(worker: RawWorker, operation: str, key: str = "k", **more: Any) -> Any:
    """``state::<operation>``; its result."""
    return worker.call(f"state::{operation}", {"scope": "s", "key": key, **more})


def stream(worker: RawWorker, operation: str, item: str = "i", **more: Any) -> Any:
    """``stream::<operation>``; its result."""
    asked = {"stream_name": STREAM, "group_id": GROUP, "item_id": item, **more}
    return worker.call(f"stream::{operation}", asked)
