"""Streams that another engine keeps, and what the engines tell each other of them."""

from __future__ import annotations

from typing import Any

from iii.bridge import Link, parse_url
from iii.engine.module import ModuleApi
from iii.modules.stream.adapters.bridge import BridgeStreamStore
from iii.storage.store import Store
from tests.bridge.behind import Behind
from tests.bridge.cases import BridgeCase, Running
from tests.stream import test_events, test_functions, test_triggers
from tests.stream.cases import StreamCase, Subscriber
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import open_socket


class OverBridge(StreamCase):
    """The stream module over the store of the adapter ``bridge``."""

    async def setUp(self) -> None:
        self.behind = Behind(self.settings.max_value_bytes)
        await super().setUp()
        await self.eventually(lambda: self.link.connected)

    async def tearDown(self) -> None:
        await super().tearDown()
        await self.behind.stop()

    def make_store(self) -> Store:
        """StreamCase: in the engine behind."""
        api = ModuleApi(self.engine, "iii-stream")
        remote = parse_url(self.behind.url)
        self.link = Link(api, remote, "iii-stream-bridge", without="nothing works")
        store = BridgeStreamStore(api, self.link)
        self.link.start()
        return store


class ValuesOverBridge(OverBridge, test_functions.Values):
    """04 §5."""

    async def test_a_stored_null_is_a_value(self) -> None:
        """Before a write it looks like nothing from here: a new item, no event of its end."""
        client = await self.subscriber()
        await self.set("i", None)
        await self.set("i", None)
        kinds = [(await client.next())["event"]["type"] for _ in range(2)]
        self.assertEqual(kinds, ["create", "create"])


class ListsOverBridge(OverBridge, test_functions.Lists):
    """04 §5."""


class UpdatesOverBridge(OverBridge, test_functions.Updates):
    """04 §4, §5."""


class SendingOverBridge(OverBridge, test_functions.Sending):
    """04 §5."""


class LimitedOverBridge(OverBridge, test_functions.Limited):
    """04 §14.26."""


class ReadsOverBridge(OverBridge, test_functions.Reads):
    """What the sockets ask."""


class TimestampsOverBridge(OverBridge, test_events.OnTheWire):
    """04 §5.1."""


class FiltersOverBridge(OverBridge, test_triggers.Filters):
    """04 §7.1."""


def stream_entry(url: str | None = None) -> dict[str, Any]:
    """Streams, perhaps behind a bridge, in a configuration."""
    config: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
    if url is not None:
        name = "modules::stream::adapters::Bridge"
        config["adapter"] = {"class": name, "config": {"bridge_url": url}}
    return {"class": "modules::stream::StreamModule", "config": config}


class Engines(BridgeCase):
    """One engine keeps streams, two others have a bridge to it."""

    async def setUp(self) -> None:
        await super().setUp()
        pubsub = {"class": "modules::pubsub::PubSubModule"}
        self.owner = await self.start(stream_entry(), pubsub)
        self.first = await self.start(stream_entry(self.owner.url))
        self.second = await self.start(stream_entry(self.owner.url))
        self.engines = (self.owner, self.first, self.second)
        functions = self.owner.engine.functions
        await self.eventually(
            lambda: sum(f.id.startswith("stream::bridge::on_pub::") for f in functions) == 2
        )
        self.subscribers = [await self.subscriber(engine) for engine in self.engines]

    async def subscriber(self, engine: Running, item: str | None = None) -> Subscriber:
        """A client of a stream port that has its sync."""
        port = engine.engine.ready["stream"]
        socket = await open_socket(port)
        self._sockets.append(socket)
        subscriber = Subscriber(socket)
        subscriber.join(item=item)
        self.assertEqual((await subscriber.next())["event"]["type"], "sync")
        return subscriber

    async def everybody_hears(self, *events: dict[str, Any]) -> None:
        """Each subscriber hears each of these events once, and no other."""
        for subscriber in self.subscribers:
            heard = [(await subscriber.next())["event"] for _ in events]
            self.assertEqual(heard, list(events))
        await self.pause(0.05)
        for subscriber in self.subscribers:
            self.assertEqual(subscriber.socket.frames, [])

    async def test_everybody_hears_of_a_write_once(self) -> None:
        item = {"stream_name": "chat", "group_id": "g", "item_id": "i"}
        for value, engine in enumerate(self.engines):
            caller = await self.worker(engine)
            await caller.call("stream::set", {**item, "data": value})
            await self.everybody_hears(
                {"type": "update" if value else "create", "data": value},
            )
        caller = await self.worker(self.second)
        await caller.call("stream::delete", item)
        await self.everybody_hears({"type": "delete", "data": 2})

    async def test_everybody_hears_of_an_event_once(self) -> None:
        sent = {"stream_name": "chat", "group_id": "g", "type": "typing", "data": {"u": 1}}
        for engine in self.engines:
            caller = await self.worker(engine)
            await caller.call("stream::send", sent)
            await self.everybody_hears(
                {"type": "event", "event": {"type": "typing", "data": {"u": 1}}}
            )

    async def test_only_the_engine_that_wrote_fires_its_triggers(self) -> None:
        hooks: list[RawWorker] = []
        for engine in self.engines:
            hook = await self.worker(engine, "hook")
            await hook.trigger("stream", "hook", {"stream_name": "chat"})
            hooks.append(hook)
        sent = {"stream_name": "chat", "group_id": "g", "type": "typing", "data": 1}
        await hooks[1].call("stream::send", sent)
        await hooks[1].invoked("hook")
        await self.everybody_hears({"type": "event", "event": {"type": "typing", "data": 1}})
        for hook in hooks:
            await hook.settled()
            self.assertEqual(hook.inbox, [])
        item = {"stream_name": "chat", "group_id": "g", "item_id": "i"}
        await hooks[0].call("stream::set", {**item, "data": 1})
        await hooks[0].invoked("hook")
        await self.everybody_hears({"type": "create", "data": 1})
        for hook in hooks:
            await hook.settled()
            self.assertEqual(hook.inbox, [])

    async def test_subscribers_begin_anew_after_an_outage(self) -> None:
        for worker in self.owner.engine.workers.connections():
            if worker.name == "iii-stream-bridge":
                worker.link.evict()
        for subscriber in self.subscribers[1:]:
            self.assertEqual((await subscriber.next())["event"]["type"], "sync")

    async def test_without_bridges_nothing_is_published(self) -> None:
        await self.first.stop()
        await self.second.stop()
        heard = await self.worker(self.owner, "heard")
        await heard.trigger("subscribe", "heard", {"topic": "stream.events"})
        await self.eventually(lambda: len(list(self.owner.engine.workers)) == 1)
        item = {"stream_name": "chat", "group_id": "g", "item_id": "i"}
        await heard.call("stream::set", {**item, "data": 1})
        await heard.settled()
        self.assertEqual(heard.inbox, [])


class Originals(BridgeCase):
    """A bridge of the original, played by a worker (04 §11.7)."""

    async def test_what_its_engine_hears(self) -> None:
        pubsub = {"class": "modules::pubsub::PubSubModule"}
        owner = await self.start(stream_entry(), pubsub)
        listener = "stream::bridge::on_pub::0b5c"
        bridge = await self.worker(owner, listener)
        await bridge.trigger("subscribe", listener, {"topic": "stream.events"})
        caller = await self.worker(owner)
        item = {"stream_name": "chat", "group_id": "g", "item_id": "i"}
        await caller.call("stream::set", {**item, "data": 1})
        envelope = (await bridge.invoked(listener))["data"]
        self.assertEqual(envelope["event"], {"type": "create", "data": 1})
        self.assertEqual((envelope["type"], envelope["streamName"]), ("stream", "chat"))
        # What it writes here it publishes itself.
        await bridge.call("stream::set", {**item, "data": 2})
        await bridge.settled()
        self.assertEqual(bridge.inbox, [])

    async def test_a_store_of_08(self) -> None:
        """Its streams are kept by the key-value server, under the dotted name for updates."""
        owner = await self.start({"class": "modules::kv_server::KvServer"})
        bridge = await self.worker(owner)
        item = {"index": "chat::g", "key": "i"}
        await bridge.call("kv_server::set", {**item, "value": {"n": 1}})
        ops = [{"type": "increment", "path": "n", "by": 1}]
        await bridge.call("kv_server.update", {**item, "ops": ops})
        self.assertEqual(await bridge.call("kv_server::list", {"index": "chat::g"}), [{"n": 2}])
        keys = await bridge.call("kv_server::list_keys_with_prefix", {"prefix": "chat"})
        self.assertEqual(keys, ["chat::g"])
        self.assertEqual(await bridge.call("kv_server::list_groups", {}), {"groups": ["chat::g"]})
