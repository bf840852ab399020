"""Lists, counts, pause, purge, move (03 §1.4, §1.16)."""

from __future__ import annotations

from time import time

from tests.queue.contract.backend import ACTIVE, DELAY, MESSAGES, MOVE, PAUSE, PURGE, needs
from tests.queue.contract.case import ContractCase
from tests.support.probes import probe

LATER_MS = 3_600_000


class Lists(ContractCase):
    """03 §1.4: what there is."""

    queues = {"mail": {"concurrency": 4}}

    @probe("03.39")
    async def test_topics(self) -> None:
        """Sorted; named queues once, with their concurrency; names are whole."""
        await self.subscriber("f", "a::b")
        await self.subscriber("g", "a::b", "durable:subscriber")
        await self.publish("lonely", 1)
        kind = self.backend.name
        expected = [
            {"name": "a::b", "broker_type": kind, "subscriber_count": 2},
            {"name": "default", "broker_type": "function_queue", "subscriber_count": 10},
            {"name": "lonely", "broker_type": kind, "subscriber_count": 0},
            {"name": "mail", "broker_type": "function_queue", "subscriber_count": 4},
        ]

        async def so() -> bool:
            return bool(await self.admin("list_topics") == expected)

        await self.until(so, "the expected list")
        rows = await self.admin("dlq_topics")
        self.assertEqual([row["topic"] for row in rows], [row["name"] for row in expected])
        self.assertEqual([row["message_count"] for row in rows], [0] * 4)

    async def test_what_is_unknown_has_nothing(self) -> None:
        """And asking for it disturbs nobody (03.50)."""
        worker = await self.subscriber("f", "t")
        stats = await self.stats("unknown")
        known = ("depth", "consumer_count", "dlq_depth", "config")
        self.assertEqual([stats[key] for key in known], [0, 0, 0, None])
        self.assertEqual(await self.admin("dlq_messages", topic="unknown"), [])
        answer = await self.call("iii::queue::redrive", {"queue": "unknown"})
        self.assertEqual(answer["redriven"], 0)
        for name in ("t", "mail"):
            await self.stats(name)
        await self.publish("t", 1)
        self.assertEqual(await self.handled(worker), [1])

    async def test_what_is_counted(self) -> None:
        """Waiting, delayed and running are the depth."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 1})
        for number in range(3):
            await self.publish("t", number)
        expected = {"depth": 3, "waiting": 2, "delayed": 0, "active": 1}
        if DELAY in self.backend.abilities:
            await self.publish("t", 3, delay_ms=LATER_MS)
            expected |= {"depth": 4, "delayed": 1}
        [call] = await self.take(worker)
        stats = await self.counts("t", **expected, consumer_count=1)
        self.assertEqual((stats["delivered"], stats["failed"]), (0, 0))
        worker.reply(call)
        await self.handled(worker, 2)
        await self.counts("t", active=0, waiting=0, delivered=3, failed=0)

    @needs(MESSAGES, ACTIVE, DELAY)
    async def test_messages(self) -> None:
        """In every state, without side effects."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 1})
        for number in range(3):
            await self.publish("t", number)
        await self.publish("t", 3, delay_ms=LATER_MS)
        await self.counts("t", active=1, waiting=2, delayed=1)
        rows = await self.admin("messages", topic="t")
        self.assertEqual(
            [(row["payload"], row["state"]) for row in rows],
            [(0, "active"), (1, "waiting"), (2, "waiting"), (3, "delayed")],
        )
        for row in rows:
            self.assertLessEqual(abs(row["created_at_ms"] - time() * 1000), 15_000)
            self.assertEqual(row["attempts"], 0)
        self.assertAlmostEqual(rows[3]["due_at_ms"], rows[3]["created_at_ms"] + LATER_MS, delta=100)
        for state, expected in (("active", [0]), ("waiting", [1, 2]), ("delayed", [3])):
            rows = await self.admin("messages", topic="t", state=state)
            self.assertEqual([row["payload"] for row in rows], expected)
        rows = await self.admin("messages", topic="t", offset=1, limit=2)
        self.assertEqual([row["payload"] for row in rows], [1, 2])
        self.assertEqual(await self.handled(worker, 3), [0, 1, 2])

    @needs(MESSAGES)
    async def test_looking_changes_nothing(self) -> None:
        """Waiting messages stay in their order."""
        for number in range(5):
            await self.enqueue("mail", "f", number)
        await self.counts("mail", depth=5)
        for _ in range(3):
            rows = await self.admin("messages", queue="mail", state="waiting", limit=3)
            self.assertEqual([row["payload"] for row in rows], [0, 1, 2])
            self.assertEqual({row["function_id"] for row in rows}, {"f"})
        worker = await self.worker("f")
        self.assertEqual(await self.handled(worker, 5), list(range(5)))


class Mending(ContractCase):
    """03 §1.16."""

    queues = {"mail": {}, "other": {}}

    @needs(PAUSE)
    async def test_pause_and_resume(self) -> None:
        """Also over a restart."""
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.admin("pause", topic="t"), {"paused": True})
        await self.publish("t", 1)
        await self.counts("t", waiting=1, paused=True)
        await self.enqueue("mail", "f", "other")
        self.assertEqual(await self.handled(worker), ["other"])
        await self.idle(worker)
        await self.restart()
        worker = await self.subscriber("f", "t")
        await self.counts("t", waiting=1, paused=True)
        await self.idle(worker)
        self.assertEqual(await self.admin("resume", topic="t"), {"paused": False})
        self.assertEqual(await self.handled(worker), [1])
        await self.counts("t", depth=0, paused=False)

    @needs(PAUSE)
    async def test_pause_of_a_named_queue(self) -> None:
        """What runs goes on."""
        worker = await self.worker("f")
        await self.enqueue("mail", "f", 1)
        [call] = await self.take(worker)
        await self.admin("pause", queue="mail")
        await self.enqueue("mail", "f", 2)
        worker.reply(call)
        await self.counts("mail", depth=1, waiting=1, paused=True)
        await self.idle(worker)
        await self.admin("resume", queue="mail")
        self.assertEqual(await self.handled(worker), [2])

    @needs(PAUSE)
    async def test_one_group_may_be_paused(self) -> None:
        """``topic::function``; a new trigger doesn't end that."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        await self.admin("pause", topic="t::f")
        await self.subscribe(one, "f", "t", "durable:subscriber", queue_config={"x": 1})
        await self.publish("t", 1)
        self.assertEqual(await self.handled(other), [1])
        await self.counts("t", depth=1)
        await self.idle(one)
        await self.admin("resume", topic="t")
        self.assertEqual(await self.handled(one), [1])

    @needs(PURGE)
    async def test_purge(self) -> None:
        """What waits goes; what runs goes on."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 1})
        for number in range(50):
            await self.publish("t", number)
        [call] = await self.take(worker)
        await self.counts("t", depth=50, active=1)
        if DELAY in self.backend.abilities:
            await self.publish("t", "later", delay_ms=LATER_MS)
            self.assertEqual(await self.admin("purge", topic="t", state="delayed"), {"purged": 1})
        self.assertEqual(await self.admin("purge", topic="t"), {"purged": 49})
        worker.reply(call)
        await self.empty("t")
        await self.idle(worker)

    @needs(MOVE, PAUSE)
    async def test_move_between_queues(self) -> None:
        """In order, up to a limit."""
        await self.admin("pause", queue="mail")
        worker = await self.worker("f")
        for number in range(5):
            await self.enqueue("mail", "f", number)
        await self.counts("mail", depth=5)
        answer = await self.admin("move", **{"from": "mail", "to": "other", "limit": 3})
        self.assertEqual(answer, {"moved": 3})
        self.assertEqual(await self.handled(worker, 3), [0, 1, 2])
        await self.counts("mail", depth=2)
        await self.empty("other")

    @needs(MOVE)
    async def test_move_between_topics(self) -> None:
        """Every group gets a copy."""
        config = {"queue_config": {"type": "fifo"}}
        one = await self.subscriber("f", "to", "durable:subscriber", **config)
        other = await self.subscriber("g", "to", "durable:subscriber", **config)
        for number in range(3):
            await self.publish("from", number)
        await self.counts("from", depth=3)
        self.assertEqual(await self.admin("move", **{"from": "from", "to": "to"}), {"moved": 3})
        self.assertEqual(await self.handled(one, 3), [0, 1, 2])
        self.assertEqual(await self.handled(other, 3), [0, 1, 2])
        await self.empty("from")
