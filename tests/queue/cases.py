"""A real engine with the queue module, on time that the test moves.

Real sockets, real SQLite; only waits are virtual: ``advance`` moves back-offs, delays
and retentions.  What is to happen at the end of a turn happens at once all the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, ensureDeferred

from iii.engine.clock import Clock
from iii.engine.module import ModuleApi
from iii.modules.queue.builtin import BuiltinAdapter
from iii.modules.queue.config import BuiltinConfig, QueueConfig
from iii.modules.queue.module import QueueModule
from iii.modules.queue.settings import NamedQueue
from tests.support.engine_case import EngineCase, Message, RawWorker


class Ticks(task.Clock):
    """Time moves only with ``advance``, but what is to be done now is done now."""

    def callLater(self, delay: float, func: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """IReactorTime: the reactor does what is due at once."""
        if delay <= 0:
            return reactor.callLater(0, func, *args, **kw)  # type: ignore[attr-defined]
        return super().callLater(delay, func, *args, **kw)


class QueueCase(EngineCase):
    """A caller beside the engine.

    :cvar queues: the named queues
    :cvar settings: of the adapter; its directory is one of the test's own
    """

    queues: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any] = {}
    durability = "os"
    epoch = 1_760_000_000.0
    caller: RawWorker

    async def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        await super().setUp()
        self.caller = await self.worker()

    def make_adapter(self) -> Any:
        """Where messages are kept."""
        settings = {"durability": self.durability, "file_path": str(self.folder), **self.settings}
        return BuiltinAdapter(msgspec.convert(settings, BuiltinConfig))

    def prepare(self) -> None:
        """EngineCase: load the module."""
        queues = {name: msgspec.convert(queue, NamedQueue) for name, queue in self.queues.items()}
        self.module = QueueModule(QueueConfig(queue_configs=queues))
        self.module.adapter = self.make_adapter()
        api = ModuleApi(self.engine, "iii-queue")
        # Only the module's time is virtual: sockets would miss their pings.
        self.ticks = Ticks()
        api.clock = self.clock = Clock.virtual(self.ticks, epoch=self.epoch)
        started = ensureDeferred(self.module.start(api))
        self.successResultOf(started)

    async def tearDown(self) -> None:
        self.module.closing()
        await super().tearDown()
        await self.module.stop()

    async def restart(self) -> None:
        """Stop the engine and start another one on the same files, as after a stop."""
        await self.tearDown()
        self.epoch = self.clock.wall()
        await EngineCase.setUp(self)
        self.caller = await self.worker()

    async def crash(self) -> None:
        """Start another engine on the files as they are at this instant, as after a kill."""
        there = self._copy_of_the_files()
        await self.tearDown()
        self.folder = there
        self.epoch = self.clock.wall()
        await EngineCase.setUp(self)
        self.caller = await self.worker()

    def _copy_of_the_files(self) -> Path:
        there = Path(self.mktemp())
        there.mkdir(parents=True)
        for file in self.folder.iterdir():
            if file.suffix in (".sqlite", ".sqlite-wal"):
                shutil.copy(file, there / file.name)
        return there

    # Time ------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Move time, then let everything that is due be done."""
        self.ticks.advance(seconds)
        await self.idle()

    async def idle(self) -> None:
        """Wait until what is under way has been written, and what follows from it."""
        for _ in range(4):
            await self.caller.settled()
            journal = getattr(self.module.adapter, "_journal", None)
            if journal is not None:
                await journal.settled()
                await journal.next_expiry(0)  # behind every other read
            await self._turn()

    async def _turn(self) -> None:
        passed: Deferred[None] = Deferred()
        reactor.callLater(0, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    # Publishing ------------------------------------------------------------------------

    async def publish(self, topic: str, data: Any, **more: Any) -> Any:
        """``enqueue``."""
        return await self.caller.call("enqueue", {"topic": topic, "data": data, **more})

    async def enqueue(self, queue: str, function_id: str, data: Any = None, **more: Any) -> str:
        """``action: enqueue``; the receipt."""
        result = await self.caller.call(
            function_id, data, action={"type": "enqueue", "queue": queue, **more}
        )
        receipt: str = result["messageReceiptId"]
        return receipt

    async def refused(self, queue: str, data: Any = None, **more: Any) -> str:
        """``action: enqueue`` that fails; the message of its error."""
        error = await self.caller.error_of(
            "f", data, action={"type": "enqueue", "queue": queue, **more}
        )
        self.assertEqual(error["code"], "enqueue_error")
        message: str = error["message"]
        return message

    # Consuming -------------------------------------------------------------------------

    async def subscriber(
        self, function_id: str, topic: str, type: str = "queue", **config: Any
    ) -> RawWorker:
        """A worker whose ``function_id`` gets the messages of ``topic``."""
        worker = await self.worker(function_id)
        await worker.trigger(type, function_id, {"topic": topic, **config})
        await self.idle()
        return worker

    async def calls(self, worker: RawWorker) -> list[Message]:
        """The calls that reached ``worker`` so far and were not looked at yet."""
        await self.idle()
        await worker.settled()
        calls = [message for message in worker.inbox if message["type"] == "invokefunction"]
        for call in calls:
            worker.inbox.remove(call)
        return calls

    async def data(self, worker: RawWorker) -> list[Any]:
        """Their data; they are not answered."""
        return [call["data"] for call in await self.calls(worker)]

    async def handled(self, worker: RawWorker) -> list[Any]:
        """Answer all calls, until no more come; their data."""
        got: list[Any] = []
        while calls := await self.calls(worker):
            for call in calls:
                got.append(call["data"])
                worker.reply(call, result=None)
        return got

    async def failed(self, worker: RawWorker, **error: Any) -> list[Any]:
        """Answer all calls that are there with an error; their data."""
        calls = await self.calls(worker)
        for call in calls:
            worker.reply(call, error={"code": "oops", "message": "no", **error})
        await worker.settled()
        await self.idle()
        return [call["data"] for call in calls]

    # Looking ---------------------------------------------------------------------------

    async def stats(self, topic: str) -> dict[str, Any]:
        """``engine::queue::topic_stats``."""
        await self.idle()
        stats: dict[str, Any] = await self.caller.call(
            "engine::queue::topic_stats", {"topic": topic}
        )
        return stats

    async def depth(self, topic: str) -> int:
        """Messages that are not done."""
        depth: int = (await self.stats(topic))["depth"]
        return depth

    async def dead(self, topic: str, **more: Any) -> list[dict[str, Any]]:
        """``engine::queue::dlq_messages``."""
        await self.idle()
        letters: list[dict[str, Any]] = await self.caller.call(
            "engine::queue::dlq_messages", {"topic": topic, **more}
        )
        return letters

    async def admin(self, function: str, **asked: Any) -> Any:
        """``engine::queue::…``."""
        await self.idle()
        return await self.caller.call(f"engine::queue::{function}", asked)
