"""An adapter that does the least plugs in (decision 38)."""

from __future__ import annotations

from iii.modules.queue.adapter import QueueAdapter
from tests.queue.cases import QueueCase
from tests.queue.dict_adapter import DictAdapter


class Custom(QueueCase):
    """The module over a dict."""

    queues = {"mail": {"concurrency": 2, "max_retries": 2}}

    def make_adapter(self) -> QueueAdapter:
        """QueueCase: the dict."""
        return DictAdapter({"max_attempts": 2})

    async def test_topics(self) -> None:
        """Held messages, groups, retries."""
        await self.publish("t", 0)
        worker = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        self.assertEqual(await self.handled(worker), [0])
        await self.publish("t", 1)
        self.assertEqual(await self.failed(worker), [1])
        self.assertEqual(await self.handled(other), [1])
        await self.advance(1.01)
        self.assertEqual(await self.handled(worker), [1])

    async def test_named_queues(self) -> None:
        """Waiting for a worker, slots."""
        for number in range(3):
            await self.enqueue("mail", "f", number)
        worker = await self.worker("f")
        self.assertEqual(await self.data(worker), [0, 1])
        self.assertEqual((await self.stats("mail"))["depth"], 3)
        await self.gone(worker)
        worker = await self.worker("f")
        self.assertEqual(len(await self.handled(worker)), 3)

    async def test_what_it_lacks_is_said(self) -> None:
        """``not_supported``."""
        for function in ("pause", "purge", "dlq_messages", "messages"):
            error = await self.caller.error_of(f"engine::queue::{function}", {"topic": "t"})
            self.assertEqual(error["code"], "not_supported")
            self.assertIn("'dict'", error["message"])
        self.assertEqual(len(await self.admin("list_topics")), 2)
