"""Topics and their groups (03 §1.3, §1.6, §1.15)."""

from __future__ import annotations

from typing import Any

from tests.queue.cases import QueueCase
from tests.support.probes import probe


class Publishing(QueueCase):
    """03 §1.4: ``enqueue`` and ``iii::durable::publish``."""

    ids = ("enqueue", "iii::durable::publish")

    @probe("03.1", "03.5")
    async def test_a_subscriber_gets_exactly_the_data(self) -> None:
        """Once, and the publisher gets no value."""
        for number, id in enumerate(self.ids):
            topic = f"t{number}"
            worker = await self.subscriber("f", topic)
            answer = await self.caller.result_of(
                self.caller.invoke(id, {"topic": topic, "data": {"a": 1}})
            )
            self.assertIsNone(answer.get("result"))
            self.assertNotIn("error", answer)
            self.assertEqual(await self.handled(worker), [{"a": 1}])
            self.assertEqual(await self.depth(topic), 0)
            await self.gone(worker)

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

    @probe("03.4", "03.5")
    async def test_data_may_be_any_json(self) -> None:
        """Delivered unchanged."""
        values: list[Any] = [None, 7, "x", [1, {"b": None}], 1.5, True, {}]
        for number, id in enumerate(self.ids):
            worker = await self.subscriber("f", f"t{number}", queue_config={"type": "fifo"})
            for value in values:
                await self.caller.call(id, {"topic": f"t{number}", "data": value})
            self.assertEqual(await self.handled(worker), values)
            await self.gone(worker)

    @probe("03.19")
    async def test_the_trace_goes_on(self) -> None:
        """The handler's call has the publisher's trace id, and its baggage."""
        worker = await self.subscriber("f", "t")
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await self.caller.call(
            "enqueue", {"topic": "t", "data": 1}, traceparent=parent, baggage="k=v"
        )
        call = await worker.invoked("f")
        self.assertEqual(call["traceparent"].split("-")[1], parent.split("-")[1])
        self.assertEqual(call["baggage"], "k=v")

    @probe("03.65")
    async def test_frames_of_one_connection_keep_their_order(self) -> None:
        """200 without waiting, to a FIFO subscriber."""
        worker = await self.subscriber("f", "t", queue_config={"type": "fifo"})
        for number in range(200):
            self.caller.send(
                "invokefunction", function_id="enqueue", data={"topic": "t", "data": number}
            )
        got = []
        for _ in range(200):
            got.append((await worker.answer("f", result=None))["data"])
        self.assertEqual(got, list(range(200)))


class Groups(QueueCase):
    """03 §1.15: who gets a message."""

    @probe("03.6")
    async def test_queue_triggers_compete(self) -> None:
        """Each message goes to one of them."""
        one = await self.subscriber("f", "t")
        other = await self.subscriber("g", "t")
        await self.publish("t", 1)
        await self.publish("t", 2)
        got = [await self.handled(one), await self.handled(other)]
        self.assertEqual(sorted(got[0] + got[1]), [1, 2])
        self.assertEqual([len(some) for some in got], [1, 1])

    @probe("03.7")
    async def test_durable_subscribers_get_a_copy_for_each_function(self) -> None:
        """Two triggers with the same function are one group."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        same = await self.subscriber("g", "t", "durable:subscriber", queue_config={"x": 1})
        await self.publish("t", 1)
        self.assertEqual(await self.handled(one), [1])
        self.assertEqual(await self.handled(other) + await self.handled(same), [1])

    @probe("03.8")
    async def test_both_kinds_are_served(self) -> None:
        """Two deliveries."""
        one = await self.subscriber("f", "t")
        other = await self.subscriber("g", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(one), [1])
        self.assertEqual(await self.handled(other), [1])

    @probe("03.9")
    async def test_messages_wait_for_the_first_group(self) -> None:
        """Of either kind, in order."""
        for type in ("queue", "durable:subscriber"):
            for number in range(3):
                await self.publish(type, number)
            self.assertEqual(await self.depth(type), 3)
            worker = await self.subscriber("f", type, type, queue_config={"type": "fifo"})
            self.assertEqual(await self.handled(worker), [0, 1, 2])
            await self.gone(worker)

    async def test_only_the_first_group_gets_what_waited(self) -> None:
        """A second one begins with what comes after it."""
        await self.publish("t", 1)
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        self.assertEqual(await self.handled(one), [1])
        self.assertEqual(await self.handled(other), [])

    async def test_a_group_gathers_while_nobody_is_connected(self) -> None:
        """A lost connection is no farewell."""
        other = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.gone(worker)
        await self.publish("t", 1)
        self.assertEqual(await self.handled(other), [1])
        worker = await self.subscriber("f", "t", "durable:subscriber")
        self.assertEqual(await self.handled(worker), [1])

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

    async def test_a_group_ends_when_it_is_unsubscribed(self) -> None:
        """Another group doesn't get what was its own."""
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.worker("f")
        id = await worker.trigger("durable:subscriber", "f", {"topic": "t"})
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        await self.idle()
        await self.publish("t", 1)
        self.assertEqual(await self.handled(keeps), [1])
        self.assertEqual(await self.depth("t"), 0)

    async def test_unsubscribing_lets_what_runs_finish(self) -> None:
        """03 §1.3."""
        for type in ("queue", "durable:subscriber"):
            worker = await self.worker("f")
            id = await worker.trigger(type, "f", {"topic": type})
            await self.publish(type, 1)
            [call] = await self.calls(worker)
            worker.send("unregistertrigger", id=id)
            await worker.settled()
            await self.idle()
            worker.reply(call, result=None)
            await worker.settled()
            self.assertEqual(await self.depth(type), 0)
            self.assertEqual(await self.dead(type), [])
            await self.gone(worker)

    async def test_dead_letters_outlive_their_group(self) -> None:
        """And go back to it when it is there again."""
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.worker("f")
        config = {"topic": "t", "queue_config": {"maxRetries": 0}}
        id = await worker.trigger("durable:subscriber", "f", config)
        await self.publish("t", 1)
        await self.failed(worker)
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        self.assertEqual(len(await self.dead("t")), 1)
        await worker.trigger("durable:subscriber", "f", config)
        await self.caller.call("iii::queue::redrive", {"topic": "t"})
        self.assertEqual(await self.handled(worker), [1])
        self.assertEqual(await self.handled(keeps), [1])
        await self.publish("t", 2)
        self.assertEqual(await self.handled(worker), [2])

    async def test_a_group_may_come_back(self) -> None:
        """After it has ended for good."""
        worker = await self.worker("f")
        for number in range(3):
            id = await worker.trigger("durable:subscriber", "f", {"topic": "t"})
            await self.publish("t", number)
            self.assertEqual(await self.handled(worker), [number])
            worker.send("unregistertrigger", id=id)
            await worker.settled()
            await self.idle()

    async def test_the_same_trigger_again_replaces_the_first(self) -> None:
        """One consumer, with the new settings; nothing that waits is lost."""
        worker = await self.worker("f")
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        config: dict[str, Any] = {"topic": "t", "queue_config": {"concurrency": 1}}
        id = await worker.trigger("durable:subscriber", "f", config)
        for number in range(5):
            await self.publish("t", number)
        self.assertEqual(len(await self.calls(worker)), 1)
        config["queue_config"] = {"concurrency": 3}
        await worker.trigger("durable:subscriber", "f", config, id=id)
        self.assertEqual(await self.data(worker), [1, 2])
        self.assertEqual(await self.handled(keeps), list(range(5)))

    @probe("03.18")
    async def test_after_unregistering_nothing_is_delivered(self) -> None:
        """It waits."""
        worker = await self.worker("f")
        id = await worker.trigger("queue", "f", {"topic": "t"})
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        await self.publish("t", 1)
        self.assertEqual(await self.calls(worker), [])
        self.assertEqual(await self.depth("t"), 1)

    @probe("03.17")
    async def test_a_lost_worker_costs_no_attempt(self) -> None:
        """The message comes again, however often that happens."""
        for _ in range(5):
            worker = await self.subscriber("f", "t")
            if _ == 0:
                await self.publish("t", 1)
            self.assertEqual(await self.data(worker), [1])
            await self.gone(worker)
        worker = await self.subscriber("f", "t")
        self.assertEqual(await self.handled(worker), [1])
        self.assertEqual(await self.dead("t"), [])

    async def test_groups_outlive_a_restart(self) -> None:
        """With what they have; each its own."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(one), [1])
        self.assertEqual(await self.data(other), [1])
        await self.restart()
        await self.publish("t", 2)
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        self.assertEqual(await self.handled(one), [2])
        self.assertEqual(sorted(await self.handled(other)), [1, 2])


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

    @probe("03.13")
    async def test_fifo_is_strictly_one_after_the_other(self) -> None:
        """Also when the first fails once."""
        worker = await self.subscriber("f", "t", queue_config={"type": "FIFO"})
        for number in range(20):
            await self.publish("t", number)
        self.assertEqual(await self.failed(worker), [0])
        self.assertEqual(await self.calls(worker), [])
        await self.advance(1.01)
        got = []
        for _ in range(20):
            calls = await self.calls(worker)
            self.assertEqual(len(calls), 1)
            got.append(calls[0]["data"])
            worker.reply(calls[0])
        self.assertEqual(got, list(range(20)))

    @probe("03.14")
    async def test_concurrency_bounds_and_order_is_kept(self) -> None:
        """Never more than two; they start in order."""
        worker = await self.subscriber("f", "t", queue_config={"concurrency": 2})
        for number in range(6):
            await self.publish("t", number)
        got: list[Any] = []
        while calls := await self.calls(worker):
            self.assertEqual(len(calls), 2)
            for call in calls:
                got.append(call["data"])
                worker.reply(call)
        self.assertEqual(got, list(range(6)))

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

    @probe("03.10")
    async def test_false_drops_the_message(self) -> None:
        """Exactly ``false``, under either name of the key."""
        for key in ("condition_function_id", "_condition_path"):
            asks = await self.worker("wanted")
            worker = await self.subscriber("f", key, **{key: "wanted"})
            await self.publish(key, 1)
            await asks.answer("wanted", result=False)
            self.assertEqual(await self.calls(worker), [])
            self.assertEqual(await self.depth(key), 0)
            self.assertEqual(await self.dead(key), [])
            for verdict in (None, 0, "no", {"false": False}):
                await self.publish(key, 2)
                asked = await asks.answer("wanted", result=verdict)
                self.assertEqual(asked["data"], 2)
                self.assertEqual(await self.handled(worker), [2])
            await self.gone(asks)
            await self.gone(worker)

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

    async def test_keys_take_turns(self) -> None:
        """``concurrencyKey``, also for what waited before anybody said so."""
        for key in "aaab":
            await self.publish("t", {"k": key})
        settings = {"concurrencyKey": "k", "concurrency": 10}
        worker = await self.subscriber("f", "t", queue_config=settings)
        await self.idle()
        self.assertEqual(sorted(d["k"] for d in await self.data(worker)), ["a", "b"])

    async def test_a_rate(self) -> None:
        """``rateLimit``."""
        settings = {"rateLimit": {"count": 1, "perMs": 1000}}
        worker = await self.subscriber("f", "t", queue_config=settings)
        for number in range(2):
            await self.publish("t", number)
        self.assertEqual(await self.handled(worker), [0])
        await self.advance(1.01)
        self.assertEqual(await self.handled(worker), [1])

    async def test_one_group_may_be_paused(self) -> None:
        """``topic::function``; a new trigger doesn't end that."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        await self.admin("pause", topic="t::f")
        again = await self.subscriber("f", "t", "durable:subscriber", queue_config={"x": 1})
        await self.publish("t", 1)
        self.assertEqual(await self.handled(other), [1])
        self.assertEqual(await self.calls(one) + await self.calls(again), [])
        await self.admin("resume", topic="t")
        self.assertEqual(await self.handled(one) + await self.handled(again), [1])
