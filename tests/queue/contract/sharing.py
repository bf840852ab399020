"""Several engines over the same data share the work (03 §1.9, §1.10)."""

from __future__ import annotations

from typing import Any

from tests.queue.contract.backend import FIFO_GROUPS, GLOBAL_ORDER, PAUSE, SHARING, needs
from tests.queue.contract.case import ContractCase
from tests.queue.contract.node import Node
from tests.support.engine_case import Message, RawWorker


class Sharing(ContractCase):
    """Two engines."""

    needed = frozenset((SHARING,))
    queues: dict[str, dict[str, Any]] = {
        "mail": {"concurrency": 2, "max_retries": 0},
        "ledger": {"type": "fifo", "message_group_field": "g", "backoff_ms": 10, "max_retries": 3},
    }
    settings = {"max_attempts": 1}

    async def setUp(self) -> None:
        await super().setUp()
        self.other = await self.start()

    async def subscribed(self, node: Node, function_id: str, topic: str, type: str) -> Any:
        """A worker of ``node`` that gets the messages of ``topic``."""
        worker = await node.worker(function_id)
        await self.subscribe(worker, function_id, topic, type)
        return worker

    async def handled_by(self, workers: tuple[RawWorker, ...], count: int) -> list[Any]:
        """Answer the calls of all these workers until there were so many; their data."""
        got: list[Any] = []

        async def enough() -> bool:
            for worker in workers:
                for call in await self.arrived(worker):
                    got.append(call["data"])
                    worker.reply(call)
            return len(got) >= count

        await self.until(enough, lambda: f"{count} calls, but {got}")
        return got

    async def arrived(self, worker: RawWorker) -> list[Message]:
        """The calls that have reached ``worker``."""
        await worker.settled()
        calls = [message for message in worker.inbox if message["type"] == "invokefunction"]
        for call in calls:
            worker.inbox.remove(call)
        return calls

    async def test_a_named_queue_is_one(self) -> None:
        """Put anywhere, run where there is room; each once."""
        here, there = await self.worker("f"), await self.other.worker("f")
        for number in range(4):
            await self.enqueue("mail", "f", number)
        calls = [(here, c) for c in await self.take(here, 2)]
        calls += [(there, c) for c in await self.take(there, 2)]
        self.assertEqual(sorted(call["data"] for _, call in calls), [0, 1, 2, 3])
        for worker, call in calls:
            worker.reply(call)
        await self.empty("mail")
        await self.idle(here, there)

    async def test_who_has_the_function_runs_it(self) -> None:
        """Wherever it was put."""
        there = await self.other.worker("f")
        for number in range(3):
            await self.enqueue("mail", "f", number)
        self.assertEqual(sorted(await self.handled(there, 3)), [0, 1, 2])
        await self.empty("mail")

    async def test_a_group_is_one(self) -> None:
        """Of a topic: each message to one trigger of the group, whatever its engine."""
        for function, type in (("f", "queue"), ("g", "durable:subscriber")):
            here = await self.subscribed(self.node, function, type, type)
            there = await self.subscribed(self.other, function, type, type)
            for number in range(40):
                await self.publish(type, number)
            got = await self.handled_by((here, there), 40)
            await self.empty(type)
            self.assertEqual(sorted(got), list(range(40)))
            await self.idle(here, there)

    async def test_groups_of_another_engine_get_their_copy(self) -> None:
        """Though nobody here has subscribed."""
        there = await self.subscribed(self.other, "f", "t", "durable:subscriber")
        here = await self.subscribed(self.node, "g", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(there), [1])
        self.assertEqual(await self.handled(here), [1])
        await self.publish("only there", 1)
        later = await self.subscribed(self.other, "h", "only there", "durable:subscriber")
        self.assertEqual(await self.handled(later), [1])
        await self.publish("only there", 2)
        self.assertEqual(await self.handled(later), [2])

    @needs(FIFO_GROUPS, GLOBAL_ORDER)
    async def test_order_is_that_of_the_group(self) -> None:
        """One message of a group at a time, over both engines."""
        workers = [await self.worker("f"), await self.other.worker("f")]
        for number in range(20):
            await self.enqueue("ledger", "f", {"g": "a", "n": number})
        got: list[int] = []

        async def next_one() -> bool:
            calls = [(worker, call) for worker in workers for call in await self.arrived(worker)]
            self.assertLessEqual(len(calls), 1)
            for worker, call in calls:
                got.append(call["data"]["n"])
                failing = len(got) in (1, 5)
                worker.reply(
                    call, **({"error": {"code": "oops", "message": ""}} if failing else {})
                )
            return len(got) == 22

        await self.until(next_one, lambda: f"22 calls, but {got}")
        self.assertEqual(got, sorted(got))
        await self.empty("ledger")

    async def test_an_engine_that_stops_leaves_its_work_to_the_other(self) -> None:
        """No attempt is counted."""
        gone = await self.other.worker("f")
        await self.enqueue("mail", "f", 1)
        self.assertEqual(await self.data(gone), [1])
        here = await self.worker("f")
        await self.stop(self.other)
        self.assertEqual(await self.handled(here), [1])
        await self.empty("mail")
        await self.dead("mail", 0)

    @needs(PAUSE)
    async def test_a_pause_is_everybody_s(self) -> None:
        """And so is its end."""
        here, there = await self.worker("f"), await self.other.worker("f")
        await self.admin("pause", queue="mail")

        async def known() -> bool:
            stats = await self.other.caller.call("engine::queue::topic_stats", {"topic": "mail"})
            return bool(stats["paused"])

        await self.until(known, "a pause of the other engine")
        for number in range(4):
            await self.enqueue("mail", "f", number)
        await self.counts("mail", waiting=4)
        await self.idle(here, there)
        await self.admin("resume", queue="mail")
        for worker in (here, there):
            for call in await self.take(worker, 2):
                worker.reply(call)
        await self.empty("mail")
