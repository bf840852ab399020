"""Topics and their groups (03 §1.3, §1.6, §1.15).

What every adapter owes stands in ``tests.queue.contract``; here is what needs a clock that
stands still, or no adapter at all.
"""

from __future__ import annotations

from typing import Any

from tests.queue.cases import QueueCase
from tests.support.probes import probe


class Publishing(QueueCase):
    """03 §1.4: ``enqueue`` and ``iii::durable::publish``."""

    ids = ("enqueue", "iii::durable::publish")

    @probe("03.2", "03.5")
    async def test_an_empty_topic_is_refused(self) -> None:
        """``topic_not_set``."""
        for id in self.ids:
            error = await self.caller.error_of(id, {"topic": "", "data": 1})
            self.assertEqual(error["code"], "topic_not_set")
            self.assertEqual(error["message"], "Topic is not set")

    @probe("03.3", "03.5")
    async def test_a_missing_field_is_named(self) -> None:
        """``deserialization_error``."""
        for id in self.ids:
            for asked, field in (({"data": 1}, "topic"), ({"topic": "t"}, "data")):
                error = await self.caller.error_of(id, asked)
                self.assertEqual(error["code"], "deserialization_error")
                self.assertEqual(
                    error["message"],
                    f"Failed to deserialize input for {id}: missing field `{field}`",
                )


class Groups(QueueCase):
    """03 §1.15: who gets a message."""

    async def test_a_group_without_a_trigger_ends_after_a_day(self) -> None:
        """Decision 21; what it has is kept while there is no other group."""
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.gone(worker)
        await self.publish("t", 1)
        await self.advance(24 * 3600 + 1)
        await self.publish("t", 2)
        await self.idle()
        other = await self.subscriber("g", "t", "durable:subscriber")
        self.assertEqual(await self.handled(other), [1, 2])


class Settings(QueueCase):
    """03 §1.3: ``queue_config``."""

    async def attempts(self, topic: str, **config: Any) -> int:
        """How often a message that always fails is tried."""
        worker = await self.subscriber("f", topic, queue_config=config)
        await self.publish(topic, 1)
        count = 0
        while await self.failed(worker):
            count += 1
            await self.advance(10)
        await self.gone(worker)
        return count

    @probe("03.11")
    async def test_three_attempts_with_growing_gaps(self) -> None:
        """After 1 s and 2 s; then it is dead."""
        worker = await self.subscriber("f", "t")
        await self.publish("t", 1)
        for gap in (1.0, 2.0):
            self.assertEqual(await self.failed(worker), [1])
            await self.advance(gap - 0.01)
            self.assertEqual(await self.calls(worker), [])
            await self.advance(0.02)
        self.assertEqual(await self.failed(worker), [1])
        await self.advance(60)
        self.assertEqual(await self.calls(worker), [])
        rows = await self.admin("dlq_topics")
        self.assertIn({"topic": "t", "broker_type": "builtin", "message_count": 1}, rows)

    @probe("03.12")
    async def test_retries_come_after_the_first_attempt(self) -> None:
        """``maxRetries: 1`` is two calls, ``0`` is one."""
        self.assertEqual(await self.attempts("a", maxRetries=1, backoffDelayMs=50), 2)
        self.assertEqual(await self.attempts("b", maxRetries=0), 1)
        self.assertEqual(len(await self.dead("b")), 1)

    async def test_a_fixed_back_off_stays_the_same(self) -> None:
        """``backoffType: fixed``."""
        settings = {"backoffType": "fixed", "backoffDelayMs": 100, "maxRetries": 4}
        worker = await self.subscriber("f", "t", queue_config=settings)
        await self.publish("t", 1)
        for _ in range(5):
            self.assertEqual(await self.failed(worker), [1])
            await self.advance(0.11)
        self.assertEqual(len(await self.dead("t")), 1)

    async def test_no_concurrency_is_a_pause(self) -> None:
        """0."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 0})
        await self.publish("t", 1)
        self.assertEqual(await self.calls(worker), [])

    @probe("03.15")
    async def test_nonsense_counts_as_absent(self) -> None:
        """Unknown keys, strings for numbers, nothing at all."""
        nonsense: list[Any] = [
            {},
            {"color": "red"},
            {"maxRetries": "7", "concurrency": -1, "backoffDelayMs": 1.5, "type": 3},
            {"visibilityTimeout": 30},
            "fifo",
        ]
        for number, config in enumerate(nonsense):
            worker = await self.subscriber("f", f"t{number}", queue_config=config)
            await self.publish(f"t{number}", 1)
            self.assertEqual(await self.failed(worker), [1])
            await self.advance(1.01)
            self.assertEqual(await self.failed(worker), [1])
            await self.advance(2.01)
            self.assertEqual(await self.failed(worker), [1])
            self.assertEqual(len(await self.dead(f"t{number}")), 1)
            await self.gone(worker)

    async def test_a_group_may_delay_its_copies(self) -> None:
        """``delaySeconds``."""
        slow = await self.subscriber(
            "f", "t", "durable:subscriber", queue_config={"delaySeconds": 5}
        )
        fast = await self.subscriber("g", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(fast), [1])
        self.assertEqual(await self.calls(slow), [])
        await self.advance(5.01)
        self.assertEqual(await self.handled(slow), [1])

    @probe("03.16")
    async def test_without_a_topic_it_is_refused(self) -> None:
        """And the connection stays open."""
        worker = await self.worker("f")
        for config in ({}, {"topic": ""}, {"topic": 5}, "x", None):
            id = await worker.trigger("queue", "f", config)
            answer = await worker.expect("triggerregistrationresult", id=id)
            self.assertEqual(answer["error"]["code"], "trigger_registration_failed")
            self.assertEqual(answer["error"]["message"], "Topic is not set")
        await worker.settled()

    async def test_older_names_count(self) -> None:
        """``queue`` for ``topic``; ``queue`` and ``metadata.infrastructure.queue`` for settings."""
        worker = await self.worker("f")
        await worker.trigger("queue", "f", {"queue": "a"})
        await worker.trigger("queue", "f", {"topic": "b", "queue": {"maxRetries": 0}})
        metadata = {"infrastructure": {"queue": {"maxRetries": 0}}}
        await worker.trigger("queue", "f", {"topic": "c"}, metadata=metadata)
        for topic in "abc":
            await self.publish(topic, topic)
        self.assertEqual(sorted(await self.failed(worker)), ["a", "b", "c"])
        self.assertEqual([len(await self.dead(topic)) for topic in "abc"], [0, 1, 1])


class Conditions(QueueCase):
    """03 §1.6."""

    async def test_a_failing_condition_is_a_failed_attempt(self) -> None:
        """Also one that nobody has registered."""
        worker = await self.subscriber("f", "t", condition_function_id="nobody")
        await self.publish("t", 1)
        for _ in range(3):
            await self.advance(10)
        [letter] = await self.dead("t")
        self.assertEqual(letter["retries"], 3)
        self.assertIn("Condition function error: ErrorBody", letter["error"])
        self.assertEqual(await self.calls(worker), [])

    async def test_a_condition_has_half_a_minute(self) -> None:
        """Then the attempt has failed; a late verdict is nothing."""
        asks = await self.worker("wanted")
        worker = await self.subscriber(
            "f", "t", condition_function_id="wanted", queue_config={"maxRetries": 0}
        )
        await self.publish("t", 1)
        [asked] = await self.calls(asks)
        await self.advance(29.9)
        self.assertEqual(await self.dead("t"), [])
        await self.advance(0.2)
        [letter] = await self.dead("t")
        self.assertEqual(letter["code"], "invocation_timeout")
        self.assertTrue(letter["error"].startswith("Condition function error: "))
        asks.reply(asked, result=True)
        self.assertEqual(await self.calls(worker), [])

    async def test_a_condition_s_worker_that_leaves_costs_no_attempt(self) -> None:
        """The message is asked about again, by whoever is there."""
        settings = {"maxRetries": 0}
        worker = await self.subscriber(
            "f", "t", condition_function_id="wanted", queue_config=settings
        )
        asks = await self.worker("wanted")
        await self.publish("t", 1)
        await asks.invoked("wanted")
        other = await self.worker("wanted")
        await self.gone(asks)
        await other.answer("wanted", result=True)
        self.assertEqual(await self.handled(worker), [1])
        self.assertEqual(await self.dead("t"), [])


class Limits(QueueCase):
    """docs/queues.md: what the original has no words for, on topics."""

    async def test_a_rate(self) -> None:
        """``rateLimit``."""
        settings = {"rateLimit": {"count": 1, "perMs": 1000}}
        worker = await self.subscriber("f", "t", queue_config=settings)
        for number in range(2):
            await self.publish("t", number)
        self.assertEqual(await self.handled(worker), [0])
        await self.advance(1.01)
        self.assertEqual(await self.handled(worker), [1])
