"""Groups of a topic whose triggers are on several engines (03 §1.15)."""

from __future__ import annotations

from tests.queue.redis.cases import RedisQueueCase


class Groups(RedisQueueCase):
    """Two engines."""

    async def setUp(self) -> None:
        await super().setUp()
        self.other = await self.start()

    async def test_a_group_ends_with_its_last_trigger_anywhere(self) -> None:
        """What it has is not thrown away by the engine that goes first."""
        here = await self.subscriber("f", "t", "durable:subscriber")
        there = await self.other.worker("f")
        id = await self.subscribe(there, "f", "t", "durable:subscriber")
        await self.admin("pause", topic="t")
        await self.publish("t", 1)
        there.send("unregistertrigger", id=id)
        await there.settled()
        await self.admin("resume", topic="t")
        self.assertEqual(await self.handled(here), [1])
        await self.publish("t", 2)
        self.assertEqual(await self.handled(here), [2])
        await self.empty("t")

    async def test_a_new_group_takes_nothing_from_another_engine_s(self) -> None:
        """What waits for the ``queue`` triggers over there is theirs."""
        here = await self.subscriber("f", "t")
        await self.gone(here)
        await self.publish("t", 1)
        there = await self.other.worker("g")
        await self.subscribe(there, "g", "t", "durable:subscriber")
        await self.publish("t", 2)
        self.assertEqual(await self.handled(there), [2])
        await self.idle(there)
        here = await self.subscriber("f", "t")
        self.assertEqual(sorted(await self.handled(here, 2)), [1, 2])
        await self.empty("t")

    async def test_what_an_ended_group_leaves_is_not_for_the_others(self) -> None:
        """They have their own copies, also those on another engine."""
        there = await self.other.worker("g")
        await self.subscribe(there, "g", "t", "durable:subscriber")
        here = await self.worker("f")
        id = await self.subscribe(here, "f", "t", "durable:subscriber")
        await self.admin("pause", topic="t::f")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(there), [1])
        here.send("unregistertrigger", id=id)
        await here.settled()
        await self.empty("t")
        await self.idle(there)

    async def test_moved_messages_reach_the_groups_of_another_engine(self) -> None:
        """``engine::queue::move`` to a topic that only they subscribe to."""
        there = await self.other.worker("g")
        await self.subscribe(there, "g", "t", "durable:subscriber")
        await self.publish("old", 1)
        self.assertEqual(await self.admin("move", **{"from": "old", "to": "t"}), {"moved": 1})
        self.assertEqual(await self.handled(there), [1])
