"""Channels of topics, as the original uses them (03 §1.9)."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi
from iii.redis import Redis, parse_url
from tests.queue.redis.cases import RedisQueueCase
from tests.support.engine_case import RawWorker
from tests.support.probes import probe


class Listening(RedisQueueCase):
    """``legacy_pubsub``, the default."""

    async def heard(self, topic: str) -> None:
        """Wait until somebody listens to the channel of ``topic``."""

        async def so() -> bool:
            return self.server.ask("PUBSUB", "NUMSUB", topic) == [topic, 1]

        await self.until(so, f"one subscriber of the channel {topic}")

    @probe("03.46")
    async def test_what_others_publish_is_delivered(self) -> None:
        """A bare value, or the envelope of the original, with its trace."""
        worker = await self.subscriber("f", "t")
        await self.heard("t")
        self.server.ask("PUBLISH", "t", '{"x":1}')
        self.assertEqual(await self.handled(worker), [{"x": 1}])
        self.server.ask("PUBLISH", "t", '{"__trace":{},"data":5}')
        self.assertEqual(await self.handled(worker), [5])
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        body = {"__trace": {"traceparent": trace, "baggage": "k=v"}, "data": [1]}
        self.server.ask("PUBLISH", "t", msgspec.json.encode(body).decode())
        [call] = await self.take(worker)
        self.assertEqual((call["data"], call["baggage"]), ([1], "k=v"))
        self.assertEqual(call["traceparent"].split("-")[1], trace.split("-")[1])

    async def test_what_is_no_envelope_is_a_value(self) -> None:
        """And what is no JSON is dropped."""
        worker = await self.subscriber("f", "t", queue_config={"type": "fifo"})
        await self.heard("t")
        for body in ('{"__trace":1,"data":2}', '{"__trace":{}}', "nonsense{", "7"):
            self.server.ask("PUBLISH", "t", body)
        self.assertEqual(
            await self.handled(worker, 3), [{"__trace": 1, "data": 2}, {"__trace": {}}, 7]
        )

    async def test_it_is_durable_from_then_on(self) -> None:
        """It is tried again as everything is, and every group has a copy."""
        one = await self.subscriber("f", "t", "durable:subscriber")
        other = await self.subscriber("g", "t", "durable:subscriber")
        await self.heard("t")
        self.server.ask("PUBLISH", "t", "1")
        self.assertEqual(await self.failed(one), [1])
        self.assertEqual(await self.handled(one), [1])
        self.assertEqual(await self.handled(other), [1])

    async def test_one_engine_listens_and_another_takes_over(self) -> None:
        """So a message is put once; after a stop the lease is free at once."""
        other = await self.start()
        worker = await other.worker("f")
        await self.subscribe(worker, "f", "t")
        await self.heard("t")
        here = await self.subscriber("f", "t")
        await self.heard("t")
        self.server.ask("PUBLISH", "t", "1")
        got = await self.either(here, worker)
        self.assertEqual(got, [1])
        await self.stop(other)
        await self.heard("t")
        self.server.ask("PUBLISH", "t", "2")
        self.assertEqual(await self.handled(here), [2])

    async def either(self, *workers: RawWorker) -> list[object]:
        """The data of the one call that reaches any of these workers."""
        got: list[object] = []

        async def one() -> bool:
            for worker in workers:
                await worker.settled()
                inbox = worker.inbox
                for call in [m for m in inbox if m["type"] == "invokefunction"]:
                    inbox.remove(call)
                    got.append(call["data"])
                    worker.reply(call)
            return bool(got)

        await self.until(one, "a call")
        await self.empty("t")
        return got


class Publishing(RedisQueueCase):
    """``legacy_publish``."""

    settings = {"legacy_publish": True}

    async def test_others_hear_it_in_the_original_s_form(self) -> None:
        """And our own subscribers get it once."""
        worker = await self.subscriber("f", "t")
        heard = await self.listen("t")
        await self.publish("t", {"a": 1})
        body = msgspec.json.decode(await heard)
        self.assertEqual(body["data"], {"a": 1})
        self.assertLessEqual({"traceparent", "baggage"}, body["__trace"].keys())
        self.assertEqual(await self.handled(worker), [{"a": 1}])
        await self.publish("t", 2)
        self.assertEqual(await self.handled(worker), [2])
        await self.empty("t")
        await self.idle(worker)

    async def listen(self, topic: str) -> Deferred[bytes]:
        """Fires with the next message on the channel of a topic."""
        api = ModuleApi(self.node.engine, "iii-other")
        redis = Redis(api, parse_url(self.server.url), who="other", without="nothing works")
        self.addCleanup(redis.stop)
        await redis.start()
        heard: Deferred[bytes] = Deferred()
        redis.subscribe(topic, lambda channel, body: heard.called or heard.callback(body))
        await redis.subscribed(topic)
        return heard


class PubSub(RedisQueueCase):
    """``mode: pubsub``, the original's form."""

    settings = {"mode": "pubsub"}

    async def test_every_engine_gets_it_once(self) -> None:
        """For each of its groups; also what others publish."""
        other = await self.start()
        there = await other.worker("f")
        await self.subscribe(there, "f", "t")
        here = await self.subscriber("f", "t")
        second = await self.subscriber("g", "t", "durable:subscriber")
        await self.until(self.both_listen, "both engines on the channel")
        await self.publish("t", {"a": 1})
        for worker in (here, there, second):
            self.assertEqual(await self.handled(worker), [{"a": 1}])
        self.server.ask("PUBLISH", "t", '{"__trace":{},"data":5}')
        for worker in (here, there, second):
            self.assertEqual(await self.failed(worker), [5])
        await self.idle(here, there, second)
        self.assertEqual((await self.stats("t"))["depth"], 0)
        self.assertEqual(self.server.ask("KEYS", "*"), [])

    async def both_listen(self) -> bool:
        """Whether both engines are subscribed."""
        return bool(self.server.ask("PUBSUB", "NUMSUB", "t") == ["t", 2])

    async def test_what_can_t_be_is_refused(self) -> None:
        """Nothing is kept that could be promised."""
        error = await self.error("enqueue", {"topic": "t", "data": 1, "delay_ms": 5})
        self.assertIn("mode pubsub", error["message"])
        error = await self.error("iii::queue::redrive", {"topic": "t"})
        self.assertEqual(error["code"], "not_supported")
