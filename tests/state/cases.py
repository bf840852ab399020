"""A real engine with the state module, its values in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi
from iii.modules.state import StateConfig, StateModule
from iii.storage.memory import MemoryStore
from iii.storage.store import Store
from tests.support.engine_case import EngineCase, Message, RawWorker


class Opens:
    """An adapter that opens the store a test made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Store:
        """Adapter: the store."""
        return self._store


class StateCase(EngineCase):
    """A caller beside the engine; ``hook`` is a function a ``state`` trigger can call.

    :cvar settings: the module's configuration
    """

    settings = StateConfig()
    caller: RawWorker

    async def setUp(self) -> None:
        await super().setUp()
        self.caller = await self.worker()

    def prepare(self) -> None:
        """EngineCase: load the module."""
        self.store = self.make_store()
        self.module = StateModule(self.settings)
        self.module.adapter = Opens(self.store)
        self.module.start(ModuleApi(self.engine, "iii-state"))

    def make_store(self) -> Store:
        """Where the values are."""
        return MemoryStore()

    async def tearDown(self) -> None:
        await super().tearDown()
        closed = self.module.stop()
        if closed is not None:
            await closed

    async def set(self, key: str, value: Any, scope: str = "s") -> Any:
        """``state::set``."""
        return await self.caller.call("state::set", {"scope": scope, "key": key, "value": value})

    async def get(self, key: str, scope: str = "s") -> Any:
        """``state::get``."""
        return await self.caller.call("state::get", {"scope": scope, "key": key})

    async def kept(self, key: str, scope: str = "s") -> bytes:
        """What is in the store."""
        found = self.store.get((scope, ""), key)
        return bytes((await found if isinstance(found, Deferred) else found) or b"")

    async def delete(self, key: str, scope: str = "s") -> Any:
        """``state::delete``."""
        return await self.caller.call("state::delete", {"scope": scope, "key": key})

    async def update(self, key: str, *ops: dict[str, Any], scope: str = "s") -> Any:
        """``state::update``."""
        return await self.caller.call("state::update", {"scope": scope, "key": key, "ops": ops})

    async def updated(self, start: Any, *ops: dict[str, Any]) -> Any:
        """What ``ops`` make of ``start``: the result of ``state::update``."""
        await self.set("subject", start)
        return await self.update("subject", *ops)

    async def answer(self, function_id: str, **data: Any) -> Message:
        """The whole ``invocationresult``."""
        return await self.caller.result_of(self.caller.invoke(function_id, data))

    async def hooked(self, config: Any = None, *, hook: str = "hook", **more: Any) -> RawWorker:
        """A worker whose function ``hook`` is called by a ``state`` trigger."""
        worker = await self.worker(hook)
        await worker.trigger("state", hook, config, **more)
        return worker

    async def events(self, worker: RawWorker) -> list[tuple[str, str, str]]:
        """Kind, scope and key of the events that reached ``worker``."""
        await self.caller.settled()
        await worker.settled()
        got = [m["data"] for m in worker.inbox if m["type"] == "invokefunction"]
        worker.inbox.clear()
        return [(e["event_type"].removeprefix("state:"), e["scope"], e["key"]) for e in got]
