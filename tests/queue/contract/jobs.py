"""Receipts, delays, lifetimes, priorities, idempotency keys (08 §3)."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

from tests.queue.contract.backend import (
    CANCEL,
    DELAY,
    FIFO_GROUPS,
    IDEMPOTENCY,
    PRIORITY,
    RESCHEDULE,
    SCHEDULED,
    TTL,
    needs,
)
from tests.queue.contract.case import LIMIT_S, ContractCase

LATER_MS = 3_600_000


class Receipts(ContractCase):
    """Only who asks gets one."""

    settings = {"max_attempts": 1}

    async def test_a_plain_publish_has_none(self) -> None:
        """As in the original."""
        self.assertIsNone(await self.publish("t", 1))
        answer = await self.publish("t", 1, receipt=True)
        self.assertEqual(sorted(answer), ["duplicate", "messageReceiptId"])

    async def test_one_id_for_all_copies(self) -> None:
        """And it is the id of the dead letters."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        receipt = await self.receipt("t", 1)
        await self.failed(one)
        await self.failed(other)
        letters = await self.dead("t", 2)
        self.assertEqual([letter["id"] for letter in letters], [receipt] * 2)
        self.assertEqual(sorted(letter["group"] for letter in letters), ["f", "g"])


class Delays(ContractCase):
    """``delay_ms``, ``deliver_at`` and what can be done meanwhile."""

    queues = {"one": {"concurrency": 1}}

    @needs(DELAY)
    async def test_a_delay(self) -> None:
        """On topics and queues; others don't wait with it."""
        worker = await self.subscriber("f", "t")
        for more in ({"delay_ms": LATER_MS}, {}):
            await self.publish("t", "t", **more)
            await self.enqueue("default", "f", "default", **more)
        self.assertEqual(sorted(await self.handled(worker, 2)), ["default", "t"])
        for name in ("t", "default"):
            await self.counts(name, depth=1, delayed=1)
        await self.idle(worker)
        started = monotonic()
        await self.publish("t", 1, delay_ms=100)
        await self.enqueue("default", "f", 1, delay_ms=100)
        self.assertEqual(await self.handled(worker, 2), [1, 1])
        self.assertGreaterEqual(monotonic() - started, 0.099)

    @needs(DELAY)
    async def test_a_time(self) -> None:
        """ISO 8601 or milliseconds; the past is now."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", "past", deliver_at="2001-01-01T00:00:00Z")
        self.assertEqual(await self.handled(worker), ["past"])
        at = time() + 0.15
        await self.publish("t", 1, deliver_at=datetime.fromtimestamp(at, UTC).isoformat())
        await self.publish("t", 1, deliver_at=int(at * 1000))
        self.assertEqual(await self.handled(worker, 2), [1, 1])
        self.assertGreaterEqual(time(), at - 0.002)

    @needs(DELAY)
    async def test_due_order_counts(self) -> None:
        """Not the order in which they came."""
        worker = await self.worker("f")
        at_ms = int(time() * 1000) + 400
        for later_ms in (160, 0, 80):
            await self.enqueue("one", "f", later_ms, deliver_at=at_ms + later_ms)
        self.assertEqual(await self.handled(worker, 3), [0, 80, 160])

    @needs(DELAY)
    async def test_every_group_waits(self) -> None:
        """One delay, several copies."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        started = monotonic()
        await self.publish("t", 1, delay_ms=80)
        self.assertEqual(await self.handled(one) + await self.handled(other), [1, 1])
        self.assertGreaterEqual(monotonic() - started, 0.079)

    @needs(DELAY, SCHEDULED)
    async def test_the_schedule(self) -> None:
        """Of one, or of all; next ones first."""
        before = time() * 1000
        await self.publish("t", 1, delay_ms=2 * LATER_MS)
        await self.enqueue("default", "f", 2, delay_ms=LATER_MS)
        rows = await self.admin("scheduled")
        self.assertEqual([row["payload"] for row in rows], [2, 1])
        self.assertEqual((rows[0]["queue"], rows[1]["topic"]), ("default", "t"))
        self.assertGreaterEqual(rows[1]["due_at_ms"], before + 2 * LATER_MS - 1)
        rows = await self.admin("scheduled", topic="t")
        self.assertEqual([row["payload"] for row in rows], [1])
        self.assertEqual(await self.admin("scheduled", offset=2), [])
        self.assertEqual((await self.stats("t"))["delayed"], 1)

    @needs(CANCEL, DELAY)
    async def test_cancel(self) -> None:
        """What waits or is delayed; not what runs, is dead or was never there."""
        config = {"concurrency": 1, "maxRetries": 0}
        worker = await self.subscriber("f", "t", queue_config=config)
        runs = await self.receipt("t", 1)
        [call] = await self.take(worker)
        waits, later = await self.receipt("t", 2), await self.receipt("t", 3, delay_ms=LATER_MS)
        self.assertEqual(await self.admin("cancel", id=waits), {"cancelled": True})
        self.assertEqual(await self.admin("cancel", id=later), {"cancelled": True})
        refusal = {"cancelled": False, "state": "active"}
        self.assertEqual(await self.admin("cancel", id=runs), refusal)
        worker.reply(call, error={"code": "oops", "message": "no"})
        await self.dead("t", 1)
        self.assertEqual((await self.admin("cancel", id=runs))["state"], "dead")
        for id in (waits, later, "no such"):
            answer = await self.admin("cancel", id=id)
            self.assertEqual(answer, {"cancelled": False, "state": "unknown"})
        await self.publish("t", 4)
        self.assertEqual(await self.handled(worker), [4])
        await self.empty("t")
        await self.idle(worker)

    @needs(CANCEL, DELAY)
    async def test_cancel_takes_all_copies(self) -> None:
        """A receipt is that of every group's copy."""
        for name in "fg":
            await self.subscriber(name, "t", "durable:subscriber")
        receipt = await self.receipt("t", 1, delay_ms=LATER_MS)
        await self.counts("t", delayed=2)
        self.assertEqual(await self.admin("cancel", id=receipt), {"cancelled": True})
        await self.empty("t")

    @needs(RESCHEDULE, DELAY)
    async def test_run_now_and_reschedule(self) -> None:
        """The time is another one."""
        worker = await self.subscriber("f", "t")
        one, other = [await self.receipt("t", n, delay_ms=LATER_MS) for n in (1, 2)]
        self.assertEqual(await self.admin("run_now", id=one), {"changed": True})
        self.assertEqual(await self.handled(worker), [1])
        at = int(time() * 1000) + 100
        answer = await self.admin("reschedule", id=other, deliver_at=at)
        self.assertEqual(answer, {"changed": True})
        self.assertEqual(await self.handled(worker), [2])
        self.assertGreaterEqual(time() * 1000, at - 2)
        await self.empty("t")
        answer = await self.admin("run_now", id=other)
        self.assertEqual(answer, {"changed": False, "state": "unknown"})

    @needs(RESCHEDULE)
    async def test_a_waiting_message_can_be_put_off(self) -> None:
        """``reschedule`` of one that is due."""
        receipt = await self.receipt("t", "first")
        await self.publish("t", "second")
        at_ms = int(time() * 1000) + LATER_MS
        answer = await self.admin("reschedule", id=receipt, deliver_at=at_ms)
        self.assertEqual(answer, {"changed": True})
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.handled(worker), ["second"])
        await self.counts("t", depth=1, delayed=1)
        await self.idle(worker)
        self.assertEqual(await self.admin("run_now", id=receipt), {"changed": True})
        self.assertEqual(await self.handled(worker), ["first"])


class Lifetimes(ContractCase):
    """``ttl_ms``: expired messages are dead, with that reason."""

    queues = {"news": {"ttl_ms": 30}}

    @needs(TTL)
    async def test_of_a_message(self) -> None:
        """Though nobody took it."""
        receipt = await self.receipt("t", 1, ttl_ms=30)
        [letter] = await self.dead("t", 1)
        self.assertEqual((letter["id"], letter["payload"]), (receipt, 1))
        self.assertEqual((letter["reason"], letter["retries"]), ("expired", 0))
        await self.empty("t")

    @needs(TTL)
    async def test_of_a_queue(self) -> None:
        """Nobody gets it afterwards."""
        await self.enqueue("news", "f", 1)
        [letter] = await self.dead("news", 1)
        self.assertEqual(letter["reason"], "expired")
        worker = await self.worker("f")
        await self.empty("news")
        await self.idle(worker)

    @needs(TTL)
    async def test_what_runs_is_not_taken_away(self) -> None:
        """It began in time."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1, ttl_ms=1000)
        [call] = await self.take(worker)
        await self.publish("u", 2, ttl_ms=1050)  # expires after the first one has
        await self.dead("u", 1)
        worker.reply(call, result=None)
        await self.empty("t")
        await self.dead("t", 0)

    @needs(TTL, DELAY)
    async def test_a_delay_comes_before_it(self) -> None:
        """The life of a message begins when it is due."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1, ttl_ms=int(LIMIT_S * 1000), delay_ms=50)
        self.assertEqual(await self.handled(worker), [1])


class Priorities(ContractCase):
    """0 to 9, higher first, 4 when nothing is said."""

    queues = {
        "one": {"concurrency": 1},
        "fifo": {"type": "fifo", "message_group_field": "g"},
    }

    @needs(PRIORITY)
    async def test_higher_first_then_in_order(self) -> None:
        """Of those that wait."""
        await self.admin("pause", queue="one")
        for number, priority in enumerate((None, 0, 9, 4, 9, 5)):
            more = {} if priority is None else {"priority": priority}
            await self.enqueue("one", "f", number, **more)
        worker = await self.worker("f")
        await self.admin("resume", queue="one")
        self.assertEqual(await self.handled(worker, 6), [2, 4, 5, 0, 3, 1])

    @needs(PRIORITY)
    async def test_of_a_topic(self) -> None:
        """The same."""
        for number, priority in enumerate((0, 9, 4, 9)):
            await self.publish("t", number, priority=priority)
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 1})
        self.assertEqual(await self.handled(worker, 4), [1, 3, 2, 0])

    @needs(FIFO_GROUPS)
    async def test_not_on_fifo(self) -> None:
        """An error."""
        action = {"type": "enqueue", "queue": "fifo", "priority": 5}
        error = await self.error("f", {"g": 1}, action=action)
        self.assertEqual(error["code"], "enqueue_error")
        self.assertIn("FIFO", error["message"])


class Idempotency(ContractCase):
    """A known key stores nothing."""

    @needs(IDEMPOTENCY)
    async def test_the_second_is_a_duplicate(self) -> None:
        """With the first one's receipt; keys are per topic or queue."""
        first = await self.publish("t", 1, idempotency_key="k")
        self.assertFalse(first["duplicate"])
        again = await self.publish("t", 2, idempotency_key="k")
        self.assertEqual(again, {**first, "duplicate": True})
        self.assertFalse((await self.publish("u", 1, idempotency_key="k"))["duplicate"])
        receipt = await self.enqueue("default", "f", 1, idempotency_key="k")
        self.assertEqual(await self.enqueue("default", "f", 1, idempotency_key="k"), receipt)
        for name in ("t", "u", "default"):
            await self.counts(name, depth=1)

    @needs(IDEMPOTENCY)
    async def test_also_after_it_is_done(self) -> None:
        """The key outlives its message, also over a restart."""
        worker = await self.subscriber("f", "t")
        first = await self.publish("t", 1, idempotency_key="k")
        self.assertEqual(await self.handled(worker), [1])
        await self.empty("t")
        self.assertTrue((await self.publish("t", 1, idempotency_key="k"))["duplicate"])
        await self.restart()
        again = await self.publish("t", 1, idempotency_key="k")
        self.assertEqual(again, {**first, "duplicate": True})
        await self.empty("t")

    @needs(IDEMPOTENCY)
    async def test_two_in_one_turn_agree(self) -> None:
        """Neither is kept yet."""
        ids = [
            self.caller.invoke("enqueue", {"topic": "t", "data": n, "idempotency_key": "k"})
            for n in range(3)
        ]
        answers: list[Any] = [(await self.caller.result_of(id, LIMIT_S))["result"] for id in ids]
        self.assertEqual(sorted(answer["duplicate"] for answer in answers), [False, True, True])
        self.assertEqual(len({answer["messageReceiptId"] for answer in answers}), 1)
        await self.counts("t", depth=1)

    @needs(IDEMPOTENCY)
    async def test_a_key_ends(self) -> None:
        """After ``idempotency_ttl_ms``."""
        more = {"idempotency_key": "k", "idempotency_ttl_ms": 100}
        await self.publish("t", 1, **more)

        async def forgotten() -> bool:
            return not (await self.publish("t", 1, **more))["duplicate"]

        await self.until(forgotten, "an end of the key")
        await self.counts("t", depth=2)
