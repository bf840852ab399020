"""Pub/sub on Redis: engines hear each other (03 §2.3, §2.4)."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from iii.engine import corefunctions
from iii.engine.core import Engine
from iii.engine.module import ModuleApi, NoConfig
from iii.errors import Code, StartError
from iii.modules.pubsub import PubSubModule
from iii.modules.pubsub.adapters import redis as adapters
from iii.modules.pubsub.adapters.redis import RedisAdapter
from iii.redis import Redis, RedisConfig
from iii.wire.listener import WorkerListener
from tests.redis.cases import RedisCase
from tests.support.engine_case import RawWorker, _cancel_batched_timers
from tests.support.probes import probe
from tests.support.rawsocket import open_socket


class Running:
    """One engine with pub/sub on Redis, behind a worker port.

    :ivar workers: those that connected
    """

    def __init__(self, url: str) -> None:
        self.engine = Engine(reactor)
        corefunctions.install(self.engine)
        self.module = PubSubModule(NoConfig())
        self.module.adapter = RedisAdapter(RedisConfig(redis_url=url))
        self.listener = WorkerListener(self.engine, host="127.0.0.1", port=0)
        self.workers: list[RawWorker] = []

    async def start(self) -> None:
        """Everything up."""
        self.engine.start()
        ready = self.module.start(ModuleApi(self.engine, "iii-pubsub"))
        assert ready is not None
        await ready
        self.listener.listen()

    @property
    def redis(self) -> Redis:
        """The adapter's client."""
        redis: Redis = self.module.adapter._redis
        return redis

    async def worker(self, *functions: str) -> RawWorker:
        """A connected worker."""
        socket = await open_socket(self.listener.port)
        worker = RawWorker(socket, await socket.next_message())
        self.workers.append(worker)
        if functions:
            await worker.register(*functions)
        return worker

    async def stop(self) -> None:
        """Everything down."""
        for worker in self.workers:
            await worker.leave()
        await self.listener.stop_listening()
        self.listener.factory.stop()
        stopping = self.module.stop()
        if stopping is not None:
            await stopping
        self.engine.stop()
        _cancel_batched_timers()


class PubSubCase(RedisCase):
    """Engines, each with a worker that publishes."""

    async def running(self) -> Running:
        """One more engine."""
        engine = Running(self.server.url)
        self.addCleanup(engine.stop)
        await engine.start()
        return engine

    async def subscriber(
        self, engine: Running, function: str = "hook", topic: str = "t"
    ) -> RawWorker:
        """A worker of ``engine`` that hears; Redis knows of it."""
        worker = await engine.worker(function)
        await worker.trigger("subscribe", function, {"topic": topic})
        await self.eventually(lambda: self.subscribers(topic) > 0)
        return worker

    def subscribers(self, topic: str = "t") -> int:
        """How many engines listen, as Redis has it."""
        count: int = self.server.ask("PUBSUB", "NUMSUB", topic)[1]
        return count

    async def heard(self, worker: RawWorker, count: int, function: str = "hook") -> list[Any]:
        """The next ``count`` messages."""
        return [(await worker.invoked(function))["data"] for _ in range(count)]


async def publish(worker: RawWorker, data: Any, topic: str = "t", **more: Any) -> None:
    """``publish``; there is no value."""
    assert await worker.call("publish", {"topic": topic, "data": data}, **more) is None


class TwoEngines(PubSubCase):
    """What one publishes, both hear."""

    @probe("03.54")
    async def test_each_engine_hears_exactly_once(self) -> None:
        """Two subscribers of the publishing engine, one of the other; in order."""
        a, b = await self.running(), await self.running()
        one = await self.subscriber(a, "one")
        two = await self.subscriber(a, "two")
        other = await self.subscriber(b, "other")
        await self.eventually(lambda: self.subscribers() == 2)
        sent = [{"n": n, "text": "ä\u2028"} for n in range(100)]
        publisher = await a.worker()
        for data in sent:
            publisher.invoke("publish", {"topic": "t", "data": data})
        await publish(publisher, "last")
        for worker, function in ((one, "one"), (two, "two"), (other, "other")):
            self.assertEqual(await self.heard(worker, 101, function), [*sent, "last"])
            await worker.settled()
            self.assertEqual(worker.inbox, [])

    async def test_the_last_subscriber_takes_the_channel_with_it(self) -> None:
        """03 §6, 15: and not one before."""
        a = await self.running()
        worker = await a.worker("hook")
        first = await worker.trigger("subscribe", "hook", {"topic": "t"})
        second = await worker.trigger("subscribe", "hook", {"topic": "t", "more": 1})
        await publish(worker, 1)
        self.assertEqual(await self.heard(worker, 2), [1, 1])
        worker.send("unregistertrigger", id=first, trigger_type="subscribe")
        await publish(worker, 2)
        self.assertEqual(await self.heard(worker, 1), [2])
        worker.send("unregistertrigger", id=second, trigger_type="subscribe")
        await self.eventually(lambda: self.subscribers() == 0)
        await publish(worker, 3)
        await worker.settled()
        self.assertEqual(worker.inbox, [])

    async def test_who_subscribes_and_then_publishes_hears_it(self) -> None:
        """Although the two take different connections."""
        a = await self.running()
        worker = await a.worker("hook")
        for number in range(20):
            topic = f"t{number}"
            trigger = {"trigger_type": "subscribe", "function_id": "hook"}
            worker.send("registertrigger", id=topic, config={"topic": topic}, **trigger)
            worker.invoke("publish", {"topic": topic, "data": number})
        self.assertEqual(sorted(await self.heard(worker, 20)), list(range(20)))

    async def test_listing(self) -> None:
        """The console sees how they travel."""
        a = await self.running()
        worker = await self.subscriber(a)
        self.assertEqual(
            await worker.call("engine::pubsub::list_topics"),
            [{"name": "t", "broker_type": "redis", "subscriber_count": 1}],
        )


class OnTheWire(PubSubCase):
    """03 §2.3: the payload and nothing else, as the original's engines have it."""

    async def test_a_foreign_subscriber_gets_the_data_as_it_was_sent(self) -> None:
        """Byte for byte; a trace context has no place."""
        a = await self.running()
        client = await self.redis()
        seen: list[tuple[bytes, bytes]] = []
        client.subscribe("t", lambda channel, body: seen.append((channel, body)))
        await client.subscribed("t")
        worker = await a.worker()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await publish(worker, {"b": 1.50, "a": [None]}, traceparent=trace, baggage="k=v")
        await self.eventually(lambda: seen)
        self.assertEqual(seen, [(b"t", b'{"b":1.5,"a":[null]}')])

    async def test_a_foreign_publisher_is_heard(self) -> None:
        """And what is no JSON is dropped, with one line."""
        a = await self.running()
        worker = await self.subscriber(a)
        for text in ("[1", "hidden", "", '{"x": 1}'):
            self.server.ask("PUBLISH", "t", text)
        client = await self.redis()
        await client.call("PUBLISH", "t", b'"\xff"')
        await client.call("PUBLISH", "t", b"2")
        self.assertEqual(await self.heard(worker, 2), [{"x": 1}, 2])
        [line] = self.said("dropped 1 message(s) from Redis")
        self.assertIn("the last one on t: it is no JSON", line)

    async def test_what_is_too_large_for_redis_is_refused(self) -> None:
        """Redis cuts subscribers off that are too far behind; from elsewhere it is dropped."""
        self.patch(adapters, "MAX_MESSAGE_BYTES", 1000)
        a = await self.running()
        worker = await self.subscriber(a)
        error = await worker.error_of("publish", {"topic": "t", "data": "x" * 1000})
        self.assertEqual(error["code"], "payload_too_large")
        self.server.ask("PUBLISH", "t", '"' + "x" * 1000 + '"')
        await publish(worker, "x" * 998)
        self.assertEqual(await self.heard(worker, 1), ["x" * 998])
        self.assertEqual(len(self.said("1002 bytes; at most 1000 are taken")), 1)


class Away(PubSubCase):
    """Redis goes and comes back."""

    async def test_the_engine_does_not_start_without_it(self) -> None:
        """With a code, and without the password."""
        self.server.kill()
        engine = Running(self.server.url.replace("//", "//:hidden@"))
        with self.assertRaises(StartError) as caught:
            await engine.start()
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)
        self.assertNotIn("hidden", str(caught.exception))
        await engine.stop()

    async def test_publishers_are_told(self) -> None:
        """03 §2.4: ``publish_failed`` instead of success, at once."""
        a = await self.running()
        worker = await self.subscriber(a)
        self.server.kill()
        error = await worker.error_of("publish", {"topic": "t", "data": 1})
        self.assertEqual(error["code"], "publish_failed")
        self.assertIn("the message was not published: redis_unavailable: ", error["message"])

    async def test_stopped_and_started_under_load(self) -> None:
        """What is published while it is there is heard, in order, by both engines."""
        a, b = await self.running(), await self.running()
        one, other = await self.subscriber(a, "one"), await self.subscriber(b, "other")
        await self.eventually(lambda: self.subscribers() == 2)
        publisher = await a.worker()
        for number, stop in enumerate((self.server.kill, self.server.stop, self.server.kill), 1):
            sent = send(publisher, range(50))
            self.assertEqual(set(await codes(publisher, sent)), {None})
            for worker, function in ((one, "one"), (other, "other")):
                self.assertEqual(await self.heard(worker, 50, function), list(range(50)))
            during = send(publisher, range(50, 100))
            stop()
            during += send(publisher, range(100, 150))
            answers = await codes(publisher, during)
            self.assertEqual(answers[-1], "publish_failed")
            self.assertLessEqual(set(answers), {None, "publish_failed"})
            self.server.start()
            await self.eventually(lambda: self.subscribers() == 2)
            await self.both_told(number)
            await publish(publisher, "last")
            for worker, function in ((one, "one"), (other, "other")):
                heard = await self.up_to_last(worker, function)
                self.assertEqual(heard, sorted(set(heard)))

    async def both_told(self, times: int) -> None:
        """Each engine has said that Redis went and came, so often and no more."""
        await self.eventually(lambda: len(self.said("is back after")) >= 2 * times)
        self.assertEqual(len(self.said("is back after")), 2 * times)
        self.assertEqual(len(self.said("is away")), 2 * times)

    async def up_to_last(self, worker: RawWorker, function: str) -> list[int]:
        """What was heard before ``last``."""
        heard: list[int] = []
        while (data := (await worker.invoked(function))["data"]) != "last":
            heard.append(data)
        return heard


def send(worker: RawWorker, numbers: range) -> list[str]:
    """Publish without waiting; the invocation ids."""
    return [worker.invoke("publish", {"topic": "t", "data": n}) for n in numbers]


async def codes(worker: RawWorker, sent: list[str]) -> list[str | None]:
    """How each of them ended: the code of its error."""
    answers = [await worker.result_of(id) for id in sent]
    return [answer.get("error", {}).get("code") for answer in answers]
