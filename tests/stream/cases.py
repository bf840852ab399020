"""A real engine with the stream module, its values in memory."""

from __future__ import annotations

from typing import Any

import msgspec

from iii.engine.module import ModuleApi
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.module import StreamModule
from iii.storage.memory import MemoryStore
from iii.storage.store import Store
from tests.support.engine_case import EngineCase, Message, RawWorker
from tests.support.rawsocket import TEXT, RawSocket, open_socket

STREAM, GROUP = "chat", "g"


class Opens:
    """An adapter that opens the store a test made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Store:
        """Adapter: the store."""
        return self._store


class Subscriber:
    """A client of the stream port."""

    def __init__(self, socket: RawSocket) -> None:
        self.socket = socket

    def join(self, group: str = GROUP, item: str | None = None, stream: str = STREAM) -> None:
        """Subscribe."""
        data = {"subscriptionId": "s", "streamName": stream, "groupId": group, "id": item}
        self.socket.text(msgspec.json.encode({"type": "join", "data": data}))

    async def next(self) -> Any:
        """The next envelope."""
        await self.socket.until(lambda: any(f.opcode == TEXT for f in self.socket.frames), "event")
        frame = next(f for f in self.socket.frames if f.opcode == TEXT)
        self.socket.frames.remove(frame)
        return msgspec.json.decode(frame.payload)


class StreamCase(EngineCase):
    """A caller beside the engine; ``hook`` is a function a ``stream`` trigger can call.

    :cvar settings: the module's configuration
    """

    settings = StreamConfig(port=0, host="127.0.0.1")
    caller: RawWorker

    async def setUp(self) -> None:
        await super().setUp()
        self.caller = await self.worker()

    def prepare(self) -> None:
        """EngineCase: load the module."""
        self.store = self.make_store()
        self.module = self.make_module()
        self.module.start(ModuleApi(self.engine, "iii-stream"))

    def make_module(self) -> StreamModule:
        """The module, not started."""
        module = StreamModule(self.settings)
        module.adapter = Opens(self.store)
        return module

    def make_store(self) -> Store:
        """Where the values are."""
        return MemoryStore()

    async def tearDown(self) -> None:
        for socket in self._sockets:
            socket.drop()
        await self.module.stop()
        await super().tearDown()

    async def set(
        self, item: str, data: Any, group: str = GROUP, stream: str = STREAM, **more: Any
    ) -> Any:
        """``stream::set``."""
        return await self.caller.call("stream::set", _asked(stream, group, item, data=data, **more))

    async def get(self, item: str, group: str = GROUP, stream: str = STREAM) -> Any:
        """``stream::get``."""
        return await self.caller.call("stream::get", _asked(stream, group, item))

    async def delete(self, item: str, group: str = GROUP, stream: str = STREAM) -> Any:
        """``stream::delete``."""
        return await self.caller.call("stream::delete", _asked(stream, group, item))

    async def update(
        self, item: str, *ops: dict[str, Any], group: str = GROUP, stream: str = STREAM
    ) -> Any:
        """``stream::update``."""
        return await self.caller.call("stream::update", _asked(stream, group, item, ops=ops))

    async def send(
        self, type: str, item: str | None = None, group: str = GROUP, **more: Any
    ) -> Message:
        """``stream::send``; the whole answer."""
        data = {"stream_name": STREAM, "group_id": group, "id": item, "type": type, **more}
        return await self.caller.result_of(self.caller.invoke("stream::send", data))

    async def answer(self, function_id: str, **data: Any) -> Message:
        """The whole ``invocationresult``."""
        return await self.caller.result_of(self.caller.invoke(function_id, data))

    async def hooked(self, config: Any = None, hook: str = "hook", **more: Any) -> RawWorker:
        """A worker whose ``hook`` is called by a ``stream`` trigger."""
        worker = await self.worker(hook)
        await worker.trigger("stream", hook, config, **more)
        return worker

    async def events(self, worker: RawWorker) -> list[tuple[str, str, str | None]]:
        """Kind, group and item of the events that reached ``hook``."""
        await self.caller.settled()
        await worker.settled()
        got = [m["data"] for m in worker.inbox if m["type"] == "invokefunction"]
        worker.inbox.clear()
        return [(e["event"]["type"], e["groupId"], e["id"]) for e in got]

    async def subscriber(
        self, group: str = GROUP, item: str | None = None, stream: str = STREAM
    ) -> Subscriber:
        """A client that has joined and taken its ``sync``."""
        socket = await open_socket(self.module.port, "/")
        self._sockets.append(socket)
        client = Subscriber(socket)
        client.join(group, item, stream)
        await client.next()
        return client


def _asked(stream: str, group: str, item: str, **more: Any) -> dict[str, Any]:
    return {"stream_name": stream, "group_id": group, "item_id": item, **more}
