"""Attempts, their ends, and who doesn't count (03 §1.6, §1.12, §1.13; 08 §3)."""

from __future__ import annotations

from typing import Any

from tests.queue.contract.backend import BACKOFF_SETTINGS, HISTORY, needs
from tests.queue.contract.case import ContractCase
from tests.support.probes import probe


class Attempts(ContractCase):
    """03 §1.12: how often, with which waits; the counts are each adapter's own."""

    queues = {
        "none": {"max_retries": 0, "backoff_ms": 10},
        "two": {"max_retries": 2, "backoff_ms": 40},
        "three": {"max_retries": 3, "backoff_ms": 10},
        "doubling": {"max_retries": 3, "backoff_ms": 30, "backoff": "exponential"},
        "later": {"max_retries": 3, "backoff_ms": 5},
        "quick": {"max_retries": 2, "backoff_ms": 5, "dispatch_timeout_ms": 50},
    }
    settings = {"max_attempts": 3, "backoff_ms": 40}

    async def test_of_a_named_queue(self) -> None:
        """``max_retries``; then it is dead and nothing more comes."""
        worker = await self.worker("f")
        for name in ("none", "two", "three"):
            attempts = self.backend.named_attempts(self.queues[name]["max_retries"])
            receipt = await self.enqueue(name, "f", name)
            backoff_ms = self.queues[name]["backoff_ms"]
            gaps = await self.gaps_ms(worker, attempts)
            for number, gap_ms in enumerate(gaps, 1):
                self.assertGreaterEqual(gap_ms, self.backend.named_gap_ms(backoff_ms, number) - 1)
            [letter] = await self.dead(name, 1)
            self.assertEqual((letter["id"], letter["retries"]), (receipt, attempts))
            self.assertEqual(letter["payload"], name)
            self.assertEqual((await self.stats(name))["depth"], 0)
            await self.idle(worker)

    async def test_of_a_topic(self) -> None:
        """The adapter's ``max_attempts``."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1)
        attempts = self.backend.topic_attempts(3)
        gaps = await self.gaps_ms(worker, attempts)
        for number, gap_ms in enumerate(gaps, 1):
            self.assertGreaterEqual(gap_ms, self.backend.topic_gap_ms(40, number) - 1)
        [letter] = await self.dead("t", 1)
        self.assertEqual(letter["retries"], attempts)
        rows = await self.admin("dlq_topics")
        row = {"topic": "t", "broker_type": self.backend.name, "message_count": 1}
        self.assertIn(row, rows)
        await self.idle(worker)

    async def test_a_trigger_s_retries_come_after_the_first(self) -> None:
        """Decision 23: ``maxRetries: 1`` is two calls, ``0`` is one."""
        for retries in (0, 1):
            topic, config = f"t{retries}", {"maxRetries": retries, "backoffDelayMs": 5}
            worker = await self.subscriber("f", topic, queue_config=config)
            receipt = await self.receipt(topic, 1)
            self.assertEqual(await self.failed(worker, retries + 1), [1] * (retries + 1))
            [letter] = await self.dead(topic, 1)
            self.assertEqual((letter["id"], letter["retries"]), (receipt, retries + 1))
            await self.idle(worker)
            await self.gone(worker)

    @needs(BACKOFF_SETTINGS)
    async def test_the_back_off_doubles(self) -> None:
        """Where the queue may say so."""
        worker = await self.worker("f")
        await self.enqueue("doubling", "f", 1)
        gaps = await self.gaps_ms(worker, 3)
        self.assertGreaterEqual(gaps[0], 29)
        self.assertGreaterEqual(gaps[1], 59)

    @needs(BACKOFF_SETTINGS)
    async def test_a_handler_may_say_when(self) -> None:
        """08 §3: ``retry_after``; the attempt counts."""
        worker = await self.worker("f")
        await self.enqueue("later", "f", 1)
        attempts = self.backend.named_attempts(3)
        details = {"retry_after_ms": 80}
        for gap_ms in await self.gaps_ms(worker, attempts, code="retry_after", details=details):
            self.assertGreaterEqual(gap_ms, 79)
        [letter] = await self.dead("later", 1)
        self.assertEqual(letter["retries"], attempts)

    async def test_an_attempt_has_a_bound(self) -> None:
        """08 §3: ``dispatch_timeout_ms``; the slot is free again, a late answer is nothing."""
        worker = await self.worker("f")
        await self.enqueue("quick", "f", 1)
        attempts = self.backend.named_attempts(2)
        late = await self.take(worker, attempts)
        [letter] = await self.dead("quick", 1)
        for call in late:
            worker.reply(call, result="late")
        await worker.settled()
        await self.dead("quick", 1)
        self.assertEqual(letter["retries"], attempts)
        if HISTORY in self.backend.abilities:
            self.assertEqual(letter["code"], "invocation_timeout")

    async def test_a_retry_may_succeed(self) -> None:
        """Then it is done."""
        worker = await self.worker("f")
        await self.subscribe(worker, "f", "t")
        await self.enqueue("three", "f", "q")
        self.assertEqual(await self.failed(worker), ["q"])
        self.assertEqual(await self.handled(worker), ["q"])
        await self.publish("t", "t")
        self.assertEqual(await self.failed(worker), ["t"])
        self.assertEqual(await self.handled(worker), ["t"])
        for name in ("three", "t"):
            await self.empty(name)
            await self.dead(name, 0)


class Absent(ContractCase):
    """08 §3: no worker is no failure; 03 §1.13: nor is one that goes away."""

    queues = {"mail": {"max_retries": 1, "backoff_ms": 5}}
    settings = {"max_attempts": 1}

    async def test_messages_wait_for_their_function(self) -> None:
        """No attempt is counted, and others don't wait with them."""
        worker = await self.worker("f")
        for number in range(30):
            await self.enqueue("mail", "late", number)
        await self.counts("mail", waiting_for_worker=True, depth=30)
        await self.enqueue("mail", "f", "x")
        self.assertEqual(await self.handled(worker), ["x"])
        await self.counts("mail", depth=30)
        late = await self.worker("late")
        self.assertEqual(sorted(await self.handled(late, 30)), list(range(30)))
        await self.empty("mail")
        await self.dead("mail", 0)
        self.assertFalse((await self.stats("mail"))["waiting_for_worker"])

    async def test_a_lost_worker_costs_no_attempt(self) -> None:
        """Of a named queue: the message comes again, however often that happens."""
        await self.enqueue("mail", "f", 1)
        for _ in range(4):
            worker = await self.worker("f")
            self.assertEqual(await self.data(worker), [1])
            await self.gone(worker)
        worker = await self.worker("f")
        self.assertEqual(await self.handled(worker), [1])
        await self.empty("mail")
        await self.dead("mail", 0)

    @probe("03.17")
    async def test_a_lost_subscriber_costs_no_attempt(self) -> None:
        """Of a topic, in both kinds of groups."""
        for number, type in enumerate(("queue", "durable:subscriber")):
            topic = f"t{number}"
            for turn in range(4):
                worker = await self.subscriber("f", topic, type)
                if turn == 0:
                    await self.publish(topic, 1)
                self.assertEqual(await self.data(worker), [1])
                await self.gone(worker)
            worker = await self.subscriber("f", topic, type)
            self.assertEqual(await self.handled(worker), [1])
            await self.empty(topic)
            await self.dead(topic, 0)
            await self.gone(worker)

    async def test_a_lost_message_goes_to_the_next_worker(self) -> None:
        """Who is there takes it over."""
        one = await self.worker("f")
        await self.enqueue("mail", "f", 1)
        self.assertEqual(await self.data(one), [1])
        other = await self.worker("f")
        await self.gone(one)
        self.assertEqual(await self.handled(other), [1])


class Conditions(ContractCase):
    """03 §1.6."""

    settings = {"max_attempts": 2, "backoff_ms": 5}

    @probe("03.10")
    async def test_false_drops_the_message(self) -> None:
        """Exactly ``false``, under either name of the key; anything else goes on."""
        asks = await self.worker("wanted")
        for key in ("condition_function_id", "_condition_path"):
            worker = await self.subscriber("f", key, **{key: "wanted"})
            await self.publish(key, 1)
            [asked] = await self.take(asks)
            self.assertEqual(asked["data"], 1)
            asks.reply(asked, result=False)
            await self.empty(key)
            await self.idle(worker)
            for verdict in (None, 0, "no", {"false": False}, True):
                await self.publish(key, 2)
                [asked] = await self.take(asks)
                asks.reply(asked, result=verdict)
                self.assertEqual(await self.handled(worker), [2])
            await self.empty(key)
            await self.dead(key, 0)
            await self.gone(worker)

    async def test_a_failing_condition_is_a_failed_attempt(self) -> None:
        """Also one that nobody has registered."""
        worker = await self.subscriber("f", "t", condition_function_id="nobody")
        await self.publish("t", 1)
        [letter] = await self.dead("t", 1)
        self.assertEqual(letter["retries"], self.backend.topic_attempts(2))
        self.assertIn("Condition function error: ErrorBody", letter["error"])
        await self.idle(worker)

    @probe("03.35")
    async def test_the_error_is_told(self) -> None:
        """As consoles look for it."""
        worker = await self.subscriber("f", "t", queue_config={"maxRetries": 0})
        await self.publish("t", 1)
        await self.failed(worker, code="boom", message='it "broke"\n')
        [letter] = await self.dead("t", 1)
        expected: Any = 'ErrorBody { code: "boom", message: "it \\"broke\\"\\n", stacktrace: None }'
        self.assertEqual(letter["error"], expected)
