"""The broker goes away, hangs, closes a channel (03 §1.10, §6.10)."""

from __future__ import annotations

from time import monotonic
from typing import Any, ClassVar

from iii.modules.queue.adapters.rabbitmq import retries
from iii.rabbitmq import desk, publisher
from tests.queue.contract.rabbitmq import RabbitMQ
from tests.queue.rabbitmq.cases import RabbitCase
from tests.support.probes import probe
from tests.support.rabbitmq import RabbitServer, unique_prefix


class OwnBroker(RabbitMQ):
    """A broker that may be stopped: one for all tests of this file."""

    own: ClassVar[RabbitServer | None] = None

    async def prepare(self) -> None:
        """RabbitMQ: not the one that all tests share."""
        if OwnBroker.own is None:
            OwnBroker.own = RabbitServer()
        self.broker = OwnBroker.own
        self.prefix = unique_prefix()


class Restarts(RabbitCase):
    """Everything comes back by itself."""

    backend_class = OwnBroker
    backend: OwnBroker
    queues = {"mail": {"max_retries": 0}, "again": {"max_retries": 3, "backoff_ms": 100}}

    @probe("03.49")
    async def test_the_broker_is_killed_and_comes_back(self) -> None:
        """Refused at once meanwhile; nothing confirmed is lost; consumers go on."""
        worker = await self.subscriber("f", "t")
        durable = await self.subscriber("g", "t", "durable:subscriber")
        await self.admin("pause", queue="mail")
        await self.admin("pause", topic="t")
        for number in range(20):
            await self.enqueue("mail", "f", number)
            await self.publish("t", number)
        self.backend.broker.kill()
        started = monotonic()
        error = await self.error("f", 1, action={"type": "enqueue", "queue": "mail"})
        self.assertEqual(error["code"], "enqueue_error")
        self.assertIn("rabbitmq: ", error["message"])
        error = await self.error("enqueue", {"topic": "t", "data": 1})
        self.assertEqual(error["code"], "enqueue_error")
        error = await self.error("engine::queue::topic_stats", {"topic": "t"})
        self.assertEqual(error["code"], "topic_stats_failed")
        self.assertLess(monotonic() - started, 10)
        self.backend.broker.start()

        async def back() -> bool:
            answer = await self._answer("enqueue", {"topic": "t", "data": "back"})
            return "error" not in answer

        await self.until(back, "an enqueue after the broker came back")
        await self.admin("resume", queue="mail")
        await self.admin("resume", topic="t")
        got = await self.handled(worker, 41)
        self.assertEqual(sorted(map(str, got)), sorted([*map(str, [*range(20)] * 2), "back"]))
        self.assertEqual(len(await self.handled(durable, 21)), 21)
        await self.empty("mail")
        await self.empty("t")

    async def test_a_broker_that_hangs(self) -> None:
        """It counts as away, and comes back."""
        self.patch(publisher, "CONFIRM_LIMIT_S", 0.5)
        self.patch(desk, "ANSWER_LIMIT_S", 0.5)
        self.backend.broker.freeze()
        self.addCleanup(self.backend.broker.thaw)
        errors = []

        async def refused() -> bool:
            action = {"type": "enqueue", "queue": "mail"}
            answer = await self._answer("f", 1, action=action)
            errors.append(answer.get("error", {"code": None}))
            return "error" in answer

        await self.until(refused, "a refusal")
        self.assertEqual(errors[-1]["code"], "enqueue_error")
        self.assertIn("to RabbitMQ was lost", errors[-1]["message"])
        self.backend.broker.thaw()
        worker = await self.worker("f")
        await self.enqueue_when_back()
        while "back" not in await self.handled(worker):
            continue  # what was not confirmed may have been kept
        await self.empty("mail")

    async def test_what_runs_while_the_broker_is_away_is_not_run_twice(self) -> None:
        """Its end is told when the message comes again."""
        worker = await self.worker("f")
        for number in range(2):
            await self.enqueue("mail", "f", number)
        one, other = await self.take(worker, 2)
        self.backend.broker.kill()
        worker.reply(one, result=None)
        await worker.settled()
        self.backend.broker.start()
        worker.reply(other, result=None)
        await self.enqueue_when_back()
        self.assertEqual(await self.handled(worker), ["back"])
        await self.counts("mail", depth=0, delivered=3)
        await self.idle(worker)

    async def test_no_retry_is_lost_when_the_broker_is_killed(self) -> None:
        """Neither those that are held nor those that wait on the broker."""
        self.patch(retries, "MAX_HELD_RETRIES", 15)
        worker = await self.worker("f")
        for number in range(30):
            await self.enqueue("again", "f", number)
        await self.failed(worker, 30)
        await worker.settled()
        self.backend.broker.kill()
        self.backend.broker.start()
        await self.enqueue_when_back()
        got: set[Any] = set()
        while len(got) < 31:
            got |= set(await self.handled(worker))
        self.assertEqual(got, {*range(30), "back"})
        await self.counts("again", depth=0, delayed=0)

    async def enqueue_when_back(self) -> None:
        """Put a message as soon as that is possible."""

        async def back() -> bool:
            action = {"type": "enqueue", "queue": "mail"}
            return "error" not in await self._answer("f", "back", action=action)

        await self.until(back, "an enqueue after the broker came back")


class Channels(RabbitCase):
    """What happens to one channel concerns nobody else."""

    queues = {"mail": {"max_retries": 0}, "prio": {"max_priority": 9, "concurrency": 1}}

    @probe("03.50")
    async def test_looking_at_what_is_not_there(self) -> None:
        """Disturbs no consumer."""
        worker = await self.subscriber("f", "t")
        for name in ("nothing", "x::y", "__fn_queue::no"):
            stats = await self.stats(name)
            self.assertEqual((stats["depth"], stats["dlq_depth"]), (0, 0))
            self.assertEqual(await self.admin("dlq_messages", topic=name), [])
        await self.publish("t", 1)
        await self.enqueue("mail", "f", 2)
        self.assertEqual(sorted(await self.handled(worker, 2)), [1, 2])

    async def test_a_channel_that_the_broker_closes(self) -> None:
        """As after its delivery acknowledgement timeout: the handler goes on, once."""
        worker = await self.worker("f")
        await self.enqueue("mail", "f", 1)
        [call] = await self.take(worker)
        adapter = self.node.module.adapter
        [lane] = [lane for queue, lane in adapter._lanes.items() if queue.name == "mail"]
        [job] = lane.running.values()
        first = job.delivery
        lane.consumer._channel.basic_ack(99_999)  # a protocol error

        async def again() -> bool:
            return job.delivery is not first

        await self.until(again, "another delivery of the same message")
        worker.reply(call, result=None)
        await self.counts("mail", depth=0, delivered=1)
        await self.idle(worker)

    async def test_a_queue_that_somebody_deletes(self) -> None:
        """It is declared again; what comes afterwards is delivered."""
        worker = await self.worker("f")
        await self.enqueue("mail", "f", 1)
        self.assertEqual(await self.handled(worker), [1])
        await self.empty("mail")
        client = self.beside()
        client._channel.queue_delete(f"{self.named('mail')}.queue")
        await self.enqueue("mail", "f", 2)
        self.assertEqual(await self.handled(worker), [2])

    async def test_priorities(self) -> None:
        """With ``max_priority``: higher first, 4 when nothing is said; without, refused."""
        await self.admin("pause", queue="prio")
        for number, priority in enumerate((None, 0, 9, 4, 9, 5)):
            more = {} if priority is None else {"priority": priority}
            await self.enqueue("prio", "f", number, **more)
        worker = await self.worker("f")
        await self.admin("resume", queue="prio")
        self.assertEqual(await self.handled(worker, 6), [2, 4, 5, 0, 3, 1])
        action = {"type": "enqueue", "queue": "mail", "priority": 9}
        error = await self.error("f", 1, action=action)
        self.assertIn("max_priority", error["message"])

    async def test_an_idempotency_key_is_refused(self) -> None:
        """Nothing is stored."""
        error = await self.error("enqueue", {"topic": "t", "data": 1, "idempotency_key": "k"})
        self.assertEqual(error["code"], "not_supported")
        self.assertIn("idempotency", error["message"])
