"""Who gets a message: topics, groups, named queues (03 §1.3 to §1.5, §1.15)."""

from __future__ import annotations

import uuid
from typing import Any

from tests.queue.contract.backend import RETENTION, needs
from tests.queue.contract.case import ContractCase
from tests.support.probes import probe

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Topics(ContractCase):
    """03 §1.4: ``enqueue`` and ``iii::durable::publish``."""

    @probe("03.1", "03.5")
    async def test_a_subscriber_gets_exactly_the_data_once(self) -> None:
        """And the publisher gets no value."""
        worker = await self.subscriber("f", "t")
        for id in ("enqueue", "iii::durable::publish"):
            self.assertIsNone(await self.call(id, {"topic": "t", "data": {"a": 1}}))
            self.assertEqual(await self.handled(worker), [{"a": 1}])
        await self.empty("t")
        await self.idle(worker)

    @probe("03.4", "03.5")
    async def test_data_may_be_any_json(self) -> None:
        """Delivered unchanged."""
        values: list[Any] = [None, 7, "ü\x00", [1, {"b": None}], 1.5, True, {}, 2**53, "x" * 70_000]
        worker = await self.subscriber("f", "t", queue_config={"type": "fifo"})
        for id in ("enqueue", "iii::durable::publish"):
            for value in values:
                await self.call(id, {"topic": "t", "data": value})
            self.assertEqual(await self.handled(worker, len(values)), values)

    @probe("03.19")
    async def test_the_trace_goes_on(self) -> None:
        """The handler's call has the publisher's trace id, and its baggage."""
        worker = await self.subscriber("f", "t")
        await self.call("enqueue", {"topic": "t", "data": 1}, traceparent=TRACE, baggage="k=v")
        [call] = await self.take(worker)
        self.assertEqual(call["traceparent"].split("-")[1], TRACE.split("-")[1])
        self.assertEqual(call["baggage"], "k=v")

    @probe("03.65")
    async def test_frames_of_one_connection_keep_their_order(self) -> None:
        """200 without waiting, to a FIFO subscriber."""
        worker = await self.subscriber("f", "t", queue_config={"type": "fifo"})
        for number in range(200):
            self.caller.send(
                "invokefunction", function_id="enqueue", data={"topic": "t", "data": number}
            )
        self.assertEqual(await self.handled(worker, 200), list(range(200)))

    async def test_names_may_be_anything(self) -> None:
        """Colons, dots, spaces, other alphabets."""
        for topic in ("a::b", "a.b.#", "with space", "тема", "{x}", "a/b*"):
            worker = await self.subscriber("f", topic)
            await self.publish(topic, topic)
            self.assertEqual(await self.handled(worker), [topic])
            await self.empty(topic)
            await self.gone(worker)


class Groups(ContractCase):
    """03 §1.15."""

    @probe("03.6")
    async def test_queue_triggers_compete(self) -> None:
        """Each message goes to one of them; they take turns."""
        one, other = await self.subscriber("f", "t"), await self.subscriber("g", "t")
        await self.publish("t", 1)
        await self.publish("t", 2)
        got = await self.handled(one) + await self.handled(other)
        self.assertEqual(sorted(got), [1, 2])
        await self.empty("t")
        await self.idle(one, other)

    @probe("03.7", "03.8")
    async def test_durable_subscribers_get_a_copy_for_each_function(self) -> None:
        """Two triggers with the same function are one group; a ``queue`` trigger is another."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        twice = await self.worker("g")
        for limit in (1, 2):
            config = {"queue_config": {"concurrency": limit}}
            await self.subscribe(twice, "g", "t", "durable:subscriber", **config)
        plain = await self.subscriber("h", "t")
        await self.publish("t", 1)
        for worker in (one, twice, plain):
            self.assertEqual(await self.handled(worker), [1])
        await self.empty("t")
        await self.idle(one, twice, plain)

    @probe("03.9")
    async def test_messages_wait_for_the_first_group(self) -> None:
        """Of either kind, in order; the second one begins with what comes after it."""
        for number, type in enumerate(("queue", "durable:subscriber")):
            topic = f"t{number}"
            for data in range(3):
                await self.publish(topic, data)
            await self.counts(topic, depth=3)
            worker = await self.subscriber("f", topic, type, queue_config={"type": "fifo"})
            self.assertEqual(await self.handled(worker, 3), [0, 1, 2])
            second = await self.subscriber("g", topic, "durable:subscriber")
            await self.publish(topic, 3)
            self.assertEqual(await self.handled(worker), [3])
            self.assertEqual(await self.handled(second), [3])
            await self.gone(worker)

    async def test_a_group_gathers_while_nobody_is_connected(self) -> None:
        """A lost connection is no farewell."""
        other = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.gone(worker)
        await self.publish("t", 1)
        self.assertEqual(await self.handled(other), [1])
        worker = await self.subscriber("f", "t", "durable:subscriber")
        self.assertEqual(await self.handled(worker), [1])

    async def test_unregistering_ends_a_group(self) -> None:
        """Later messages are not for it; of the last one, they wait for the next."""
        other = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.worker("f")
        id = await self.subscribe(worker, "f", "t", "durable:subscriber")
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        await self._alone("t", 1)
        await self.publish("t", 1)
        self.assertEqual(await self.handled(other), [1])
        await self.empty("t")
        await self.idle(worker)

    async def test_what_the_last_group_leaves_waits_for_the_next(self) -> None:
        """03 §1.15: in the topic."""
        worker = await self.worker("f")
        id = await self.subscribe(worker, "f", "t", "durable:subscriber")
        await self.admin("pause", topic="t")
        await self.publish("t", 1)
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        await self._alone("t", 0)
        await self.publish("t", 2)
        await self.admin("resume", topic="t")
        await self.counts("t", depth=2)
        later = await self.subscriber("g", "t", "durable:subscriber")
        self.assertEqual(sorted(await self.handled(later, 2)), [1, 2])

    @probe("03.18")
    async def test_after_unregistering_nothing_is_delivered(self) -> None:
        """It waits, until the trigger is there again."""
        worker = await self.worker("f")
        id = await self.subscribe(worker, "f", "t")
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        await self._alone("t", 0)
        await self.publish("t", 1)
        await self.counts("t", waiting=1)
        await self.idle(worker)
        await self.subscribe(worker, "f", "t")
        self.assertEqual(await self.handled(worker), [1])

    async def test_unsubscribing_lets_what_runs_finish(self) -> None:
        """03 §1.3."""
        for number, type in enumerate(("queue", "durable:subscriber")):
            topic = f"t{number}"
            worker = await self.worker("f")
            id = await self.subscribe(worker, "f", topic, type)
            await self.publish(topic, 1)
            [call] = await self.take(worker)
            worker.send("unregistertrigger", id=id)
            await worker.settled()
            await self._alone(topic, 0)
            worker.reply(call, result=None)
            await self.empty(topic)
            await self.dead(topic, 0)
            await self.gone(worker)

    async def test_a_group_may_come_back(self) -> None:
        """After it has ended for good; its dead letters have waited for it."""
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.worker("f")
        config = {"queue_config": {"maxRetries": 0}}
        id = await self.subscribe(worker, "f", "t", "durable:subscriber", **config)
        await self.publish("t", 1)
        await self.failed(worker)
        self.assertEqual(await self.handled(keeps), [1])
        await self.dead("t", 1)
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        await self._alone("t", 1)
        await self.dead("t", 1)
        await self.subscribe(worker, "f", "t", "durable:subscriber", **config)
        answer = await self.call("iii::queue::redrive", {"topic": "t"})
        self.assertEqual(answer["redriven"], 1)
        self.assertEqual(await self.handled(worker), [1])
        await self.publish("t", 2)
        self.assertEqual(await self.handled(worker), [2])
        self.assertEqual(await self.handled(keeps), [2])
        await self.empty("t")

    async def test_the_same_trigger_again_replaces_the_first(self) -> None:
        """One consumer, with the new settings; nothing that waits is lost."""
        worker = await self.worker("f")
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        config: dict[str, Any] = {"topic": "t", "queue_config": {"concurrency": 1}}
        id = await worker.trigger("durable:subscriber", "f", config)
        for number in range(5):
            await self.publish("t", number)
        running = await self.take(worker)
        self.assertEqual(sorted(await self.handled(keeps, 5)), list(range(5)))
        config["queue_config"] = {"concurrency": 3}
        await worker.trigger("durable:subscriber", "f", config, id=id)
        running += await self.take(worker, 2)
        await self.idle(worker)
        self.assertEqual([call["data"] for call in running], [0, 1, 2])

    async def test_a_group_may_delay_its_copies(self) -> None:
        """``delaySeconds``."""
        slow = await self.subscriber(
            "f", "t", "durable:subscriber", queue_config={"delaySeconds": 1}
        )
        fast = await self.subscriber("g", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(fast), [1])
        await self.idle(slow)
        self.assertEqual(await self.handled(slow), [1])

    async def _alone(self, topic: str, triggers: int) -> None:
        """Wait until a topic has so many triggers."""

        async def so() -> bool:
            rows = {row["name"]: row for row in await self.admin("list_topics")}
            return topic not in rows or rows[topic]["subscriber_count"] == triggers

        await self.until(so, f"{triggers} triggers on {topic}")


class Retention(ContractCase):
    """03 §1.15: ``subscriber_retention_ms``."""

    settings = {"subscriber_retention_ms": 100}

    @needs(RETENTION)
    async def test_a_group_without_a_trigger_ends(self) -> None:
        """Its messages are nobody's any more; the other group's are untouched."""
        keeps = await self.subscriber("g", "t", "durable:subscriber")
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.publish("t", 1)
        self.assertEqual(await self.handled(keeps), [1])
        self.assertEqual(await self.data(worker), [1])
        await self.gone(worker)
        await self.empty("t")
        worker = await self.subscriber("f", "t", "durable:subscriber")
        await self.publish("t", 2)
        self.assertEqual(await self.handled(worker), [2])
        self.assertEqual(await self.handled(keeps), [2])


class Named(ContractCase):
    """03 §1.5: ``action: {"type": "enqueue"}``."""

    queues = {"mail": {"concurrency": 4}}

    @probe("03.20", "03.31", "01.61")
    async def test_the_function_gets_exactly_the_data(self) -> None:
        """And the caller a receipt, which is a UUID."""
        worker = await self.worker("f")
        for queue in ("mail", "default"):
            receipt = await self.enqueue(queue, "f", {"to": queue})
            self.assertEqual(uuid.UUID(receipt).version, 4)
            self.assertEqual(await self.handled(worker), [{"to": queue}])
            await self.empty(queue)
        await self.idle(worker)

    async def test_the_trace_goes_on(self) -> None:
        """And the baggage."""
        worker = await self.worker("f")
        action = {"type": "enqueue", "queue": "mail"}
        await self.call("f", 1, action=action, traceparent=TRACE, baggage="k=v")
        [call] = await self.take(worker)
        self.assertEqual(call["traceparent"].split("-")[1], TRACE.split("-")[1])
        self.assertEqual(call["baggage"], "k=v")

    async def test_one_queue_is_for_many_functions(self) -> None:
        """Also in other namespaces."""
        here, there = await self.worker("f", "g"), await self.worker()
        await there.register("f", namespace="blue")
        await self.enqueue("mail", "f", 1)
        self.assertEqual((await self.take(here))[0]["function_id"], "f")
        await self.enqueue("mail", "g", 2)
        self.assertEqual((await self.take(here))[0]["function_id"], "g")
        asked = {"queue": "mail", "function_id": "f", "data": 3, "namespace": "blue"}
        await self.admin("enqueue", **asked)
        self.assertEqual(await self.handled(there), [3])

    @probe("03.29")
    async def test_a_handler_may_enqueue(self) -> None:
        """Chains."""
        worker = await self.worker("f", "g")
        await self.enqueue("mail", "f", 1)
        [call] = await self.take(worker)
        await worker.call("g", 2, action={"type": "enqueue", "queue": "default"})
        worker.reply(call)
        [call] = await self.take(worker)
        self.assertEqual((call["function_id"], call["data"]), ("g", 2))

    async def test_a_queue_is_made_while_the_engine_runs(self) -> None:
        """``queue::define``; kept over a restart."""
        wanted = {"queue": "new", "config": {"concurrency": 1}}
        self.assertTrue((await self.call("queue::define", wanted))["changed"])
        self.assertFalse((await self.call("queue::define", wanted))["changed"])
        await self.enqueue("new", "f", 1)
        await self.restart()
        await self.enqueue("new", "f", 2)
        worker = await self.worker("f")
        self.assertEqual(await self.handled(worker, 2), [1, 2])
