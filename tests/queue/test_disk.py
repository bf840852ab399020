"""What is on disk: kills, refusals, stops (08 §1, §4; 03 §1.13)."""

from __future__ import annotations

from iii.modules.queue import journal
from tests.queue.cases import QueueCase
from tests.support.probes import probe


class Kills(QueueCase):
    """Nothing acknowledged is lost."""

    @probe("03.42")
    async def test_what_was_acknowledged_is_delivered(self) -> None:
        """After a kill right after the last receipt."""
        for number in range(300):
            self.caller.send(
                "invokefunction", function_id="enqueue", data={"topic": "t", "data": number}
            )
        await self.publish("t", 300)
        await self.crash()
        worker = await self.subscriber("f", "t")
        self.assertEqual(sorted(await self.handled(worker)), list(range(301)))

    @probe("03.43")
    async def test_what_ran_is_delivered_again(self) -> None:
        """And no attempt is charged."""
        for _ in range(4):
            worker = await self.subscriber("f", "t")
            if _ == 0:
                await self.publish("t", 1)
            self.assertEqual(await self.data(worker), [1])
            await self.crash()
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.handled(worker), [1])
        self.assertEqual(await self.dead("t"), [])

    async def test_what_was_handled_stays_handled(self) -> None:
        """Once the engine has had a moment."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(worker), [1])
        await self.idle()
        await self.crash()
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.calls(worker), [])

    async def test_the_dead_stay_dead(self) -> None:
        """With everything about them."""
        worker = await self.subscriber("f", "t", queue_config={"maxRetries": 0})
        await self.publish("t", 1)
        await self.failed(worker)
        before = await self.dead("t")
        await self.crash()
        self.assertEqual(await self.dead("t"), before)


class Durable(Kills):
    """The same when every answer waits for the disk."""

    durability = "fsync"


class Stops(QueueCase):
    """08 §4: a message is never dead because something stopped."""

    async def test_nothing_more_is_taken(self) -> None:
        """What runs may finish; new messages are kept."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 1})
        await self.publish("t", 1)
        [call] = await self.calls(worker)
        self.module.closing()
        await self.publish("t", 2)
        worker.reply(call, result=None)
        self.assertEqual(await self.calls(worker), [])
        await self.restart()
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.handled(worker), [2])

    async def test_what_doesn_t_finish_costs_no_attempt(self) -> None:
        """It is simply there again."""
        for _ in range(4):
            worker = await self.subscriber("f", "t")
            if _ == 0:
                await self.publish("t", 1)
            self.assertEqual(await self.data(worker), [1])
            await self.restart()
        [row] = await self.admin("messages", topic="t")
        self.assertEqual((row["state"], row["attempts"]), ("waiting", 0))


class Volatile(QueueCase):
    """``store_method: in_memory``: the same, and gone at the stop."""

    settings = {"store_method": "in_memory", "durability": "memory"}

    async def test_it_works_and_leaves_nothing(self) -> None:
        """No file, no message."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(worker), [1])
        await self.publish("u", 1)
        self.assertFalse(self.folder.exists())
        await self.restart()
        self.assertEqual(await self.depth("u"), 0)


class Full(QueueCase):
    """08 §1: a refused write says so."""

    settings = {"max_file_bytes": 256 * 1024}

    async def test_an_enqueue_that_is_not_kept_is_refused(self) -> None:
        """With the adapter's reason; the next one that fits is taken."""
        worker = await self.subscriber("f", "t")
        await self.admin("pause", topic="t")
        big = "x" * 300_000
        error = await self.caller.error_of("enqueue", {"topic": "t", "data": big})
        self.assertEqual(error["code"], "enqueue_error")
        self.assertTrue(error["message"].startswith("builtin: "), error["message"])
        self.assertIn("no space left", error["message"])
        self.assertIn("no space left", await self.refused("default", big))
        await self.publish("t", 1)
        await self.admin("resume", topic="t")
        self.assertEqual(await self.handled(worker), [1])
        self.assertEqual(await self.depth("t"), 0)

    async def test_an_idempotency_key_goes_with_its_message(self) -> None:
        """A refused message may be sent again with its key; who shared it is refused too."""
        big = {"topic": "t", "data": "x" * 300_000, "idempotency_key": "k"}
        ids = [self.caller.invoke("enqueue", big) for _ in range(2)]
        for id in ids:
            self.assertEqual((await self.caller.result_of(id))["error"]["code"], "enqueue_error")
        self.assertFalse((await self.publish("t", 1, idempotency_key="k"))["duplicate"])

    async def test_too_much_at_once_is_refused(self) -> None:
        """Messages wait for the disk in memory, and that has a bound; the key is not used up."""
        patch = self.patch(journal, "MAX_PENDING_BYTES", 100)
        more = {"topic": "t", "data": "x" * 101, "idempotency_key": "k"}
        error = await self.caller.error_of("enqueue", more)
        self.assertEqual(error["code"], "enqueue_error")
        patch.restore()
        self.assertFalse((await self.caller.call("enqueue", more))["duplicate"])
