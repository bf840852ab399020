"""Retries and waits: where a message is until its time has come."""

from __future__ import annotations

from typing import Any

from iii.modules.queue.adapters.rabbitmq import retries
from iii.modules.queue.names import named
from tests.queue.rabbitmq.cases import RabbitCase
from tests.support.engine_case import RawWorker

BACKOFF_MS = 500


class WaitCase(RabbitCase):
    """A named queue whose messages are tried three times."""

    queues = {"mail": {"max_retries": 2, "backoff_ms": BACKOFF_MS}}

    def wait(self, ms: int = BACKOFF_MS) -> str:
        """What the broker calls a wait of the queue."""
        return f"{self.named('mail')}::retry.{ms}.queue"

    def lane(self) -> Any:
        """The queue at work."""
        return self.node.module.adapter._lanes[named("mail")]

    async def fail_once(self, *data: Any) -> RawWorker:
        """Messages with one failed attempt."""
        worker = await self.worker("f")
        for one in data:
            await self.enqueue("mail", "f", one)
        await self.failed(worker, len(data))
        await worker.settled()
        return worker


class Held(WaitCase):
    """A short back-off is waited for in the engine; the message stays unacknowledged."""

    async def test_no_queue_of_the_broker_passes_it_on(self) -> None:
        """It goes from its queue into its queue."""
        worker = await self.fail_once(1)
        await self.counts("mail", delayed=1)
        client = self.beside()
        self.assertFalse(client.is_there(self.wait()))
        self.assertIsNone(client.get(f"{self.named('mail')}::retry.queue"))
        [row] = await self.admin("messages", topic="mail", state="delayed")
        self.assertEqual((row["payload"], row["attempts"]), (1, 1))
        self.assertEqual(await self.handled(worker), [1])
        await self.counts("mail", depth=0, delivered=1)

    async def test_the_attempt_counts_once_when_the_channel_ends(self) -> None:
        """The message that comes again goes on waiting; it has three attempts in all."""
        worker = await self.fail_once(1)
        self.lane().consumer._channel.basic_ack(99_999)  # a protocol error
        await self.failed(worker, 2)
        [letter] = await self.dead("mail", 1)
        self.assertEqual(letter["retries"], 3)
        await self.idle(worker)

    async def test_the_attempt_counts_after_a_stop(self) -> None:
        """The next engine makes the other two."""
        await self.fail_once(1)
        await self.restart()
        worker = await self.worker("f")
        await self.failed(worker, 2)
        [letter] = await self.dead("mail", 1)
        self.assertEqual(letter["retries"], 3)
        await self.idle(worker)

    async def test_purge(self) -> None:
        """Of what is delayed."""
        worker = await self.fail_once(1, 2)
        await self.counts("mail", delayed=2)
        answer = await self.admin("purge", topic="mail", state="delayed")
        self.assertEqual(answer["purged"], 2)
        await self.counts("mail", delayed=0, depth=0)
        await self.enqueue("mail", "f", 3)
        self.assertEqual(await self.handled(worker), [3])

    async def test_what_is_too_much_waits_on_the_broker(self) -> None:
        """And comes again just so."""
        self.patch(retries, "MAX_HELD_RETRIES", 1)
        worker = await self.fail_once(1, 2, 3)
        await self.counts("mail", delayed=3)
        self.assertTrue(self.beside().is_there(self.wait()))
        self.assertEqual(sorted(await self.handled(worker, 3)), [1, 2, 3])
        await self.counts("mail", depth=0, delayed=0)

    async def test_others_are_not_kept_waiting(self) -> None:
        """More may be held than run at once."""
        data = list(range(15))
        worker = await self.fail_once(*data)
        await self.enqueue("mail", "f", "x")
        got = await self.handled(worker, 16)
        self.assertEqual(got[0], "x")
        self.assertEqual(sorted(got[1:]), data)


class Waits(WaitCase):
    """A long back-off, and a delay, are waited for on the broker."""

    async def setUp(self) -> None:
        await super().setUp()
        self.patch(retries, "LONGEST_HELD_MS", -1)

    async def test_a_wait_is_a_plain_queue(self) -> None:
        """Nothing in it is dead-lettered: what a broker passes on it may lose."""
        worker = await self.fail_once(1)
        await self.counts("mail", delayed=1)
        self.assertTrue(self.beside().queue(self.wait()))
        for gap_ms in await self.gaps_ms(worker, 2):
            self.assertGreaterEqual(gap_ms, BACKOFF_MS - 1)
        [letter] = await self.dead("mail", 1)
        self.assertEqual(letter["retries"], 3)

    async def test_many_at_once(self) -> None:
        """All of them come when their time has come."""
        worker = await self.fail_once(*range(150))
        self.assertEqual(sorted(await self.handled(worker, 150)), list(range(150)))
        await self.counts("mail", depth=0, delayed=0)

    async def test_another_engine_passes_on_what_one_has_put(self) -> None:
        """When that is gone."""
        other = await self.start()
        await self.fail_once(1)
        await self.stop(self.node)
        self.node = other
        worker = await self.worker("f")
        self.assertEqual(await self.handled(worker), [1])

    async def test_what_nobody_can_read_is_dead(self) -> None:
        """And what is behind it goes on."""
        worker = await self.fail_once(1)
        await self.counts("mail", delayed=1)
        self.beside().publish("", self.wait(), b"\xff{", {"function_id": "f"}, message_id="m1")
        self.assertEqual(await self.handled(worker), [1])
        await self.enqueue("mail", "f", 2)
        self.assertEqual(await self.failed(worker), [2])
        self.assertEqual(await self.handled(worker), [2])
        [letter] = await self.dead("mail", 1)
        self.assertEqual((letter["id"], letter["code"]), ("m1", "deserialization_error"))

    async def test_a_delay_is_made_of_waits(self) -> None:
        """Of a named queue and of a topic; neither comes early."""
        worker = await self.subscriber("f", "t")
        await self.enqueue("mail", "f", "mail", delay_ms=1_200)
        await self.publish("t", "t", delay_ms=1_200)
        await self.counts("mail", delayed=1)
        await self.counts("t", delayed=1)
        self.assertEqual(sorted(await self.handled(worker, 2)), ["mail", "t"])
