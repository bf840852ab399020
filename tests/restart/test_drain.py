"""08 §4: a worker that is drained leaves its messages to others."""

from __future__ import annotations

from tests.queue.cases import QueueCase


class Draining(QueueCase):
    """Queues know who is about to leave."""

    queues = {"work": {"type": "standard", "concurrency": 2}}

    async def enqueue_job(self, number: int) -> None:
        action = {"type": "enqueue", "queue": "work"}
        await self.caller.result_of(self.caller.invoke("t::job", number, action=action))

    async def test_messages_wait_for_the_successor(self) -> None:
        """Who comes while the old one still works on its last message gets the next."""
        leaving = await self.worker("t::job")
        await self.enqueue_job(1)
        last = await leaving.invoked("t::job")
        drained = leaving.invoke("engine::workers::drain", {})
        await leaving.settled()
        await self.enqueue_job(2)
        await self.pause(0.05)
        await leaving.settled()
        self.assertEqual(leaving.inbox, [])
        successor = await self.worker("t::job")
        call = await successor.invoked("t::job")
        self.assertEqual(call["data"], 2)
        successor.reply(call, result=None)
        leaving.reply(last, result=None)
        self.assertEqual((await leaving.result_of(drained))["result"]["drained"], True)
        stats = await self.caller.call("engine::queue::topic_stats", {"topic": "__fn_queue::work"})
        self.assertEqual((stats["depth"], stats["dlq_depth"]), (0, 0))
