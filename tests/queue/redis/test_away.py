"""Redis goes away and comes back (issue 7, part 1)."""

from __future__ import annotations

import shutil
from time import monotonic
from typing import Any

from tests.queue.redis.cases import RedisQueueCase

#: Redis keeps what it acknowledged.
SAFE = ("--appendonly", "yes", "--appendfsync", "always")


class Away(RedisQueueCase):
    """Killed and started again."""

    options = SAFE
    queues: dict[str, dict[str, Any]] = {
        "mail": {"max_retries": 2, "backoff_ms": 10, "concurrency": 3}
    }

    async def test_an_enqueue_fails_at_once_and_says_why(self) -> None:
        """Nothing hangs, nothing is acknowledged."""
        self.server.kill()
        await self.away()
        began = monotonic()
        action = {"type": "enqueue", "queue": "mail"}
        for error in (
            await self.error("f", 1, action=action),
            await self.error("enqueue", {"topic": "t", "data": 1}),
        ):
            self.assertEqual(error["code"], "enqueue_error")
            self.assertRegex(error["message"], "^redis: .*can't be reached")
        self.assertLess(monotonic() - began, 2)
        self.server.start()
        await self.back()
        await self.enqueue("mail", "f", 2)
        worker = await self.worker("f")
        self.assertEqual(await self.handled(worker), [2])
        await self.empty("mail")

    async def test_what_was_acknowledged_is_there_afterwards(self) -> None:
        """And delivery goes on without a restart of the engine."""
        worker = await self.subscriber("f", "t")
        receipts = [await self.receipt("held", number) for number in range(50)]
        self.server.kill()
        await self.away()
        self.server.start()
        await self.back()
        rows = await self.admin("messages", topic="held", limit=100)
        self.assertEqual([row["id"] for row in rows], receipts)
        await self.publish("t", 1)
        self.assertEqual(await self.handled(worker), [1])

    async def test_results_are_kept_until_redis_is_back(self) -> None:
        """Done is done, and a failed attempt counts; neither runs a second time for it."""
        worker = await self.worker("f", "g", "h")
        for name in "fgh":
            await self.enqueue("mail", name, name)
        calls = {call["function_id"]: call for call in await self.take(worker, 3)}
        self.server.kill()
        await self.away()
        worker.reply(calls["f"])
        worker.reply(calls["g"], error={"code": "oops", "message": "no"})
        await worker.settled()
        self.server.start()
        await self.back()
        self.assertEqual(await self.data(worker), ["g"])
        await self.counts("mail", active=2, waiting=0)
        self.assertEqual((await self.stats("mail"))["delivered"], 1)
        worker.reply(calls["h"])
        await self.counts("mail", active=1)
        await self.idle(worker)

    async def test_a_trigger_may_come_meanwhile(self) -> None:
        """Its group is known when Redis is back."""
        self.server.kill()
        await self.away()
        worker = await self.worker("f")
        await worker.trigger("durable:subscriber", "f", {"topic": "t"})
        self.server.start()
        await self.back()
        await self.publish("t", 1)
        self.assertEqual(await self.handled(worker), [1])

    async def test_a_redis_that_forgot_everything_is_told_again(self) -> None:
        """Groups and settings; messages are gone, as whoever runs it has decided."""
        worker = await self.subscriber("f", "t", "durable:subscriber")
        self.server.kill()
        shutil.rmtree(self.server.directory / "appendonlydir")
        await self.away()
        self.server.start()
        await self.back()
        await self.publish("t", 1)
        self.assertEqual(await self.handled(worker), [1])
        await self.enqueue("mail", "f", 2)
        self.assertEqual(await self.handled(worker), [2])

    async def test_forgotten_scripts_are_sent_again(self) -> None:
        """``SCRIPT FLUSH``."""
        worker = await self.worker("f")
        self.server.ask("SCRIPT", "FLUSH")
        await self.enqueue("mail", "f", 1)
        self.assertEqual(await self.handled(worker), [1])
        await self.empty("mail")

    async def test_a_silent_redis_is_given_up(self) -> None:
        """It neither answers nor hangs up: a put fails after 5 s."""
        self.server.freeze()
        began = monotonic()
        error = await self.error("enqueue", {"topic": "t", "data": 1})
        self.server.thaw()
        self.assertEqual(error["code"], "enqueue_error")
        self.assertLess(monotonic() - began, 10)
        await self.back()


class Full(RedisQueueCase):
    """``maxmemory`` is used up."""

    options = ("--maxmemory-policy", "noeviction")
    queues: dict[str, dict[str, Any]] = {"mail": {"concurrency": 2}}

    async def test_puts_are_refused_and_work_goes_on_afterwards(self) -> None:
        """What is there is not lost, and what was done while it was full is not repeated."""
        worker = await self.worker("f")
        for number in range(4):
            await self.enqueue("mail", "f", number)
        calls = await self.take(worker, 2)
        self.server.ask("CONFIG", "SET", "maxmemory", "1")
        action = {"type": "enqueue", "queue": "mail"}
        error = await self.error("f", 9, action=action)
        self.assertEqual(error["code"], "enqueue_error")
        self.assertIn("OOM", error["message"])
        for call in calls:
            worker.reply(call)
        await worker.settled()
        self.server.ask("CONFIG", "SET", "maxmemory", "0")
        self.assertEqual(await self.handled(worker, 2), [2, 3])
        await self.empty("mail")
        await self.idle(worker)
        self.flushLoggedErrors()
