"""The KV server through the engine (04 §10)."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.kv_server import KvServerModule
from iii.modules.kv_server import module as kv_module
from iii.storage.kvstore import StoreConfig
from iii.storage.memory import MemoryStore
from iii.storage.store import Bucket, Change, Compute, StoreError
from tests.support.engine_case import EngineCase, RawWorker
from tests.support.probes import probe

PLACE = {"index": "users", "key": "u1"}
NAMES = ("get", "set", "delete", "update", "list", "list_keys_with_prefix", "list_groups")


class KvCase(EngineCase):
    """A caller beside an engine whose KV server keeps its values in a file."""

    caller: RawWorker

    async def setUp(self) -> None:
        await super().setUp()
        self.caller = await self.worker()

    def prepare(self) -> None:
        """EngineCase: load the module."""
        holder = tempfile.TemporaryDirectory(prefix="iii-test-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)
        self.module = self.load()

    def settings(self) -> StoreConfig:
        """The module's configuration."""
        return StoreConfig(file_path=str(self.directory))

    def load(self) -> KvServerModule:
        """A module that has started."""
        module = KvServerModule(self.settings())
        module.start(ModuleApi(self.engine, "iii-kv-server"))
        return module

    async def tearDown(self) -> None:
        await super().tearDown()
        await self.stop()
        # SQLite's connections; a leaked one is told here, not in another test.
        gc.collect()

    async def stop(self) -> None:
        """Stop the module."""
        closed = self.module.stop()
        if closed is not None:
            await closed

    async def call(self, name: str, **data: Any) -> Any:
        """The result of ``kv_server::<name>``."""
        return await self.caller.call(f"kv_server::{name}", data)

    async def error(self, name: str, data: Any) -> tuple[str, str]:
        """Code and message of a call that fails."""
        error = await self.caller.error_of(f"kv_server::{name}", data)
        return error["code"], error["message"]


class Functions(KvCase):
    """04 §10."""

    @probe("04.49")
    async def test_values_are_kept_under_an_index_and_a_key(self) -> None:
        """Set, get, list, update, delete; and the names of indexes by prefix."""
        old = await self.call("set", **PLACE, value={"n": 1})
        self.assertEqual(old, {"old_value": None, "new_value": {"n": 1}})
        self.assertEqual(await self.call("get", **PLACE), {"n": 1})
        await self.call("set", index="users", key="a", value=[2])
        self.assertEqual(await self.call("list", index="users"), [{"n": 1}, [2]])
        ops = [{"type": "increment", "path": "n", "by": 2}]
        updated = await self.call("update", **PLACE, ops=ops)
        self.assertEqual(updated, {"old_value": {"n": 1}, "new_value": {"n": 3}})
        self.assertEqual(await self.call("list_keys_with_prefix", prefix="us"), ["users"])
        self.assertEqual(await self.call("delete", **PLACE), {"old_value": {"n": 3}})
        self.assertEqual(await self.call("list", index="users"), [[2]])

    async def test_what_is_not_there_has_no_result(self) -> None:
        """A stored null has one."""
        missing = await self.caller.result_of(self.caller.invoke("kv_server::get", PLACE))
        self.assertNotIn("result", missing)
        self.assertNotIn("error", missing)
        await self.call("set", **PLACE, value=None)
        null = await self.caller.result_of(self.caller.invoke("kv_server::get", PLACE))
        self.assertIsNone(null["result"])

    async def test_deleting_nothing_gives_null(self) -> None:
        """Wrapped, unlike `state::delete`."""
        self.assertEqual(await self.call("delete", **PLACE), {"old_value": None})

    async def test_an_unknown_index_is_empty(self) -> None:
        """And no error."""
        self.assertEqual(await self.call("list", index="nobody"), [])

    async def test_an_emptied_index_is_gone(self) -> None:
        """04 §2.2."""
        await self.call("set", **PLACE, value=1)
        await self.call("delete", **PLACE)
        self.assertEqual(await self.call("list_groups"), {"groups": []})

    async def test_indexes_are_listed_sorted(self) -> None:
        """All of them, or those with a prefix, which may be empty."""
        for index in ("b", "users", "a user", "user"):
            await self.call("set", index=index, key="users of old", value=1)
        groups = await self.call("list_groups")
        self.assertEqual(groups, {"groups": ["a user", "b", "user", "users"]})
        self.assertEqual(await self.caller.call("kv_server::list_groups"), groups)
        found = await self.call("list_keys_with_prefix", prefix="user")
        self.assertEqual(found, ["user", "users"])
        self.assertEqual(await self.call("list_keys_with_prefix", prefix=""), groups["groups"])
        self.assertEqual(await self.call("list_keys_with_prefix", prefix="x"), [])

    async def test_what_an_update_can_t_do_is_told(self) -> None:
        """`errors`, as state has them."""
        ops = [
            {"type": "set", "path": "ok", "value": 1},
            {"type": "increment", "path": "__proto__", "by": 1},
        ]
        result = await self.call("update", **PLACE, ops=ops)
        self.assertEqual(result["new_value"], {"ok": 1})
        told = [(error["op_index"], error["code"]) for error in result["errors"]]
        self.assertEqual(told, [(1, "increment.path.proto_polluted")])

    async def test_values_come_back_to_the_letter(self) -> None:
        """Nobody reads them on the way."""
        odd = '{"big":123456789012345678901234567890,"z":1.50,"a":"\\u00e9"}'
        # The worker's own decoder would lose what this is about, so bytes are compared.
        self.caller.socket.text(
            b'{"type":"invokefunction","invocation_id":"00000000-0000-4000-8000-000000000001",'
            b'"function_id":"kv_server::set","data":{"index":"i","key":"k","value":%b}}'
            % odd.encode()
        )
        await self.caller.expect("invocationresult")
        asked = self.caller.invoke("kv_server::get", {"index": "i", "key": "k"})
        answer = await self.frame(asked)
        self.assertIn(odd.encode(), answer)

    async def frame(self, invocation_id: str) -> bytes:
        """The bytes of the answer to a call."""

        def there() -> list[bytes]:
            frames = [frame.payload for frame in self.caller.socket.frames]
            return [payload for payload in frames if invocation_id.encode() in payload]

        await self.caller.socket.until(lambda: bool(there()), "the answer")
        return bytes(there()[0])


class Names(KvCase):
    """04 §10, and how old SDKs and bridges call them."""

    async def test_dotted_names_are_answered_and_not_listed(self) -> None:
        """`kv_server.set` is `kv_server::set`."""
        await self.caller.call("kv_server.set", {**PLACE, "value": 5})
        self.assertEqual(await self.caller.call("kv_server.get", PLACE), 5)
        ops = [{"type": "increment", "path": "", "by": 1}]
        result = await self.caller.call("kv_server.update", {**PLACE, "ops": ops})
        self.assertEqual(result["new_value"], 6)
        self.assertEqual(await self.caller.call("kv_server.list", {"index": "users"}), [6])
        groups = await self.caller.call("kv_server.list_groups")
        self.assertEqual(groups, {"groups": ["users"]})
        by_prefix = await self.caller.call("kv_server.list_keys_with_prefix", {"prefix": "u"})
        self.assertEqual(by_prefix, ["users"])
        self.assertEqual(await self.caller.call("kv_server.delete", PLACE), {"old_value": 6})

    async def test_every_function_says_what_it_takes_and_gives(self) -> None:
        """In listings; a value may be anything, so `get` gives no shape."""
        listed = await self.caller.call("engine::functions::list")
        found = {f["function_id"]: f for f in listed["functions"]}
        ours = {id: f for id, f in found.items() if id.startswith("kv_server")}
        self.assertEqual(set(ours), {f"kv_server::{name}" for name in NAMES})
        for id, function in ours.items():
            self.assertTrue(function["description"], id)
            self.assertIsNotNone(function["request_format"], id)
            has_shape = function.get("response_format") is not None
            self.assertEqual(has_shape, id != "kv_server::get", id)


class Mistakes(KvCase):
    """04 §3.5 and §10."""

    @probe("04.50")
    async def test_scope_is_not_index(self) -> None:
        """A documented mistake: the missing field is named."""
        refused = "Failed to deserialize input for kv_server::get: missing field `index`"
        error = await self.error("get", {"scope": "a", "key": "b"})
        self.assertEqual(error, ("deserialization_error", refused))

    async def test_each_function_names_what_it_was_given(self) -> None:
        """In the words clients know."""
        rows: tuple[tuple[str, Any, str], ...] = (
            ("set", {**PLACE, "data": 1}, "missing field `value`"),
            ("set", None, "invalid type: null, expected struct KvSetInput"),
            ("get", [], "invalid type: sequence, expected struct KvGetInput"),
            ("delete", {"index": "a"}, "missing field `key`"),
            ("delete", None, "invalid type: null, expected struct KvDeleteInput"),
            ("update", PLACE, "missing field `ops`"),
            ("update", {**PLACE, "ops": {}}, "invalid type: map, expected a sequence"),
            ("update", {**PLACE, "ops": [{}]}, "missing field `type`"),
            ("update", 5, "invalid type: integer `5`, expected struct KvUpdateInput"),
            ("list", {"index": 5}, "invalid type: integer `5`, expected a string"),
            ("list", None, "invalid type: null, expected struct KvListInput"),
            ("list_keys_with_prefix", {}, "missing field `prefix`"),
            (
                "list_keys_with_prefix",
                None,
                "invalid type: null, expected struct KvListKeysWithPrefixInput",
            ),
        )
        for name, data, detail in rows:
            message = f"Failed to deserialize input for kv_server::{name}: {detail}"
            error = await self.error(name, data)
            self.assertEqual(error, ("deserialization_error", message))
        self.assertEqual(await self.call("list_groups"), {"groups": []})


class BrokenStore(MemoryStore):
    """A store with a full disk."""

    def set(self, bucket: Bucket, key: str, value: msgspec.Raw) -> Any:
        """Store: refused."""
        return self.refuse(bucket, key)

    def delete(self, bucket: Bucket, key: str) -> Any:
        """Store: refused."""
        return self.refuse(bucket, key)

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Any:
        """Store: refused."""
        return self.refuse(bucket, key)

    def get(self, bucket: Bucket, key: str) -> msgspec.Raw | None:
        """Store: refused at once."""
        raise StoreError(Code.STORE_CORRUPT, "the file is damaged")

    def refuse(self, bucket: Bucket, key: str) -> Any:
        """A Deferred that fails."""
        writing = super().delete(bucket, key)

        def refused(change: Change) -> Change:
            raise StoreError(Code.STORE_FULL, "the disk is full")

        return writing.addCallback(refused)


class Opens:
    """Opens a broken store."""

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> BrokenStore:
        """KvStore: open it."""
        return BrokenStore()


class Refusals(KvCase):
    """docs/durability.md, "Refused writes"."""

    def load(self) -> KvServerModule:
        """KvCase: over a store that fails."""
        self.patch(kv_module, "KvStore", lambda settings: Opens())
        return super().load()

    async def test_the_store_s_own_code_reaches_the_caller(self) -> None:
        """KV functions have no words of their own."""
        full = ("store_full", "the disk is full")
        self.assertEqual(await self.error("set", {**PLACE, "value": 1}), full)
        self.assertEqual(await self.error("delete", PLACE), full)
        self.assertEqual(await self.error("update", {**PLACE, "ops": []}), full)
        damaged = ("store_corrupt", "the file is damaged")
        self.assertEqual(await self.error("get", PLACE), damaged)


class Keeping(KvCase):
    """Decision 8: values outlive the engine, unless somebody says otherwise."""

    async def test_values_are_there_after_a_restart(self) -> None:
        """In `kv_server.sqlite` of the configured directory."""
        await self.call("set", **PLACE, value={"a": [1]})
        await self.stop()
        self.module = self.load()
        self.assertEqual(await self.call("get", **PLACE), {"a": [1]})
        path = str(self.directory.absolute() / "kv_server.sqlite")
        self.assertEqual(self.module.stores, {"kv_server": path})


class Volatile(KvCase):
    """04 §2.1."""

    def settings(self) -> StoreConfig:
        """KvCase: nothing on disk."""
        return StoreConfig(store_method="in_memory", file_path=str(self.directory))

    async def test_in_memory_leaves_no_file(self) -> None:
        """And says so by having no path."""
        await self.call("set", **PLACE, value=1)
        self.assertEqual(await self.call("get", **PLACE), 1)
        self.assertEqual(self.module.stores, {})
        self.assertEqual(list(self.directory.iterdir()), [])
