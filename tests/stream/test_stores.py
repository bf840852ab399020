"""Streams over stores that are slow, that refuse, and that last (04 §5, §9)."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, fail

from iii.engine.module import ModuleApi
from iii.errors import StartError
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.module import StreamModule
from iii.storage.kvstore import KvStore, StoreConfig
from iii.storage.memory import MemoryStore
from iii.storage.store import Bucket, Change, Page, Store, StoreError
from tests.stream.cases import GROUP, STREAM, StreamCase

ITEM = {"stream_name": STREAM, "group_id": GROUP, "item_id": "i"}
LISTED = {"stream_name": STREAM, "group_id": GROUP}


class Slow(MemoryStore):
    """A store whose writes are done when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[Deferred[Change], Bucket, str, Raw]] = []

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store."""
        done: Deferred[Change] = Deferred()
        self.writes.append((done, bucket, key, value))
        return done

    def commit(self) -> None:
        """Everything written is safe now."""
        writes, self.writes = self.writes, []
        for done, bucket, key, value in writes:
            done.callback(self._put(bucket, key, value))


class Order(StreamCase):
    """04 §5 "Processing order"."""

    store: Slow

    def make_store(self) -> Store:
        """Where writes wait."""
        return Slow()

    async def test_nothing_is_told_before_the_write_is_done(self) -> None:
        """Then the trigger first, and the reply last."""
        worker = await self.hooked()
        client = await self.subscriber()
        ids = [worker.invoke("stream::set", {**ITEM, "data": number}) for number in range(3)]
        await self.quiet(worker)
        self.assertEqual(client.socket.frames, [])
        self.store.commit()
        order = []
        while len(order) < 6:
            await worker.socket.until(lambda: worker.socket.frames, "messages")
            worker._collect()
            order += [
                m["data"]["event"]["data"]
                if m["type"] == "invokefunction"
                else ids.index(m["invocation_id"]) + 10
                for m in worker.inbox
            ]
            worker.inbox.clear()
        self.assertEqual(order, [0, 10, 1, 11, 2, 12])
        self.assertEqual([(await client.next())["event"]["data"] for _ in ids], [0, 1, 2])


class Refusing(MemoryStore):
    """A store whose disk is full, and whose reads fail, too."""

    def get(self, bucket: Bucket, key: str) -> Deferred[Raw | None]:  # type: ignore[override]
        """Store."""
        return fail(StoreError("store_error", "no"))

    def set(self, *args: Any) -> Deferred[Change]:
        """Store."""
        return fail(StoreError("store_full", "disk full"))

    def delete(self, *args: Any) -> Deferred[Change]:
        """Store."""
        return fail(StoreError("store_full", "disk full"))

    def update(self, *args: Any) -> Deferred[Change]:
        """Store."""
        return fail(StoreError("store_full", "disk full"))

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store."""
        return fail(StoreError("store_error", "no"))

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store."""
        return fail(StoreError("store_error", "no"))

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store."""
        return fail(StoreError("store_error", "no"))


class Failing(StreamCase):
    """04 §5: the codes of what the store refuses."""

    def make_store(self) -> Store:
        """Where nothing works."""
        return Refusing()

    async def test_every_function_has_its_code(self) -> None:
        """And its text; nobody hears of an event."""
        hook = await self.hooked()
        rows = (
            ("set", "STREAM_SET_ERROR", "Failed to set value: disk full"),
            ("delete", "STREAM_DELETE_ERROR", "Failed to delete value: disk full"),
            ("update", "STREAM_UPDATE_ERROR", "Failed to update value: disk full"),
            ("get", "STREAM_GET_ERROR", "Failed to get value: no"),
            ("list", "STREAM_GET_GROUP_ERROR", "Failed to get group: no"),
            ("list_groups", "STREAM_LIST_GROUPS_ERROR", "Failed to list groups: no"),
            ("list_all", "STREAM_LIST_ALL_ERROR", "Failed to list stream: no"),
        )
        for operation, code, message in rows:
            asked = {**ITEM, "data": 1, "ops": []}
            error = await self.caller.error_of(f"stream::{operation}", asked)
            self.assertEqual((error["code"], error["message"]), (code, message))
        await self.quiet(hook)

    async def test_a_read_that_fails_at_once_fails_the_same(self) -> None:
        """A store may raise."""

        def get(bucket: Bucket, key: str) -> Raw:
            raise StoreError("store_error", "no")

        self.patch(self.store, "get", get)
        error = await self.caller.error_of("stream::get", ITEM)
        self.assertEqual(error["code"], "STREAM_GET_ERROR")
        with self.assertRaises(Exception) as caught:
            await self.module.streams.read_item(STREAM, GROUP, "i")
        self.assertEqual(getattr(caught.exception, "code", None), "STREAM_GET_ERROR")


class Durable(StreamCase):
    """04 §5, §9: the adapter ``kv`` with a file."""

    def make_module(self) -> StreamModule:
        """With its real adapter."""
        self.directory = self.mktemp()
        return self.another()

    def another(self) -> StreamModule:
        """A module on the same directory."""
        module = StreamModule(self.settings)
        module.adapter = KvStore(StoreConfig(file_path=self.directory))
        return module

    async def test_a_burst_is_kept_and_told_in_order(self) -> None:
        """And is there after a restart."""
        hook = await self.hooked({"stream_name": STREAM})
        client = await self.subscriber()
        ids = [
            self.caller.invoke("stream::set", {**ITEM, "item_id": str(n % 7), "data": n})
            for n in range(100)
        ]
        ids += [self.caller.invoke("stream::delete", {**ITEM, "item_id": "0"})]
        op = {"type": "increment", "path": "", "by": 1}
        ids += [self.caller.invoke("stream::update", {**ITEM, "item_id": "1", "ops": [op]})]
        answers = [await self.caller.result_of(id) for id in ids]
        self.assertEqual(answers[99]["result"], {"old_value": 92, "new_value": 99})
        self.assertEqual(answers[101]["result"], {"old_value": 99, "new_value": 100})
        for told in (
            [await client.next() for _ in ids],
            [(await hook.invoked("hook"))["data"] for _ in ids],
        ):
            self.assertEqual([e["event"]["data"] for e in told], [*range(100), 98, 100])
            kinds = [e["event"]["type"] for e in told]
            self.assertEqual(kinds, ["create"] * 7 + ["update"] * 93 + ["delete", "update"])
        self.assertEqual(await self.caller.call("stream::list", LISTED), [100, 93, 94, 95, 96, 97])

        await self.module.stop()
        self.module = self.another()
        self.module.start(ModuleApi(self.engine, "iii-stream"))
        self.assertEqual(list(self.module.stores), ["stream"])
        self.assertEqual(await self.caller.call("stream::list", LISTED), [100, 93, 94, 95, 96, 97])
        self.assertEqual(await self.get("1"), 100)
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual(everything, {"stream": [{"id": "chat", "groups": ["g"]}], "count": 1})

    async def test_a_start_that_fails_leaves_nothing_behind(self) -> None:
        """The port is taken: the store is let go of."""
        self.assertEqual(self.engine.ready["stream"], self.module.port)
        taken = StreamModule(StreamConfig(port=self.module.port, host="127.0.0.1"))
        taken.adapter = KvStore(StoreConfig(file_path=self.mktemp()))
        with self.assertRaises(StartError) as caught:
            taken.start(ModuleApi(self.engine, "iii-stream"))
        self.assertEqual(caught.exception.code, "address_in_use")
        await taken.stop()
