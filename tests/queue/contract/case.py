"""Engines on one backend, their workers, and waiting for what they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.queue.contract.backend import Backend
from tests.queue.contract.node import Node
from tests.support.engine_case import Message, RawWorker, _cancel_batched_timers

#: How long anything may take; what takes longer does not happen.
LIMIT_S = 15.0
LOOK_S = 0.005


class ContractCase(TestCase):
    """An engine with the queue module on a backend, and a caller beside it.

    :cvar backend_class: the backend
    :cvar queues: the named queues
    :cvar settings: of the adapter, in the words of the embedded one
    :cvar needed: without these abilities a backend has none of the tests
    :ivar node: the engine
    """

    timeout = 90
    backend_class: ClassVar[type[Backend]]
    queues: ClassVar[dict[str, dict[str, Any]]] = {}
    settings: ClassVar[dict[str, Any]] = {}
    needed: ClassVar[frozenset[str]] = frozenset()

    async def setUp(self) -> None:
        self._nodes: list[Node] = []
        self.backend = self.backend_class(self)
        self.addCleanup(self._end)
        await self.backend.prepare()
        self.node = await self.start()

    async def _end(self) -> None:
        for node in list(self._nodes):
            await self.stop(node)
        await self.backend.done()
        _cancel_batched_timers()

    # Engines ---------------------------------------------------------------------------

    def configured(self) -> dict[str, dict[str, Any]]:
        """The named queues of the next engine."""
        return self.queues

    async def start(self) -> Node:
        """One more engine over the same data."""
        settings = self.backend.adapter({"backoff_ms": 20, **self.settings})
        node = Node(self.backend.name, settings, self.configured())
        await node.start()
        self._nodes.append(node)
        return node

    async def stop(self, node: Node) -> None:
        """Stop one engine."""
        self._nodes.remove(node)
        await node.stop(self.until)

    async def restart(self) -> None:
        """Stop the engine, start another one over the same data."""
        await self.stop(self.node)
        self.node = await self.start()

    @property
    def caller(self) -> RawWorker:
        """A worker that only calls."""
        return self.node.caller

    # Workers ---------------------------------------------------------------------------

    async def worker(self, *functions: str) -> RawWorker:
        """A connected worker that offers ``functions``."""
        return await self.node.worker(*functions)

    async def subscriber(
        self, function_id: str, topic: str, type: str = "queue", **config: Any
    ) -> RawWorker:
        """A worker whose ``function_id`` gets the messages of ``topic``."""
        worker = await self.worker(function_id)
        await self.subscribe(worker, function_id, topic, type, **config)
        return worker

    async def subscribe(
        self, worker: RawWorker, function_id: str, topic: str, type: str = "queue", **config: Any
    ) -> str:
        """Register a trigger, and wait until the backend knows its group; its id."""
        id = await worker.trigger(type, function_id, {"topic": topic, **config})
        self.assertEqual(self._refused(worker, id), [])

        async def listed() -> bool:
            rows = await worker.call("engine::queue::list_topics")
            return any(row["name"] == topic and row["subscriber_count"] for row in rows)

        await self.until(listed, f"a subscription to {topic}")
        return id

    def _refused(self, worker: RawWorker, id: str) -> list[Message]:
        return [
            message
            for message in worker.inbox
            if message["type"] == "triggerregistrationresult"
            and message["id"] == id
            and "error" in message
        ]

    async def gone(self, worker: RawWorker, node: Node | None = None) -> None:
        """Cut ``worker`` and wait until its engine has cleaned up."""
        await worker.leave()
        workers = (node or self.node).engine.workers

        async def away() -> bool:
            return workers.get(worker.id) is None

        await self.until(away, "the end of a worker")

    # Publishing ------------------------------------------------------------------------

    async def publish(self, topic: str, data: Any, **more: Any) -> Any:
        """``enqueue``."""
        return await self.call("enqueue", {"topic": topic, "data": data, **more})

    async def receipt(self, topic: str, data: Any, **more: Any) -> str:
        """``enqueue`` that asks for a receipt; the receipt."""
        answer = await self.publish(topic, data, receipt=True, **more)
        receipt: str = answer["messageReceiptId"]
        return receipt

    async def enqueue(self, queue: str, function_id: str, data: Any = None, **more: Any) -> str:
        """``action: enqueue``; the receipt."""
        action = {"type": "enqueue", "queue": queue, **more}
        result = await self.call(function_id, data, action=action)
        receipt: str = result["messageReceiptId"]
        return receipt

    async def call(self, function_id: str, data: Any = None, **fields: Any) -> Any:
        """Call a function; its result.

        :raises AssertionError: it failed
        """
        answer = await self._answer(function_id, data, **fields)
        if "error" in answer:
            raise AssertionError(f"{function_id}: {answer['error']}")
        return answer.get("result")

    async def error(self, function_id: str, data: Any = None, **fields: Any) -> Message:
        """Call a function that is to fail; its error."""
        error: Message = (await self._answer(function_id, data, **fields))["error"]
        return error

    async def _answer(self, function_id: str, data: Any, **fields: Any) -> Message:
        id = self.caller.invoke(function_id, data, **fields)
        return await self.caller.result_of(id, LIMIT_S)

    # Consuming -------------------------------------------------------------------------

    async def take(self, worker: RawWorker, count: int = 1) -> list[Message]:
        """The next ``count`` calls that reach ``worker``; they are not answered."""
        return [await worker.expect("invokefunction", LIMIT_S) for _ in range(count)]

    async def data(self, worker: RawWorker, count: int = 1) -> list[Any]:
        """Their data."""
        return [call["data"] for call in await self.take(worker, count)]

    async def handled(self, worker: RawWorker, count: int = 1) -> list[Any]:
        """Answer the next ``count`` calls one after the other; their data."""
        got: list[Any] = []
        for _ in range(count):
            [call] = await self.take(worker)
            got.append(call["data"])
            worker.reply(call, result=None)
        return got

    async def failed(self, worker: RawWorker, count: int = 1, **error: Any) -> list[Any]:
        """Answer the next ``count`` calls with an error; their data."""
        got: list[Any] = []
        for _ in range(count):
            [call] = await self.take(worker)
            got.append(call["data"])
            worker.reply(call, error={"code": "oops", "message": "no", **error})
        return got

    async def gaps_ms(self, worker: RawWorker, calls: int, **error: Any) -> list[float]:
        """Let the next calls fail; the time from each failure to the call after it."""
        gaps: list[float] = []
        failed_at = 0.0
        for number in range(calls):
            [call] = await self.take(worker)
            if number:
                gaps.append((monotonic() - failed_at) * 1000)
            failed_at = monotonic()
            worker.reply(call, error={"code": "oops", "message": "no", **error})
        return gaps

    async def idle(self, *workers: RawWorker) -> None:
        """Nothing is on its way to these workers, and nothing came that was not looked at."""
        for worker in workers:
            await worker.settled()
            calls = [one["data"] for one in worker.inbox if one["type"] == "invokefunction"]
            self.assertEqual(calls, [])

    # Looking ---------------------------------------------------------------------------

    async def stats(self, topic: str) -> dict[str, Any]:
        """``engine::queue::topic_stats``."""
        stats: dict[str, Any] = await self.admin("topic_stats", topic=topic)
        return stats

    async def counts(self, topic: str, **expected: Any) -> dict[str, Any]:
        """Wait until ``topic_stats`` says this; all of what it says."""
        last: dict[str, Any] = {}

        async def so() -> bool:
            last.update(await self.stats(topic))
            return expected.items() <= last.items()

        await self.until(so, lambda: f"{expected} of {topic}, but {last}")
        return last

    async def empty(self, topic: str) -> None:
        """Wait until nothing of a topic or queue waits, is delayed or runs."""
        await self.counts(topic, depth=0)

    async def dead(self, topic: str, count: int, **more: Any) -> list[dict[str, Any]]:
        """Wait until there are ``count`` dead letters; what is told of them."""
        letters: list[dict[str, Any]] = []

        async def so() -> bool:
            letters[:] = await self.admin("dlq_messages", topic=topic, **more)
            return len(letters) == count

        await self.until(so, lambda: f"{count} dead letters of {topic}, but {letters}")
        return letters

    async def admin(self, function: str, **asked: Any) -> Any:
        """``engine::queue::…``."""
        return await self.call(f"engine::queue::{function}", asked)

    async def until(
        self, there: Callable[[], Awaitable[bool]], what: str | Callable[[], str]
    ) -> None:
        """Wait until ``there()``, asking again and again: for what no message announces."""
        ends = monotonic() + LIMIT_S
        while not await there():
            if monotonic() > ends:
                text = what if isinstance(what, str) else what()
                self.fail(f"after {LIMIT_S} s there is not yet {text}")
            await self._look_later()

    async def _look_later(self) -> None:
        passed: Deferred[None] = Deferred()
        reactor.callLater(LOOK_S, passed.callback, None)  # type: ignore[attr-defined]
        await passed
