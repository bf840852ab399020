"""State on Redis: engines share it, with those of the original (04 §3.4, §14)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.errors import Code, StartError
from iii.modules.state import StateConfig, StateModule
from iii.modules.state.adapters.redis import RedisState
from iii.redis import RedisConfig
from tests.redis.stores import Running, StoresCase, state
from tests.support.engine_case import RawWorker

INCREMENT = [{"type": "increment", "path": "n", "by": 1}]


class TwoEngines(StoresCase):
    """What one writes, the other reads."""

    async def test_they_share_the_values_and_not_the_events(self) -> None:
        """04 §3.4: only the engine that wrote fires triggers."""
        a, b = await self.running(), await self.running()
        one, other = await a.worker("one"), await b.worker("other")
        await one.trigger("state", "one")
        await other.trigger("state", "other")
        self.assertEqual(
            await state(one, "set", value={"a": 1}), {"old_value": None, "new_value": {"a": 1}}
        )
        self.assertEqual(await state(other, "get"), {"a": 1})
        self.assertEqual(
            await state(other, "set", value=2), {"old_value": {"a": 1}, "new_value": 2}
        )
        self.assertEqual(await state(one, "delete"), 2)
        self.assertIsNone(await state(other, "delete"))
        for worker, function, kinds in (
            (one, "one", ["created", "deleted"]),
            (other, "other", ["updated", "deleted"]),
        ):
            heard = [(await worker.invoked(function))["data"]["event_type"] for _ in kinds]
            self.assertEqual(heard, [f"state:{kind}" for kind in kinds])
            await worker.settled()
            self.assertEqual(worker.inbox, [])

    async def test_updates_of_both_all_count(self) -> None:
        """04 §14.7: compare-and-set; each is told what it made of what."""
        a, b = await self.running(), await self.running()
        workers = [await a.worker(), await b.worker()]
        asked = [
            (worker, worker.invoke("state::update", {"scope": "s", "key": "k", "ops": INCREMENT}))
            for _ in range(200)
            for worker in workers
        ]
        results = [(await worker.result_of(id))["result"] for worker, id in asked]
        self.assertEqual(await state(workers[0], "get"), {"n": 400})
        self.assertEqual(sorted(r["new_value"]["n"] for r in results), list(range(1, 401)))
        for result in results:
            before = (result["old_value"] or {"n": 0})["n"]
            self.assertEqual(result["new_value"]["n"], before + 1)

    async def test_keys_keep_the_order_in_which_either_made_them(self) -> None:
        """Also when there are more than Redis keeps in order itself."""
        a, b = await self.running(), await self.running()
        workers = [await a.worker(), await b.worker()]
        keys = [f"k{number * 7919 % 1000}" for number in range(300)]
        for number, key in enumerate(keys):
            await state(workers[number % 2], "set", key, value="x" * 100)
        await state(workers[0], "set", keys[0], value="again")
        for worker in workers:
            listed = await worker.call("state::list_keys", {"scope": "s"})
            self.assertEqual(listed, {"keys": keys})


class AsTheOriginal(StoresCase):
    """04 §3.4: the layout, byte for byte."""

    async def test_what_we_write(self) -> None:
        """A hash per scope, its fields are the keys, the values JSON as it came."""
        worker = await (await self.running()).worker()
        await worker.call(
            "state::set", {"scope": "a:b c", "key": "k:1", "value": {"z": 1, "a": []}}
        )
        await worker.call("state::set", {"scope": "", "key": "", "value": None})
        self.assertEqual(self.server.ask("HGETALL", "state:a:b c"), ["k:1", '{"z":1,"a":[]}'])
        self.assertEqual(self.server.ask("HGETALL", "state:"), ["", "null"])
        self.assertEqual(self.server.ask("TYPE", "state:a:b c"), "hash")
        foreign = [key for key in self.server.ask("KEYS", "*") if not key.startswith("iii:")]
        self.assertEqual(sorted(foreign), ["state:", "state:a:b c"])
        await worker.call("state::delete", {"scope": "", "key": ""})
        await worker.call("state::delete", {"scope": "a:b c", "key": "k:1"})
        self.assertEqual(self.server.ask("KEYS", "*"), ["iii:positions"])

    async def test_what_it_wrote(self) -> None:
        """Read, listed, changed, and given a place behind what was there."""
        worker = await (await self.running()).worker()
        await state(worker, "set", "ours", value=1)
        self.server.ask("HSET", "state:s", "theirs", '{"n":41}', "more", "[1]")
        self.server.ask("HSET", "state:other", "x", "null")
        self.assertEqual(await state(worker, "get", "theirs"), {"n": 41})
        update = await state(worker, "update", "theirs", ops=INCREMENT)
        self.assertEqual(update, {"old_value": {"n": 41}, "new_value": {"n": 42}})
        listed = await worker.call("state::list_keys", {"scope": "s"})
        self.assertEqual(listed["keys"][0], "ours")
        self.assertEqual(sorted(listed["keys"]), ["more", "ours", "theirs"])
        for _ in range(2):  # the order stays
            self.assertEqual(await worker.call("state::list_keys", {"scope": "s"}), listed)
        page = await worker.call("state::list_entries", {"scope": "s", "limit": 2})
        self.assertEqual([key for key, _ in page["entries"]], listed["keys"][:2])
        groups = await worker.call("state::list_groups", {})
        self.assertEqual(groups, {"groups": ["other", "s"]})
        self.assertIsNone((await worker.call("state::set", _at("x", 5, "other")))["old_value"])

    async def test_what_it_took_out(self) -> None:
        """Is gone from every list, also when as much has come in its place."""
        worker = await (await self.running()).worker()
        for key in "abc":
            await state(worker, "set", key, value=key)
        self.server.ask("HDEL", "state:s", "b")
        self.server.ask("HSET", "state:s", "d", '"d"')
        page = await worker.call("state::list_entries", {"scope": "s"})
        self.assertEqual([key for key, _ in page["entries"]], ["a", "c", "d"])
        self.server.ask("HDEL", "state:s", "a")
        self.server.ask("HSET", "state:s", "e", '"e"')
        self.assertEqual(await worker.call("state::list", {"scope": "s"}), ["c", "d", "e"])
        self.server.ask("DEL", "state:s")
        self.assertEqual(await worker.call("state::list", {"scope": "s"}), [])
        await state(worker, "set", "a", value=1)
        self.assertEqual(await worker.call("state::list_keys", {"scope": "s"}), {"keys": ["a"]})

    async def test_what_no_engine_wrote(self) -> None:
        """Text that is no JSON never reaches a worker; writing over it helps."""
        worker = await (await self.running()).worker()
        self.server.ask("HSET", "state:s", "k", "hello")
        what = {"scope": "s", "key": "k"}
        for name, data in (("get", what), ("update", {**what, "ops": []}), ("list", what)):
            error = await worker.error_of(f"state::{name}", data)
            self.assertIn("of state:s in Redis is no JSON", error["message"], name)
        self.assertEqual(await state(worker, "set", value=1), {"old_value": None, "new_value": 1})
        self.server.ask("SET", "state:t", "no hash")
        error = await worker.error_of("state::set", _at("k", 1, "t"))
        self.assertEqual(error["code"], "SET_ERROR")
        self.assertIn("WRONGTYPE", error["message"])

    async def test_names_are_no_patterns(self) -> None:
        """04 §9 of streams, where the original does not escape them."""
        engine = await self.running()
        worker = await engine.worker()
        for name in ("a*", "ab", "[x]"):
            asked = {"stream_name": name, "group_id": "g", "item_id": "i", "data": 1}
            await worker.call("stream::set", asked)
        self.server.ask("HSET", "stream:ab:h", "i", "1")
        for name, groups in (("a*", ["g"]), ("[x]", ["g"]), ("ab", ["g", "h"]), ("?", [])):
            found = await worker.call("stream::list_groups", {"stream_name": name})
            self.assertEqual(found, groups, name)


class Away(StoresCase):
    """Redis goes and comes back (04 §14.6)."""

    async def test_the_engine_does_not_start_without_it(self) -> None:
        """With a code, and without the password."""
        self.server.kill()
        module = StateModule(StateConfig())
        module.adapter = RedisState(
            RedisConfig(redis_url=self.server.url.replace("//", "//:hidden@"))
        )
        ready = module.start(self.api())
        assert isinstance(ready, Deferred)
        with self.assertRaises(StartError) as caught:
            await ready
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)
        self.assertNotIn("hidden", str(caught.exception))
        self.assertIsNone(module.stop())

    async def test_a_start_can_be_given_up(self) -> None:
        """Redis accepts and says nothing; no connection is left, or trial would tell."""
        self.server.freeze()
        self.addCleanup(self.server.thaw)
        module = StateModule(StateConfig())
        module.adapter = RedisState(RedisConfig(redis_url=self.server.url))
        ready = module.start(self.api())
        assert isinstance(ready, Deferred)
        self.assertNoResult(ready)
        module.stop()
        with self.assertRaises(StartError):
            await ready

    async def test_callers_are_told_at_once_and_served_again(self) -> None:
        """04 §3.5: each with its code; nothing acknowledged is lost that Redis kept."""
        a = await self.running()
        worker = await a.worker("hook")
        await worker.trigger("state", "hook")
        await state(worker, "set", value={"n": 1})
        await worker.invoked("hook")
        self.server.kill()
        what = {"scope": "s", "key": "k"}
        rows: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("get", what, "GET_ERROR"),
            ("set", {**what, "value": 1}, "SET_ERROR"),
            ("delete", what, "DELETE_ERROR"),
            ("update", {**what, "ops": INCREMENT}, "UPDATE_ERROR"),
            ("list", what, "LIST_ERROR"),
            ("list_keys", what, "LIST_KEYS_ERROR"),
            ("list_entries", what, "LIST_ERROR"),
            ("list_groups", {}, "LIST_GROUPS_ERROR"),
        )
        for name, data, code in rows:
            error = await worker.error_of(f"state::{name}", data)
            self.assertEqual(error["code"], code, name)
        await worker.settled()
        self.assertEqual(worker.inbox, [])
        self.server.start()
        await self.eventually(lambda: _store(a)._redis.up)
        update = await state(worker, "update", ops=INCREMENT)
        self.assertEqual(update, {"old_value": None, "new_value": {"n": 1}})

    async def test_updates_under_way_when_it_goes_end_with_an_error(self) -> None:
        """All of them, in their order with what comes behind; none hangs."""
        a = await self.running()
        worker = await a.worker()
        await state(worker, "set", value={"n": 0})
        self.server.freeze()
        asked = [
            worker.invoke("state::update", {"scope": "s", "key": "k", "ops": INCREMENT}),
            worker.invoke("state::set", _at("k", 7)),
            worker.invoke("state::set", _at("other", 8)),
            worker.invoke("state::get", _at("k", None)),
        ]
        await worker.settled()
        self.server.kill()
        answers = [await worker.result_of(id) for id in asked]
        self.assertEqual(
            [answer.get("error", {}).get("code") for answer in answers],
            ["UPDATE_ERROR", "SET_ERROR", "SET_ERROR", "GET_ERROR"],
        )


class UnderLoad(StoresCase):
    """Engines come and go, Redis stays or keeps what it said it had."""

    options = ("--appendonly", "yes", "--appendfsync", "always")

    async def test_nothing_acknowledged_is_lost(self) -> None:
        """Redis is killed in the middle of writes of two engines, three times."""
        engines = [await self.running() for _ in range(2)]
        workers = [await engine.worker() for engine in engines]
        kept: dict[str, int] = {}
        for turn in range(3):
            asked = _burst(workers, turn)
            # The first are done, others are on their way, the last not sent yet.
            await workers[0].result_of(asked[0][1])
            self.server.kill()
            asked += _burst(workers, turn + 100)
            for worker, id, key in [(workers[0], asked[0][1], ""), *asked[1:]]:
                if key and "error" not in await worker.result_of(id):
                    kept[key] = turn
            self.server.start()
            for engine in engines:
                await self.eventually(lambda engine=engine: _store(engine)._redis.up)
        listed = await workers[1].call("state::list_keys", {"scope": "s"})
        self.assertLessEqual(set(kept), set(listed["keys"]))
        self.assertTrue(kept)


def _at(key: str, value: Any, scope: str = "s") -> dict[str, Any]:
    return {"scope": scope, "key": key, "value": value}


def _store(engine: Running) -> Any:
    return engine.state._store


def _burst(workers: list[RawWorker], turn: int) -> list[tuple[RawWorker, str, str]]:
    keys = [f"{turn}-{number}" for number in range(100)]
    return [
        (workers[number % 2], workers[number % 2].invoke("state::set", _at(key, number)), key)
        for number, key in enumerate(keys)
    ]
