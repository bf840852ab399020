"""What the original lacks: delays, keys, priorities, limits (08 §3).

What every adapter owes stands in ``tests.queue.contract``; here is what needs a clock that
stands still, or no adapter at all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.queue.cases import QueueCase


class Receipts(QueueCase):
    """Only who asks gets one."""

    async def test_a_plain_publish_has_none(self) -> None:
        """As in the original."""
        self.assertIsNone(await self.publish("t", 1))
        self.assertIsNone(await self.publish("t", 1, receipt=False))

    async def test_every_field_brings_one(self) -> None:
        """Of that table."""
        fields: list[dict[str, Any]] = [
            {"receipt": True},
            {"delay_ms": 5},
            {"deliver_at": 1_800_000_000_000},
            {"idempotency_key": "k"},
            {"priority": 9},
            {"ttl_ms": 50},
        ]
        for more in fields:
            answer = await self.publish("t", 1, **more)
            self.assertEqual(sorted(answer), ["duplicate", "messageReceiptId"])
            self.assertFalse(answer["duplicate"])

    async def test_nonsense_is_refused(self) -> None:
        """Nothing is stored."""
        wrong: list[dict[str, Any]] = [
            {"delay_ms": -1},
            {"deliver_at": "tomorrow"},
            {"delay_ms": 1, "deliver_at": 5},
            {"priority": 10},
            {"idempotency_key": "x" * 257},
            {"ttl_ms": 0},
        ]
        for more in wrong:
            error = await self.caller.error_of("enqueue", {"topic": "t", "data": 1, **more})
            self.assertEqual(error["code"], "deserialization_error", more)
        self.assertEqual(await self.depth("t"), 0)


class Delays(QueueCase):
    """``delay_ms``, ``deliver_at`` and what can be done meanwhile."""

    async def test_a_delay(self) -> None:
        """To the millisecond, on topics and queues."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1, delay_ms=5000)
        await self.enqueue("default", "f", 2, delay_ms=5000)
        await self.advance(4.99)
        self.assertEqual(await self.calls(worker), [])
        await self.advance(0.011)
        self.assertEqual(sorted(await self.handled(worker)), [1, 2])

    async def test_a_time(self) -> None:
        """ISO 8601 with or without a zone, or milliseconds."""
        worker = await self.subscriber("f", "t")
        at = int(self.clock.wall()) + 3600
        text = datetime.fromtimestamp(at, UTC)
        for when in (text.isoformat(), f"{text:%Y-%m-%dT%H:%M:%S}", f"{text:%Y-%m-%dT%H:%M:%S}Z"):
            await self.publish("t", when, deliver_at=when)
        await self.publish("t", "ms", deliver_at=at * 1000)
        await self.advance(at - self.clock.wall() - 0.01)
        self.assertEqual(await self.calls(worker), [])
        await self.advance(0.02)
        self.assertEqual(len(await self.handled(worker)), 4)

    async def test_the_past_is_now(self) -> None:
        """No error."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1, deliver_at="2001-01-01T00:00:00Z")
        self.assertEqual(await self.handled(worker), [1])

    async def test_due_order_counts(self) -> None:
        """Not the order in which they came."""
        worker = await self.subscriber("f", "t")
        for delay in (3000, 1000, 2000):
            await self.publish("t", delay, delay_ms=delay)
        got = []
        for _ in range(4):
            await self.advance(1.0)
            got.append(await self.handled(worker))
        self.assertEqual(got, [[1000], [2000], [3000], []])

    async def test_they_survive_a_restart(self) -> None:
        """What became due meanwhile runs at once."""
        await self.publish("t", "soon", delay_ms=1000)
        await self.publish("t", "late", delay_ms=100_000)
        self.ticks.advance(5)
        await self.restart()
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.handled(worker), ["soon"])
        await self.advance(95)
        self.assertEqual(await self.handled(worker), ["late"])

    async def test_the_schedule(self) -> None:
        """Of one, or of all; next ones first."""
        await self.publish("t", 1, delay_ms=2000)
        await self.enqueue("default", "f", 2, delay_ms=1000)
        rows = await self.admin("scheduled")
        self.assertEqual([row["payload"] for row in rows], [2, 1])
        self.assertEqual((rows[0]["queue"], rows[1]["topic"]), ("default", "t"))
        self.assertEqual(rows[1]["due_at_ms"], self.clock.wall_ms() + 2000)
        rows = await self.admin("scheduled", topic="t")
        self.assertEqual([row["payload"] for row in rows], [1])
        self.assertEqual(await self.admin("scheduled", offset=2), [])

    async def test_run_now_and_reschedule(self) -> None:
        """The time is another one."""
        worker = await self.subscriber("f", "t")
        one, other = [
            (await self.publish("t", n, delay_ms=60_000))["messageReceiptId"] for n in (1, 2)
        ]
        self.assertEqual(await self.admin("run_now", id=one), {"changed": True})
        self.assertEqual(await self.handled(worker), [1])
        at = self.clock.wall_ms() + 5000
        answer = await self.admin("reschedule", id=other, deliver_at=at)
        self.assertEqual(answer, {"changed": True})
        await self.advance(4.99)
        self.assertEqual(await self.calls(worker), [])
        await self.advance(0.02)
        self.assertEqual(await self.handled(worker), [2])
        answer = await self.admin("run_now", id=other)
        self.assertEqual(answer, {"changed": False, "state": "unknown"})


class Idempotency(QueueCase):
    """A known key stores nothing."""

    async def test_keys_survive_a_restart_and_end(self) -> None:
        """24 h, unless something else is said."""
        await self.publish("t", 1, idempotency_key="day")
        await self.publish("t", 1, idempotency_key="second", idempotency_ttl_ms=1000)
        await self.restart()
        self.assertTrue((await self.publish("t", 1, idempotency_key="day"))["duplicate"])
        await self.advance(1.01)
        self.assertFalse((await self.publish("t", 1, idempotency_key="second"))["duplicate"])
        await self.advance(24 * 3600)
        self.assertFalse((await self.publish("t", 1, idempotency_key="day"))["duplicate"])


class Priorities(QueueCase):
    """0 to 9, higher first, 4 when nothing is said."""

    queues = {
        "one": {"concurrency": 1},
        "fifo": {"type": "fifo", "message_group_field": "g"},
    }

    async def test_not_on_fifo(self) -> None:
        """An error."""
        self.assertIn("FIFO", await self.refused("fifo", {"g": 1}, priority=5))
        await self.subscriber("f", "t", queue_config={"type": "fifo"})
        error = await self.caller.error_of("enqueue", {"topic": "t", "data": 1, "priority": 5})
        self.assertEqual(error["code"], "enqueue_error")


class Rates(QueueCase):
    """``rate_limit``: waiting messages stay in place."""

    queues = {
        "slow": {"rate_limit": {"count": 2, "per_ms": 1000}},
        "keyed": {"rate_limit": {"count": 1, "per_ms": 1000, "key_field": "k"}},
    }

    async def test_a_queue(self) -> None:
        """Two at once, then one every half second."""
        worker = await self.worker("f")
        for number in range(4):
            await self.enqueue("slow", "f", number)
        self.assertEqual(await self.handled(worker), [0, 1])
        await self.advance(0.49)
        self.assertEqual(await self.calls(worker), [])
        await self.advance(0.02)
        self.assertEqual(await self.handled(worker), [2])
        await self.advance(0.5)
        self.assertEqual(await self.handled(worker), [3])

    async def test_a_key(self) -> None:
        """Each has its own."""
        worker = await self.worker("f")
        for key in "aab":
            await self.enqueue("keyed", "f", {"k": key})
        self.assertEqual(await self.handled(worker), [{"k": "a"}, {"k": "b"}])
        await self.advance(1.01)
        self.assertEqual(await self.handled(worker), [{"k": "a"}])


class Lifetimes(QueueCase):
    """``ttl_ms``."""

    queues = {"news": {"ttl_ms": 1000}}

    async def test_of_a_message(self) -> None:
        """It is dead with reason ``expired``, though nobody took it."""
        await self.publish("t", 1, ttl_ms=1000)
        await self.advance(0.9)
        self.assertEqual(await self.depth("t"), 1)
        await self.advance(0.11)
        self.assertEqual(await self.depth("t"), 0)
        [letter] = await self.dead("t")
        self.assertEqual((letter["reason"], letter["retries"]), ("expired", 0))

    async def test_of_a_queue(self) -> None:
        """Nobody gets it afterwards."""
        await self.enqueue("news", "f", 1)
        await self.advance(1.01)
        worker = await self.worker("f")
        self.assertEqual(await self.calls(worker), [])
        self.assertEqual([x["reason"] for x in await self.dead("news")], ["expired"])

    async def test_a_delay_comes_before_it(self) -> None:
        """The life of a message begins when it is due."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1, ttl_ms=1000, delay_ms=5000)
        await self.advance(5.01)
        self.assertEqual(await self.handled(worker), [1])

    async def test_over_a_restart(self) -> None:
        """What expired meanwhile is dead."""
        await self.publish("t", 1, ttl_ms=1000)
        self.ticks.advance(5)
        await self.restart()
        await self.idle()
        self.assertEqual(len(await self.dead("t")), 1)

    async def test_what_runs_is_not_taken_away(self) -> None:
        """It began in time."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1, ttl_ms=1000)
        [call] = await self.calls(worker)
        await self.advance(5)
        worker.reply(call, result=None)
        self.assertEqual(await self.depth("t"), 0)
        self.assertEqual(await self.dead("t"), [])
