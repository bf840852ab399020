"""03 §1.9, §1.13: who dies leaves its messages to the others, and no attempt counts."""

from __future__ import annotations

from time import monotonic
from typing import Any

from tests.queue.redis.cases import RedisQueueCase


class Leases(RedisQueueCase):
    """Two engines; one of them loses its connection and never gets it back."""

    queues: dict[str, dict[str, Any]] = {
        "mail": {"max_retries": 0, "concurrency": 3},
        "ledger": {"type": "fifo", "message_group_field": "g", "concurrency": 5},
    }
    settings = {"lease_ms": 900, "max_attempts": 1}

    async def setUp(self) -> None:
        await super().setUp()
        self.other = await self.start()

    async def test_what_a_dead_engine_had_comes_again(self) -> None:
        """When its lease has run out, once, with all attempts left."""
        gone = await self.other.worker("f")
        for number in range(3):
            await self.enqueue("mail", "f", number)
        self.assertEqual(sorted(await self.data(gone, 3)), [0, 1, 2])
        here = await self.worker("f")
        self.cut(self.other)
        self.assertEqual(sorted(await self.handled(here, 3)), [0, 1, 2])
        await self.empty("mail")
        await self.dead("mail", 0)
        await self.idle(here)

    async def test_the_group_of_a_dead_engine_goes_on(self) -> None:
        """In order."""
        gone = await self.other.worker("f")
        for number in range(3):
            await self.enqueue("ledger", "f", {"g": "a", "n": number})
        self.assertEqual(await self.data(gone), [{"g": "a", "n": 0}])
        here = await self.worker("f")
        self.cut(self.other)
        self.assertEqual([one["n"] for one in await self.handled(here, 3)], [0, 1, 2])
        await self.empty("ledger")

    async def test_a_lease_goes_on_while_the_handler_runs(self) -> None:
        """However long it takes: the message is nobody else's."""
        slow, other = await self.worker("f"), await self.other.worker("f")
        await self.enqueue("mail", "f", 1)
        [call] = await self.take(slow)
        began = monotonic()

        async def long_enough() -> bool:
            return monotonic() - began > 2.5

        await self.until(long_enough, "a long time")
        await self.idle(slow, other)
        slow.reply(call)
        await self.empty("mail")
        await self.idle(slow, other)

    async def test_what_was_done_too_late_is_done_all_the_same(self) -> None:
        """The lease ran out, nobody else has it yet: it does not run again."""
        worker = await self.other.worker("f")
        await self.enqueue("mail", "f", 1)
        [call] = await self.take(worker)
        await self.admin("pause", queue="mail")
        adapter: Any = self.other.module.adapter
        adapter._leases.stop()
        await self.counts("mail", waiting=1, active=0)
        worker.reply(call)
        await self.empty("mail")
        await self.idle(worker)


class Outage(RedisQueueCase):
    """Redis itself was away for longer than the lease."""

    options = ("--appendonly", "yes", "--appendfsync", "always")
    settings = {"lease_ms": 3_000}

    async def test_nobody_s_message_is_taken_away(self) -> None:
        """Who comes back renews first; then it is looked whose lease has run out."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1)
        [call] = await self.take(worker)
        adapter: Any = self.node.module.adapter
        adapter._leases.stop()
        [id] = self.server.ask("ZRANGE", "iii:{q:t}:active", "0", "-1")
        self.server.ask("ZADD", "iii:{q:t}:active", "1", id)
        self.server.kill()
        await self.away()
        self.server.start()
        await self.back()
        back_at = monotonic()

        async def judged() -> bool:
            return monotonic() - back_at > 1.5

        await self.until(judged, "time for everybody to look")
        await self.counts("t", active=1, waiting=0)
        await self.idle(worker)
        worker.reply(call)
        await self.empty("t")
        await self.idle(worker)
