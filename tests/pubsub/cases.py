"""A real engine with the pub/sub module, and an adapter that a test holds in its hands."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi, NoConfig
from iii.modules.pubsub import Message, PubSubAdapter, PubSubModule
from iii.modules.pubsub.adapter import Received
from iii.modules.pubsub.adapters.local import LocalAdapter
from tests.support.engine_case import EngineCase, RawWorker


class PubSubCase(EngineCase):
    """A publisher beside the engine."""

    publisher: RawWorker

    async def setUp(self) -> None:
        await super().setUp()
        self.publisher = await self.worker()

    def make_adapter(self) -> PubSubAdapter:
        """What carries the messages."""
        return LocalAdapter({})

    def prepare(self) -> None:
        """EngineCase: load the module."""
        self.module = PubSubModule(NoConfig())
        self.module.adapter = self.make_adapter()
        self.module.start(ModuleApi(self.engine, "iii-pubsub"))

    async def tearDown(self) -> None:
        await super().tearDown()
        self.module.stop()

    async def publish(self, data: Any, topic: str = "t", **more: Any) -> Any:
        """``publish``."""
        return await self.publisher.call("publish", {"topic": topic, "data": data}, **more)

    async def subscriber(
        self, function: str = "hook", topic: str = "t", *, config: Any = None, **more: Any
    ) -> RawWorker:
        """A worker whose ``function`` is called by a ``subscribe`` trigger."""
        worker = await self.worker(function)
        await worker.trigger("subscribe", function, {"topic": topic, **(config or {})}, **more)
        return worker

    async def heard(self, worker: RawWorker, function: str = "hook") -> list[Any]:
        """The data of all messages that ``function`` of ``worker`` was given."""
        await self.publisher.settled()
        await worker.settled()
        got = [m for m in worker.inbox if m.get("function_id") == function]
        worker.inbox[:] = [m for m in worker.inbox if m not in got]
        return [message["data"] for message in got]

    async def topics(self) -> Any:
        """``engine::pubsub::list_topics``."""
        return await self.publisher.call("engine::pubsub::list_topics")


class ByHand:
    """An adapter to a broker that the test plays.

    :ivar asked: (``subscribe`` or ``unsubscribe``, topic), in order
    :ivar sent: what was published
    :ivar answer: what ``publish`` returns or raises
    """

    kind = "by-hand"

    def __init__(self) -> None:
        self.received: Received | None = None
        self.asked: list[tuple[str, str]] = []
        self.sent: list[Message] = []
        self.answer: Deferred[None] | Exception | None = None

    def start(self, engine: ModuleApi, received: Received) -> None:
        """Adapter."""
        self.received = received

    def subscribe(self, topic: str) -> None:
        """Adapter."""
        self.asked.append(("subscribe", topic))

    def unsubscribe(self, topic: str) -> None:
        """Adapter."""
        self.asked.append(("unsubscribe", topic))

    def publish(self, message: Message) -> Deferred[None] | None:
        """Adapter."""
        self.sent.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def stop(self) -> None:
        """Adapter."""
        self.received = None

    def arrive(self, topic: str, data: bytes) -> None:
        """The broker has a message."""
        assert self.received is not None
        self.received(Message(topic, Raw(data)))
