"""Groups that end, come back, and come while others are on their way."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.rabbitmq.desk import Desk
from tests.queue.rabbitmq.cases import RabbitCase


class Returns(RabbitCase):
    """A group that comes back while it is still being taken away."""

    async def test_what_is_published_afterwards_is_kept(self) -> None:
        """The deletion of the old queue does not take it along."""
        worker = await self.worker("f")
        await self.subscriber("g", "t", "durable:subscriber")
        id = await self.subscribe(worker, "f", "t", "durable:subscriber")
        await self.admin("pause", topic="t")
        reached: Deferred[None] = Deferred()
        go_on: Deferred[None] = Deferred()
        delete = Desk.delete

        async def later(desk: Desk, queue: str, **more: Any) -> int | None:
            if not reached.called:
                reached.callback(None)
                await go_on
            return await delete(desk, queue, **more)

        self.patch(Desk, "delete", later)
        worker.send("unregistertrigger", id=id)
        await reached
        await self.subscribe(worker, "f", "t", "durable:subscriber")
        published = self.caller.invoke("enqueue", {"topic": "t", "data": 1})
        await self.caller.settled()
        await self.counts("t", paused=True)
        go_on.callback(None)
        self.assertNotIn("error", await self.caller.result_of(published, 5.0))
        await self.admin("resume", topic="t")
        self.assertEqual(await self.handled(worker), [1])

    async def test_again_and_again(self) -> None:
        """Whatever overtakes what."""
        worker = await self.worker("f")
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        id = await self.subscribe(worker, "f", "t", "durable:subscriber")
        for number in range(10):
            worker.send("unregistertrigger", id=id)
            await worker.settled()
            id = await self.subscribe(worker, "f", "t", "durable:subscriber")
            await self.publish("t", number)
            self.assertEqual(await self.handled(worker), [number])
            self.assertEqual(await self.handled(keeps), [number])
        await self.empty("t")
        await self.idle(worker, keeps)


class TakingOver(RabbitCase):
    """What a topic kept goes to its first group."""

    async def test_what_comes_later_does_not(self) -> None:
        """A trigger of type ``queue`` that comes meanwhile has its own copies."""
        reached: Deferred[None] = Deferred()
        go_on: Deferred[None] = Deferred()
        size = Desk.size

        async def later(desk: Desk, queue: str) -> tuple[int, int] | None:
            if queue == f"{self.backend.prefix}.t.queue" and not reached.called:
                reached.callback(None)
                await go_on
            return await size(desk, queue)

        await self.publish("t", "kept")
        self.patch(Desk, "size", later)
        one = await self.subscriber("f", "t", "durable:subscriber")
        await reached
        other = await self.subscriber("g", "t")
        published = self.caller.invoke("enqueue", {"topic": "t", "data": "fresh"})
        await self.caller.settled()
        for _ in range(3):
            await self.stats("t")  # so that it could be there, if it were let in
        go_on.callback(None)
        self.assertNotIn("error", await self.caller.result_of(published, 5.0))
        self.assertEqual(sorted(await self.handled(one, 2)), ["fresh", "kept"])
        self.assertEqual(await self.handled(other), ["fresh"])
        await self.idle(one, other)
