"""What is published, and who hears of it (03 §2)."""

from __future__ import annotations

from typing import Any

from tests.pubsub.cases import PubSubCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Publishing(PubSubCase):
    """03 §2.1: the function ``publish``."""

    @probe("03.51")
    async def test_every_subscriber_is_called_once_with_the_data(self) -> None:
        """Whatever JSON it is; the publisher gets no value."""
        one, two = await self.subscriber("one"), await self.subscriber("two")
        sent: list[Any] = [{"a": 1}, None, 0, "text", [], False]
        for data in sent:
            answer = await self.publisher.result_of(
                self.publisher.invoke("publish", {"topic": "t", "data": data})
            )
            self.assertNotIn("result", answer)
            self.assertNotIn("error", answer)
        self.assertEqual(await self.heard(one, "one"), sent)
        self.assertEqual(await self.heard(two, "two"), sent)

    @probe("03.53")
    async def test_nobody_listens(self) -> None:
        """03.53, second part: that is fine."""
        self.assertIsNone(await self.publish(1))

    @probe("03.53")
    async def test_a_handler_that_fails_is_nobody_s_business(self) -> None:
        """Neither the publisher's nor that of other subscribers."""
        failing, other = await self.subscriber("failing"), await self.subscriber("other")
        absent = await self.worker()
        await absent.trigger("subscribe", "nowhere", {"topic": "t"})
        for number in range(2):
            self.assertIsNone(await self.publish(number))
            await failing.answer("failing", error={"code": "X", "message": "no"})
        self.assertEqual(await self.heard(other, "other"), [0, 1])

    @probe("03.53")
    async def test_wrong_input_is_refused_and_the_data_looked_at_first(self) -> None:
        """03 §2.1: the codes and texts clients know."""
        failed = "Failed to deserialize input for publish: "
        rows: tuple[tuple[Any, str, str], ...] = (
            ({"topic": "", "data": 1}, "topic_not_set", "Topic is not set"),
            ({"topic": ""}, "deserialization_error", failed + "missing field `data`"),
            ({"topic": "t"}, "deserialization_error", failed + "missing field `data`"),
            ({"data": 1}, "deserialization_error", failed + "missing field `topic`"),
            ({}, "deserialization_error", failed + "missing field `topic`"),
            (
                {"topic": 5, "data": 1},
                "deserialization_error",
                failed + "invalid type: integer `5`, expected a string",
            ),
        )
        for data, code, message in rows:
            error = await self.publisher.error_of("publish", data)
            self.assertEqual((error["code"], error["message"]), (code, message))

    async def test_the_data_arrives_byte_for_byte(self) -> None:
        """Spelling, numbers of any size, and nothing of the caller's added."""
        hook = await self.subscriber()
        data = b'{ "n" : 1.0e2,"big":123456789012345678901234567890, "u":"\\u00e4" ,"b":{} }'
        self.publisher.socket.text(
            b'{"type":"invokefunction","function_id":"publish",'
            b'"data":{"more":1,"data":' + data + b',"topic":"t"}}'
        )
        frame = await hook.socket.next_frame()
        self.assertTrue(frame.payload.endswith(b'"data":' + data + b"}"), frame.payload)

    async def test_topics_are_exact(self) -> None:
        """No wildcards, no prefixes, any character."""
        topics = ("a", "a.b", "a.*", "*", "#", "A", " a")
        workers = {topic: await self.subscriber(f"on {topic}", topic) for topic in topics}
        for topic in topics:
            await self.publish(topic, topic)
        for topic, worker in workers.items():
            self.assertEqual(await self.heard(worker, f"on {topic}"), [topic])

    async def test_the_trace_of_the_publisher_goes_on(self) -> None:
        """03 §2.4: it is the parent of handlers and conditions."""
        worker = await self.subscriber(config={"condition_function_id": "check"})
        await worker.register("check")
        await self.publish(1, traceparent=TRACE, baggage="tenant=a")
        asked = await worker.answer("check", result=True)
        called = await worker.invoked("hook")
        for call in (asked, called):
            self.assertEqual((call["traceparent"], call["baggage"]), (TRACE, "tenant=a"))
        await self.publish(2)
        self.assertNotIn("traceparent", await worker.answer("check", result=False))


class Order(PubSubCase):
    """03 §2.4: every subscriber hears in the order of publishing."""

    async def test_a_burst_arrives_in_order(self) -> None:
        """At everybody, however many waits for nobody."""
        one, two = await self.subscriber("one"), await self.subscriber("two")
        for number in range(300):
            self.publisher.send(
                "invokefunction", function_id="publish", data={"topic": "t", "data": number}
            )
        self.assertEqual(await self.heard(one, "one"), list(range(300)))
        self.assertEqual(await self.heard(two, "two"), list(range(300)))

    async def test_conditions_do_not_change_it(self) -> None:
        """The second answers first."""
        worker = await self.subscriber(config={"condition_function_id": "check"})
        await worker.register("check")
        await self.publish("a")
        await self.publish("b")
        first, second = await worker.invoked("check"), await worker.invoked("check")
        worker.reply(second, result=True)
        self.assertEqual(await self.heard(worker), [])
        worker.reply(first, result=True)
        self.assertEqual(await self.heard(worker), ["a", "b"])

    async def test_a_trigger_may_publish(self) -> None:
        """Its message comes after the one that set it off, also to who subscribed later."""
        relay = await self.worker()
        await relay.trigger("subscribe", "publish", {"topic": "t"})
        late = await self.subscriber()
        second = {"topic": "t", "data": "third"}
        first = {"topic": "t", "data": second}
        await self.publish(first)
        self.assertEqual(await self.heard(late), [first, second, "third"])

    async def test_a_long_chain_of_them_is_no_deep_stack(self) -> None:
        """Each message holds the next."""
        relay = await self.worker()
        await relay.trigger("subscribe", "publish", {"topic": "t"})
        last = await self.subscriber(topic="end")
        data: Any = {"topic": "end", "data": "arrived"}
        for _ in range(400):
            data = {"topic": "t", "data": data}
        await self.publish(data)
        self.assertEqual(await self.heard(last), ["arrived"])


class Subscribing(PubSubCase):
    """03 §2.1, 08 §2: the trigger type ``subscribe``."""

    async def refusal(self, worker: RawWorker, config: Any) -> Any:
        worker.send(
            "registertrigger", id="t", trigger_type="subscribe", function_id="hook", config=config
        )
        return (await worker.expect("triggerregistrationresult", id="t"))["error"]

    async def test_a_trigger_without_a_topic_is_refused(self) -> None:
        """And hears nothing; the connection stays."""
        worker = await self.worker("hook")
        configs: tuple[Any, ...] = ({}, {"topic": ""}, {"topic": 5}, {"topic": None}, None, [], "t")
        for config in configs:
            error = await self.refusal(worker, config)
            self.assertEqual(
                (error["code"], error["message"]),
                ("trigger_registration_failed", "Topic is not set"),
            )
        await self.publish(1)
        await self.quiet(worker)
        self.assertEqual(await self.topics(), [])

    @probe("03.52")
    async def test_one_of_three_goes_and_the_others_stay(self) -> None:
        """The original took all of them along."""
        workers = {name: await self.subscriber(name, id=name) for name in ("a", "b", "c")}
        workers["b"].send("unregistertrigger", id="b", trigger_type="subscribe")
        await workers["b"].settled()
        await self.publish(1)
        got = {name: await self.heard(worker, name) for name, worker in workers.items()}
        self.assertEqual(got, {"a": [1], "b": [], "c": [1]})

    async def test_a_worker_that_leaves_takes_its_own_along(self) -> None:
        """Those of others on the topic stay."""
        gone, stays = await self.subscriber("gone"), await self.subscriber("stays")
        await self.gone(gone)
        await self.publish(1)
        self.assertEqual(await self.heard(stays, "stays"), [1])
        await self.gone(stays)
        self.assertEqual(await self.topics(), [])

    async def test_two_triggers_of_one_function_are_two_calls(self) -> None:
        """03 §2.2: one for each trigger id."""
        worker = await self.subscriber(id="one")
        await worker.trigger("subscribe", "hook", {"topic": "t"}, id="two")
        await self.publish(1)
        self.assertEqual(await self.heard(worker), [1, 1])
        worker.send("unregistertrigger", id="one", trigger_type="subscribe")
        await worker.settled()
        await self.publish(2)
        self.assertEqual(await self.heard(worker), [2])

    async def test_replicas_share_one_call(self) -> None:
        """08 §2: alike registrations of several workers are one, until the last goes."""
        replicas = [await self.subscriber() for _ in range(2)]
        await self.publish(1)
        got = [await self.heard(replica) for replica in replicas]
        self.assertEqual(sorted(got), [[], [1]])
        await self.gone(replicas[0])
        await self.publish(2)
        self.assertEqual(await self.heard(replicas[1]), [2])

    async def test_the_same_id_again_replaces(self) -> None:
        """03 §2.2: another topic, the same trigger."""
        worker = await self.subscriber(topic="a", id="x")
        await worker.trigger("subscribe", "hook", {"topic": "b"}, id="x")
        await self.publish("old", "a")
        await self.publish("new", "b")
        self.assertEqual(await self.heard(worker), ["new"])

    async def test_a_condition_decides(self) -> None:
        """03 §2.1 OURS: asked with the data; only `false` and failure hold back."""
        worker = await self.subscriber(config={"condition_function_id": "check"})
        await worker.register("check")
        outcomes: tuple[tuple[dict[str, Any], bool], ...] = (
            ({"result": False}, False),
            ({"result": None}, True),
            ({"result": 0}, True),
            ({}, True),
            ({"error": {"code": "X", "message": "no"}}, False),
        )
        for number, (outcome, called) in enumerate(outcomes):
            await self.publish(number)
            self.assertEqual((await worker.answer("check", **outcome))["data"], number)
            self.assertEqual(await self.heard(worker), [number] if called else [])

    async def test_a_condition_that_is_no_name_is_none(self) -> None:
        """Wrong types were never refused."""
        for number, wrong in enumerate((5, "", None, {})):
            worker = await self.subscriber(f"f{number}", config={"condition_function_id": wrong})
            await self.publish(number)
            self.assertEqual(await self.heard(worker, f"f{number}"), [number])

    async def test_handlers_get_the_trigger_s_metadata(self) -> None:
        """As those of every trigger."""
        worker = await self.subscriber(metadata={"team": "a"})
        await self.publish(1)
        self.assertEqual((await worker.invoked("hook"))["metadata"], {"team": "a"})
