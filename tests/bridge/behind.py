"""An engine whose modules are behind a bridge of the engine that a test is about."""

from __future__ import annotations

from twisted.internet import reactor

from iii.engine import corefunctions
from iii.engine.core import Engine
from iii.engine.module import ModuleApi, NoConfig
from iii.modules.pubsub import PubSubModule
from iii.modules.pubsub.adapters.local import LocalAdapter
from iii.modules.state import StateConfig, StateModule
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.module import StreamModule
from iii.storage.memory import MemoryStore
from iii.storage.store import Store
from iii.websocket.codes import CLOSE_RESTART
from iii.wire.listener import WorkerListener
from tests.state.cases import Opens


class Behind:
    """State, streams and pub/sub, in memory, and a worker port.

    :param max_value_bytes: what it takes at most
    :ivar store: where state and streams are
    """

    def __init__(self, max_value_bytes: int | None = None) -> None:
        self.engine = Engine(reactor)
        corefunctions.install(self.engine)
        self.store: Store = MemoryStore()
        self._modules = [
            PubSubModule(NoConfig()),
            StateModule(StateConfig(max_value_bytes=max_value_bytes)),
            StreamModule(StreamConfig(host="127.0.0.1", port=0, max_value_bytes=max_value_bytes)),
        ]
        for module in self._modules:
            module.adapter = Opens(self.store)
        self._modules[0].adapter = LocalAdapter({})
        for module in self._modules:
            module.start(ModuleApi(self.engine, module.name))
        self.engine.start()
        self.listener = WorkerListener(self.engine, host="127.0.0.1", port=0)
        self.listener.listen()

    @property
    def url(self) -> str:
        """Where workers connect."""
        return f"ws://127.0.0.1:{self.listener.port}"

    async def stop(self) -> None:
        """End everything."""
        await self.listener.stop_listening()
        await self.listener.close_all(CLOSE_RESTART, "the test is over")
        self.listener.factory.stop()
        for module in reversed(self._modules):
            stopping = module.stop()
            if stopping is not None:
                await stopping
        self.engine.stop()
