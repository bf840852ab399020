"""Streams on Redis: every engine's subscribers hear of every engine's writes (04 §9)."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from iii.errors import Code, StartError
from iii.modules.stream.adapters import redis as adapters
from iii.modules.stream.adapters.redis import RedisStreams
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.module import StreamModule
from iii.redis import RedisConfig
from tests.redis.stores import GROUP, STREAM, Running, StoresCase, stream
from tests.stream.cases import Subscriber

CHANNEL = "stream::events"
INCREMENT = [{"type": "increment", "path": "n", "by": 1}]


class StreamsCase(StoresCase):
    """Two engines, each with a worker and a subscriber of the group."""

    async def setUp(self) -> None:
        super().setUp()
        self.a, self.b = await self.running(), await self.running()
        self.one, self.other = await self.a.worker("one"), await self.b.worker("other")

    async def clients(self, **where: Any) -> tuple[Subscriber, Subscriber]:
        """A subscriber of each."""
        return await self.a.client(**where), await self.b.client(**where)

    async def events(self, client: Subscriber, count: int) -> list[Any]:
        """The next envelopes."""
        return [await client.next() for _ in range(count)]

    def publish(self, **envelope: Any) -> None:
        """What a foreign program says."""
        self.server.ask("PUBLISH", CHANNEL, msgspec.json.encode(envelope).decode())

    async def last(self, client: Subscriber) -> list[Any]:
        """What comes before an event that is sent now: nothing else is on its way."""
        asked = {"stream_name": STREAM, "group_id": GROUP, "type": "last", "data": None}
        await self.one.call("stream::send", asked)
        found: list[Any] = []
        while (told := await client.next())["event"].get("event", {}).get("type") != "last":
            found.append(told)
        return found


class Crossing(StreamsCase):
    """04 §9: delivery crosses engines, triggers do not."""

    async def test_each_hears_each_write_exactly_once(self) -> None:
        """On both, with the same content, in the same order."""
        clients = await self.clients()
        await stream(self.one, "set", data={"v": 1})
        await stream(self.other, "set", data={"v": 2})
        await stream(self.other, "update", ops=[{"type": "set", "path": "w", "value": 3}])
        await stream(self.one, "delete")
        await stream(self.one, "delete")
        await stream(self.other, "update", "new", ops=INCREMENT)
        told = (
            ("create", {"v": 1}),
            ("update", {"v": 2}),
            ("update", {"v": 2, "w": 3}),
            ("delete", {"v": 2, "w": 3}),
            ("create", {"n": 1}),
        )
        for client in clients:
            heard = [e["event"] for e in await self.events(client, 5)]
            self.assertEqual(heard, [{"type": kind, "data": data} for kind, data in told])
        for client in clients:
            self.assertEqual(await self.last(client), [])

    async def test_triggers_are_fired_where_it_was_written(self) -> None:
        """Once, by the engine that wrote or sent."""
        await self.one.trigger("stream", "one", {"stream_name": STREAM})
        await self.other.trigger("stream", "other", {"stream_name": STREAM})
        await stream(self.one, "set", "a", data=1)
        await stream(self.other, "set", "b", data=2)
        sent = {"stream_name": STREAM, "group_id": GROUP, "type": "t", "data": 3}
        await self.one.call("stream::send", sent)
        heard = [(await self.one.invoked("one"))["data"]["id"] for _ in range(2)]
        self.assertEqual(heard, ["a", None])
        self.assertEqual((await self.other.invoked("other"))["data"]["id"], "b")
        client = await self.b.client()
        await self.last(client)
        await self.one.invoked("one")
        for worker in (self.one, self.other):
            await worker.settled()
            self.assertEqual(worker.inbox, [])

    async def test_what_a_provider_keeps_is_told_to_all(self) -> None:
        """04 §8: the event is the engine's."""
        provider = await self.a.worker(f"stream::set({STREAM})")
        clients = await self.clients()
        asked = {"stream_name": STREAM, "group_id": GROUP, "item_id": "i", "data": 5}
        id = self.one.invoke("stream::set", asked)
        await provider.answer(f"stream::set({STREAM})", result={"new_value": 5})
        await self.one.result_of(id)
        for client in clients:
            self.assertEqual((await client.next())["event"], {"type": "create", "data": 5})
        self.assertEqual(self.server.ask("EXISTS", f"stream:{STREAM}:{GROUP}"), 0)

    async def test_messages_have_the_order_of_the_writes(self) -> None:
        """04 §6.4: both write the same item at once; nobody is left with an old value."""
        clients = await self.clients()
        asked = [
            (
                worker,
                worker.invoke(
                    "stream::update" if number % 3 else "stream::set",
                    {
                        "stream_name": STREAM,
                        "group_id": GROUP,
                        "item_id": "i",
                        "ops": [{"type": "set", "path": "last", "value": f"{name}{number}"}],
                        "data": {"last": f"{name}{number}"},
                    },
                ),
            )
            for number in range(100)
            for name, worker in (("a", self.one), ("b", self.other))
        ]
        for worker, id in asked:
            await worker.result_of(id)
        final = await stream(self.one, "get")
        lists = [await self.events(client, 200) for client in clients]
        for heard in lists:
            stamps = [envelope["timestamp"] for envelope in heard]
            self.assertEqual(stamps, sorted(set(stamps)))
            self.assertEqual(heard[-1]["event"]["data"], final)
        contents = [[e["event"]["data"] for e in heard] for heard in lists]
        self.assertEqual(contents[0], contents[1])

    async def test_a_sync_has_what_the_other_wrote(self) -> None:
        """Groups are shared."""
        await stream(self.one, "set", "1", data="x")
        _, sync = await self.b.joined()
        self.assertEqual(sync["event"], {"type": "sync", "data": ["x"]})
        _, sync = await self.b.joined(item="1")
        self.assertEqual(sync["event"], {"type": "sync", "data": "x"})


class OnTheWire(StreamsCase):
    """04 §5.1, §9: what engines of the original write, say and hear."""

    async def test_what_we_say(self) -> None:
        """The envelope, byte for byte but for the time."""
        client = await self.redis()
        seen: list[bytes] = []
        client.subscribe(CHANNEL, lambda _, body: seen.append(body))
        await client.subscribed(CHANNEL)
        data = msgspec.Raw(b'{"z":"\xc3\xa9","a":1.10}')
        await stream(self.one, "set", 'i"1', data=data)
        await stream(self.one, "update", 'i"1', ops=[])
        await stream(self.one, "delete", 'i"1')
        sent = {"stream_name": STREAM, "group_id": GROUP, "type": "typing", "data": [1]}
        await self.one.call("stream::send", sent)
        await self.eventually(lambda: len(seen) == 4)
        times = [msgspec.json.decode(body)["timestamp"] for body in seen]
        now = self.a.engine.clock.wall_ms()
        for time in times:
            self.assertLess(abs(now - time), 5_000)
        events = [b'{"type":"%b","data":{"z":"\xc3\xa9","a":1.10}}' % kind for kind in (b"create", b"update", b"delete")]  # fmt: skip  # noqa: E501
        events.append(b'{"type":"event","event":{"type":"typing","data":[1]}}')
        ids = [b'"i\\"1"'] * 3 + [b"null"]
        self.assertEqual(
            seen,
            [
                b'{"type":"stream","timestamp":%d,"streamName":"chat","groupId":"g","id":%b,"event":%b}'
                % row
                for row in zip(times, ids, events, strict=True)
            ],
        )

    async def test_what_we_write(self) -> None:
        """A hash per group."""
        await stream(self.one, "set", "i:1", data={"z": 1})
        self.assertEqual(self.server.ask("HGETALL", f"stream:{STREAM}:{GROUP}"), ["i:1", '{"z":1}'])
        others = [k for k in self.server.ask("KEYS", "*") if not k.startswith("iii:")]
        self.assertEqual(others, [f"stream:{STREAM}:{GROUP}"])

    async def test_what_it_wrote(self) -> None:
        """Is listed, split at the first colon as there."""
        self.server.ask("HSET", "stream:chat:g:h", "1", '{"v":1}')
        self.server.ask("HSET", "stream:zoo:x", "1", "1")
        self.server.ask("HSET", "stream:nothing", "1", "1")
        everything = await self.one.call("stream::list_all", {})
        self.assertEqual(
            everything["stream"],
            [{"id": "chat", "groups": ["g:h"]}, {"id": "zoo", "groups": ["x"]}],
        )
        listed = await self.one.call("stream::list", {"stream_name": STREAM, "group_id": "g:h"})
        self.assertEqual(listed, [{"v": 1}])

    async def test_what_it_says(self) -> None:
        """Goes to our subscribers; what is no event goes nowhere, with one line."""
        client = await self.b.client()
        for text in ("", "hello", "[1]", '{"type":"other"}', '{"type":"stream","timestamp":"x"}'):
            self.server.ask("PUBLISH", CHANNEL, text)
        now = self.b.engine.clock.wall_ms()
        common = {"type": "stream", "streamName": STREAM, "groupId": GROUP}
        self.publish(**common, timestamp=now, event=5)
        theirs = {"timestamp": now, "id": "m", "event": {"type": "update", "data": {"x": 1}}}
        self.publish(**common, **theirs)
        told = await client.next()
        self.assertGreaterEqual(told.pop("timestamp"), now)
        del theirs["timestamp"]
        self.assertEqual(told, common | theirs)
        self.assertEqual(await self.last(client), [])
        self.assertEqual(len(self.said("dropped 1 message(s) from Redis")), 2)

    async def test_clocks_that_differ_lose_no_event(self) -> None:
        """04 §5.1: clients drop what is not newer than the last one of its item."""
        client = await self.b.client()
        now = self.b.engine.clock.wall_ms()
        common = {"type": "stream", "streamName": STREAM, "groupId": GROUP}
        update = {"type": "update", "data": 1}
        for ahead in (60_000, -60_000, 0, 2**60):
            self.publish(**common, timestamp=now + ahead, id="i", event=update)
        self.publish(**common, timestamp=now, id=None, event=update)
        await stream(self.one, "set", data=2)
        heard = await self.events(client, 6)
        stamps = [envelope["timestamp"] for envelope in heard]
        self.assertEqual(stamps, sorted(stamps))
        of_item = [envelope["timestamp"] for envelope in heard if envelope["id"]]
        self.assertEqual(of_item, sorted(set(of_item)))
        self.assertEqual(stamps[0], now + 60_000)
        self.assertLess(stamps[-1], now + 2 * 3_600_000)

    async def test_what_is_too_large_to_be_told_is_refused(self) -> None:
        """By set, update and send; Redis cuts off who is behind by more than 32 MiB."""
        self.patch(adapters.StreamTelling, "max_value_bytes", 100)
        self.patch(adapters, "MAX_EVENT_BYTES", 300)
        where = {"stream_name": STREAM, "group_id": GROUP, "item_id": "i"}
        large = "x" * 300
        ops = [{"type": "set", "path": "k", "value": large}]
        rows: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("set", {"data": large}, "STREAM_SET_ERROR"),
            ("update", {"ops": ops}, "STREAM_UPDATE_ERROR"),
            ("send", {"type": "t", "data": large}, "STREAM_SEND_ERROR"),
        )
        for name, more, code in rows:
            error = await self.one.error_of(f"stream::{name}", {**where, **more})
            self.assertEqual(error["code"], code)
            self.assertIn("go through Redis", error["message"])
        self.assertIsNone(await stream(self.one, "get"))


class Away(StreamsCase):
    """Redis goes and comes back."""

    async def test_the_engine_does_not_start_without_it(self) -> None:
        """With a code."""
        self.server.kill()
        module = StreamModule(StreamConfig(port=0, host="127.0.0.1"))
        module.adapter = RedisStreams(RedisConfig(redis_url=self.server.url))
        ready = module.start(self.api())
        assert isinstance(ready, Deferred)
        with self.assertRaises(StartError) as caught:
            await ready
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)
        await module.stop()

    async def test_callers_are_told_at_once(self) -> None:
        """04 §5: each with its code."""
        self.server.kill()
        where = {"stream_name": STREAM, "group_id": GROUP, "item_id": "i"}
        rows: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("set", {"data": 1}, "STREAM_SET_ERROR"),
            ("get", {}, "STREAM_GET_ERROR"),
            ("delete", {}, "STREAM_DELETE_ERROR"),
            ("update", {"ops": []}, "STREAM_UPDATE_ERROR"),
            ("list", {}, "STREAM_GET_GROUP_ERROR"),
            ("list_groups", {}, "STREAM_LIST_GROUPS_ERROR"),
            ("list_all", {}, "STREAM_LIST_ALL_ERROR"),
            ("send", {"type": "t", "data": 1}, "STREAM_SEND_ERROR"),
        )
        for name, more, code in rows:
            error = await self.one.error_of(f"stream::{name}", {**where, **more})
            self.assertEqual(error["code"], code, name)

    async def test_subscriptions_begin_anew_when_it_is_back(self) -> None:
        """04 §9: nobody is left with what was before, and events go on."""
        await stream(self.one, "set", "1", data="old")
        group, item = await self.b.client(), await self.b.client(item="1")
        stamps = [0, 0]
        for turn, stop in enumerate((self.server.kill, self.server.stop)):
            stop()
            self.server.start()
            # Written before the engines are back; nobody can hear of it.
            self.server.ask("HSET", f"stream:{STREAM}:{GROUP}", "1", f'"{turn}"')
            for number, (client, data) in enumerate(((group, [f"{turn}"]), (item, f"{turn}"))):
                sync = await client.next()
                self.assertEqual(sync["event"], {"type": "sync", "data": data})
                self.assertGreater(sync["timestamp"], stamps[number])
                stamps[number] = sync["timestamp"]
            await self.both_back()
            await stream(self.one, "set", "1", data="new")
            for number, client in enumerate((group, item)):
                told = await client.next()
                self.assertEqual(told["event"]["data"], "new")
                self.assertGreater(told["timestamp"], stamps[number])
                stamps[number] = told["timestamp"]

    async def test_only_the_channel_was_lost(self) -> None:
        """Redis cuts a listener off; its subscribers begin anew, once."""
        client = await self.b.client()
        self.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        self.assertEqual((await client.next())["event"], {"type": "sync", "data": []})
        await stream(self.other, "set", data=1)
        self.assertEqual((await client.next())["event"], {"type": "create", "data": 1})

    async def test_who_is_let_down_again_is_told_later(self) -> None:
        """Many clients with many subscriptions: no sync is doubled, none is missing."""
        clients = [await self.b.client(f"g{number}") for number in range(5)]
        for _ in range(3):
            self.server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            await self.eventually(lambda: self.listeners() == 2)
        for number, client in enumerate(clients):
            where = {"stream_name": STREAM, "group_id": f"g{number}", "item_id": "i", "data": 1}
            await self.other.call("stream::set", where)
            kinds: list[str] = []
            while not kinds or kinds[-1] == "sync":
                kinds.append((await client.next())["event"]["type"])
            self.assertEqual(kinds[-1], "create")
            self.assertIn(len(kinds) - 1, (1, 2, 3))

    def listeners(self) -> int:
        """How many engines listen, as Redis has it."""
        count: int = self.server.ask("PUBSUB", "NUMSUB", CHANNEL)[1]
        return count

    async def both_back(self) -> None:
        """Each engine can work again."""
        for engine in (self.a, self.b):
            await self.eventually(lambda engine=engine: _up(engine))
        await self.eventually(lambda: self.listeners() == 2)


def _up(engine: Running) -> bool:
    up: bool = engine.streams._store._redis.up  # type: ignore[union-attr]
    return up
