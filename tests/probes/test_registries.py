"""Functions, triggers, trigger types and what lists show of them (01 §5, §8, §17)."""

from __future__ import annotations

import time

from tests.support.engine_case import EngineCase
from tests.support.probes import probe

ROW_KEYS = {"function_id", "description", "request_format", "response_format", "metadata"}
OLD = {"runtime": "node", "version": "0.8.0"}
NEW = {"runtime": "node", "version": "0.22.1"}
REFUSAL = {"code": "bad_config", "message": "no such thing"}


class FunctionOwners(EngineCase):
    """01 §5.1 with decision 2: who serves."""

    @probe("01.25")
    async def test_owners_share_the_load(self) -> None:
        """01.25 as decision 2 has it: both serve, the last to go ends the function."""
        first, second = await self.worker("t.dup"), await self.worker("t.dup")
        caller = await self.worker()
        for _ in range(10):
            caller.invoke("t.dup")
        await caller.settled()
        for worker in (first, second):
            await worker.settled()
            self.assertEqual(len(worker.inbox), 5)
            worker.inbox.clear()
        await self.gone(second)
        caller.inbox.clear()
        id = caller.invoke("t.dup")
        await first.answer("t.dup", result=1)
        self.assertEqual((await caller.result_of(id))["result"], 1)
        await self.gone(first)
        self.assertEqual((await caller.error_of("t.dup"))["code"], "function_not_found")

    @probe("01.26")
    async def test_only_an_owner_can_unregister(self) -> None:
        """01.26: somebody else's ``unregisterfunction`` does nothing."""
        owner, other = await self.worker("t.own"), await self.worker()
        other.send("unregisterfunction", id="t.own")
        await other.settled()
        id = other.invoke("t.own")
        await owner.answer("t.own", result=1)
        await other.result_of(id)
        owner.send("unregisterfunction", id="t.own")
        await owner.settled()
        self.assertEqual((await other.error_of("t.own"))["code"], "function_not_found")

    @probe("01.27")
    async def test_a_late_goodbye_removes_nothing_of_the_successor(self) -> None:
        """01.27: the old connection ends after the new one registered."""
        old, new = await self.worker("t.r"), await self.worker("t.r")
        caller = await self.worker()
        await self.gone(old)
        id = caller.invoke("t.r")
        await new.answer("t.r", result="new")
        self.assertEqual((await caller.result_of(id))["result"], "new")

    async def test_a_reconnect_gets_all_calls(self) -> None:
        """Decision 2: equal name, pid and address are one process seen twice."""
        old, new = await self.worker("t.r"), await self.worker("t.r")
        caller = await self.worker()
        for worker in (old, new):
            await worker.describe(name="host:1", pid=7)
        for _ in range(6):
            caller.invoke("t.r")
        await caller.settled()
        await self.quiet(old)
        await new.settled()
        self.assertEqual(len(new.inbox), 6)

    @probe("01.28")
    async def test_an_engine_function_can_not_be_replaced(self) -> None:
        """01.28: nor unregistered; a new SDK is told."""
        worker = await self.worker("engine::functions::list")
        worker.send("unregisterfunction", id="engine::functions::list")
        await self.quiet(worker)
        listed = await worker.call("engine::functions::list", {})
        self.assertEqual(listed["functions"], [])
        await worker.describe(runtime="node", version="0.23.0")
        worker.send("registerfunction", id="engine::functions::list")
        rejected = await worker.expect("registrationrejected")
        self.assertEqual(rejected["code"], "FUNCTION_NAMESPACE_CONFLICT")
        self.assertEqual(rejected["function_id"], "engine::functions::list")
        self.assertEqual(rejected["namespace"], "default")
        self.assertIn("owner_worker_id", rejected)

    @probe("01.29", "07.53")
    async def test_replays_leave_one_entry(self) -> None:
        """01.29, 07.53: three times the same function and trigger, one of each."""
        worker = await self.worker()
        for _ in range(3):
            worker.send("registerfunction", id="f", description="d")
            await worker.trigger("engine::workers-available", "f", id="t1")
        listed = await worker.call("engine::functions::list", {})
        self.assertEqual([row["function_id"] for row in listed["functions"]], ["f"])
        triggers = await worker.call("engine::triggers::list", {})
        self.assertEqual([row["id"] for row in triggers["triggers"]], ["t1"])
        workers = await worker.call("engine::workers::list", {"worker_id": worker.id})
        self.assertEqual(workers["workers"][0]["function_count"], 1)
        self.assertEqual(workers["workers"][0]["functions"], ["f"])

    async def test_ids_that_look_like_the_engines_are_free(self) -> None:
        """07 B3: ``engine.`` and unknown ``engine::`` ids may be registered by workers."""
        worker = await self.worker("engine.on_log.1", "engine::custom")
        for id in ("engine.on_log.1", "engine::custom"):
            call = worker.invoke(id)
            await worker.answer(id, result=1)
            await worker.result_of(call)

    async def test_old_spellings_are_answered(self) -> None:
        """01 §5.1: dotted ids of the first SDKs; they are in no list."""
        worker = await self.worker("f")
        said = await worker.call("engine.workers.register", {"runtime": "python"})
        self.assertEqual(said, {"success": True})
        self.assertEqual(len((await worker.call("engine.workers.list", {}))["workers"]), 1)
        listed = await worker.call("engine.functions.list", {"include_internal": True})
        ids = {row["function_id"] for row in listed["functions"]}
        self.assertIn("engine::functions::list", ids)
        self.assertNotIn("engine.functions.list", ids)

    @probe("01.60")
    async def test_reattach_ends_the_old_connection_first(self) -> None:
        """01.60: with the right token; nothing the old one still says counts."""
        old, caller = await self.worker("f", "g"), await self.worker()
        id = caller.invoke("f")
        await old.invoked("f")
        new = await self.worker()
        new.send(
            "reattach",
            previous_worker_id=old.id,
            reattach_token=old.hello["reattach_token"],
        )
        lookup = new.invoke("g")
        self.assertEqual((await new.result_of(lookup))["error"]["code"], "function_not_found")
        self.assertEqual((await caller.result_of(id))["error"]["code"], "invocation_stopped")
        closed = await old.socket.next_frame()
        self.assertEqual(closed.close_code, 1012)
        old.send("registerfunction", id="late")
        old.send("registertrigger", id="late", trigger_type="tt", function_id="late", config={})
        old.socket.close_frame(1012)
        await old.socket.ended()
        self.assertEqual((await new.error_of("late"))["code"], "function_not_found")
        self.assertEqual(self.engine.triggers.parked, 0)
        self.assertEqual(len((await new.call("engine::workers::list", {}))["workers"]), 2)

    @probe("01.60")
    async def test_reattach_without_the_token_does_nothing(self) -> None:
        """01.60: wrong or missing token, own, unknown or malformed id."""
        old, new = await self.worker("f"), await self.worker()
        rows = (
            {"previous_worker_id": old.id, "reattach_token": new.hello["reattach_token"]},
            {"previous_worker_id": old.id},
            {"previous_worker_id": old.id, "reattach_token": None},
            {"previous_worker_id": new.id, "reattach_token": new.hello["reattach_token"]},
            {"previous_worker_id": "nope", "reattach_token": "x"},
            {"previous_worker_id": 5, "reattach_token": [1]},
            {},
        )
        for fields in rows:
            new.send("reattach", **fields)
        await self.quiet(new, old)
        id = new.invoke("f")
        await old.answer("f", result=1)
        await new.result_of(id)


class Lists(EngineCase):
    """01 §8: what is there."""

    @probe("01.30")
    async def test_functions(self) -> None:
        """01.30: keys, internal ones, null input."""
        worker = await self.worker()
        worker.send(
            "registerfunction",
            id="z.full",
            description="d",
            request_format={"type": "object"},
            response_format={"name": "r", "type": "string"},
            metadata={"m": [1]},
        )
        await worker.register("a.bare")
        rows = (await worker.call("engine::functions::list", {}))["functions"]
        self.assertEqual([row["function_id"] for row in rows], ["a.bare", "z.full"])
        for row in rows:
            self.assertLessEqual(ROW_KEYS, row.keys())
        self.assertEqual({rows[0][key] for key in ROW_KEYS - {"function_id"}}, {None})
        self.assertEqual(rows[1]["request_format"], {"type": "object"})
        self.assertEqual(rows[1]["metadata"], {"m": [1]})
        everything = await worker.call("engine::functions::list", {"include_internal": True})
        ids = [row["function_id"] for row in everything["functions"]]
        self.assertIn("engine::workers::list", ids)
        self.assertEqual(await worker.call("engine::functions::list", None), {"functions": rows})

    @probe("01.31")
    async def test_workers(self) -> None:
        """01.31: the caller's own row and the filter."""
        worker = await self.worker("f", "g")
        listed = await worker.call("engine::workers::list", {})
        self.assertLess(abs(listed["timestamp"] / 1000 - time.time()), 5)
        (row,) = listed["workers"]
        self.assertEqual(row["id"], worker.id)
        self.assertEqual(row["status"], "connected")
        self.assertEqual(sorted(row["functions"]), ["f", "g"])
        self.assertEqual(row["function_count"], 2)
        self.assertEqual(row["ip_address"], "127.0.0.1")
        self.assertLess(abs(row["connected_at_ms"] / 1000 - time.time()), 5)
        self.assertIsNone(row["latest_metrics"])
        self.assertNotIn("pid", row)
        nobody = await worker.call("engine::workers::list", {"worker_id": "nope"})
        self.assertEqual(nobody["workers"], [])

    async def test_active_invocations_count_both_directions(self) -> None:
        """01 §8.2: executed and issued calls."""
        worker, caller = await self.worker("f"), await self.worker()
        ids = [caller.invoke("f") for _ in range(3)]
        calls = [await worker.invoked("f") for _ in ids]
        rows = (await caller.call("engine::workers::list", {}))["workers"]
        counts = {row["id"]: row["active_invocations"] for row in rows}
        # The question itself is under way too.
        self.assertEqual(counts, {worker.id: 3, caller.id: 4})
        for call in calls:
            worker.reply(call)
        for id in ids:
            await caller.result_of(id)
        rows = (await caller.call("engine::workers::list", {}))["workers"]
        counts = {row["id"]: row["active_invocations"] for row in rows}
        self.assertEqual(counts, {worker.id: 0, caller.id: 1})

    @probe("01.32")
    async def test_a_worker_describes_itself(self) -> None:
        """01.32: a second call keeps name and os and clears the version."""
        worker = await self.worker()
        said = {"runtime": "node", "version": "0.8.0", "name": "n", "os": "o", "pid": 12}
        self.assertEqual(await worker.call("engine::workers::register", said), {"success": True})
        (row,) = (await worker.call("engine::workers::list", {}))["workers"]
        self.assertEqual({key: row[key] for key in said}, said)
        await worker.describe(runtime="x")
        (row,) = (await worker.call("engine::workers::list", {}))["workers"]
        self.assertEqual(
            {key: row[key] for key in said},
            {"runtime": "x", "version": None, "name": "n", "os": "o", "pid": 12},
        )
        await worker.describe()
        (row,) = (await worker.call("engine::workers::list", {}))["workers"]
        self.assertEqual(row["runtime"], "unknown")

    async def test_describing_needs_an_object(self) -> None:
        """01 §8.4: without one there is no caller."""
        worker = await self.worker()
        error = await worker.error_of("engine::workers::register", None)
        self.assertEqual(error["code"], "deserialization_error")
        self.assertIn("missing field `_caller_worker_id`", error["message"])
        error = await worker.error_of("engine::workers::register", [1])
        self.assertEqual(error["code"], "deserialization_error")

    async def test_names_are_cleaned(self) -> None:
        """01 §17.3: no control characters, no bidi overrides, 280 characters."""
        worker = await self.worker()
        await worker.describe(name="  a\x00\x1b[31m\u202eb\u2028 ", description="x" * 500)
        (row,) = (await worker.call("engine::workers::list", {}))["workers"]
        self.assertEqual(row["name"], "a[31mb")
        self.assertEqual(len(row["description"]), 280)

    @probe("01.42")
    async def test_channels(self) -> None:
        """01.42: two ends of one channel; a bad size is refused."""
        worker = await self.worker()
        for wanted in ({}, None, {"buffer_size": None}, {"buffer_size": 0}, {"buffer_size": 5000}):
            refs = await worker.call("engine::channels::create", wanted)
            writer, reader = refs["writer"], refs["reader"]
            self.assertEqual((writer.pop("direction"), reader.pop("direction")), ("write", "read"))
            self.assertEqual(writer, reader)
            self.assertEqual(writer.keys(), {"channel_id", "access_key"})
        for size in (-1, 1.5, "x"):
            error = await worker.error_of("engine::channels::create", {"buffer_size": size})
            self.assertEqual(error["code"], "deserialization_error")


class Triggers(EngineCase):
    """01 §5.2, §5.3, §17.4: types and triggers across workers."""

    @probe("01.34")
    async def test_a_provider_is_told(self) -> None:
        """01.34: of a trigger and of its end; the list shows it."""
        provider, user = await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt", description="d")
        await provider.settled()
        id = await user.trigger("tt", "f", {"k": 1})
        told = await provider.expect("registertrigger")
        self.assertEqual(
            told,
            {
                "type": "registertrigger",
                "id": id,
                "trigger_type": "tt",
                "function_id": "f",
                "config": {"k": 1},
            },
        )
        await user.describe(**OLD)
        listed = await user.call("engine::triggers::list", {})
        self.assertEqual(
            [(row["id"], row["config"]) for row in listed["triggers"]], [(id, {"k": 1})]
        )
        await self.gone(user)
        told = await provider.expect("unregistertrigger")
        self.assertEqual((told["id"], told["trigger_type"]), (id, "tt"))
        self.assertEqual((told["function_id"], told["config"]), ("f", {"k": 1}))

    async def test_a_provider_always_gets_a_config(self) -> None:
        """07 B4.1, B4.11: missing is ``{}``, null stays null; Rust needs the field."""
        provider, user = await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        user.send("registertrigger", id="t1", trigger_type="tt", function_id="f")
        told = await provider.expect("registertrigger")
        self.assertEqual(told.get("config", "absent"), {})
        user.send("registertrigger", id="t2", trigger_type="tt", function_id="f", config=None)
        told = await provider.expect("registertrigger")
        self.assertIsNone(told.get("config", "absent"))
        user.send("registertrigger", id="t3", trigger_type="tt", function_id="f", config={})
        told = await provider.expect("registertrigger")
        self.assertEqual(told.get("config", "absent"), {})

    async def test_metadata_goes_to_the_provider(self) -> None:
        """01 §3.2: verbatim."""
        provider, user = await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        await user.trigger("tt", "f", metadata={"a": [1]})
        self.assertEqual((await provider.expect("registertrigger"))["metadata"], {"a": [1]})

    @probe("01.35")
    async def test_a_providers_refusal_reaches_the_user(self) -> None:
        """01.35: an error is forwarded, success is not."""
        provider, user = await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        id = await user.trigger("tt", "f")
        provider.send("triggerregistrationresult", id=id, trigger_type="tt", function_id="f")
        await provider.settled()
        await self.quiet(user)
        provider.send("triggerregistrationresult", id=id, error=REFUSAL)
        told = await user.expect("triggerregistrationresult")
        self.assertEqual(
            told,
            {
                "type": "triggerregistrationresult",
                "id": id,
                "trigger_type": "tt",
                "function_id": "f",
                "error": REFUSAL,
            },
        )
        listed = await user.call("engine::triggers::list", {})
        self.assertEqual(listed["triggers"], [])

    async def test_only_the_provider_may_refuse(self) -> None:
        """01 §17.4: anybody else's report is ignored."""
        provider, user, other = await self.worker(), await self.worker(), await self.worker()
        for worker, type in ((provider, "tt"), (other, "ot")):
            worker.send("registertriggertype", id=type)
            await worker.settled()
        id = await user.trigger("tt", "f")
        for liar in (other, user):
            liar.send("triggerregistrationresult", id=id, error=REFUSAL)
            await liar.settled()
        await self.quiet(user)

    @probe("01.36")
    async def test_a_trigger_may_come_before_its_type(self) -> None:
        """01.36: no error, no list, and the provider gets it."""
        provider, user = await self.worker(), await self.worker()
        id = await user.trigger("tt", "f", {"k": 1})
        await self.quiet(user)
        listed = await user.call("engine::triggers::list", {})
        self.assertEqual(listed["triggers"], [])
        provider.send("registertriggertype", id="tt")
        told = await provider.expect("registertrigger")
        self.assertEqual((told["id"], told["config"]), (id, {"k": 1}))

    @probe("01.37")
    async def test_a_provider_that_comes_back_gets_its_triggers(self) -> None:
        """01.37: without the user doing anything."""
        provider, user = await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        id = await user.trigger("tt", "f")
        await self.gone(provider)
        self.assertEqual((await user.call("engine::triggers::list", {}))["triggers"], [])
        again = await self.worker()
        again.send("registertriggertype", id="tt")
        self.assertEqual((await again.expect("registertrigger"))["id"], id)
        await self.quiet(user)

    @probe("01.38")
    async def test_only_the_owner_can_unregister_a_trigger(self) -> None:
        """01.38: unknown ids and other workers change nothing."""
        provider, user, other = await self.worker(), await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        id = await user.trigger("tt", "f")
        await provider.expect("registertrigger")
        other.send("unregistertrigger", id=id, trigger_type="tt")
        user.send("unregistertrigger", id="unknown")
        await self.quiet(other, user, provider)
        # The type is informational (07 B4.4).
        user.send("unregistertrigger", id=id, trigger_type="other")
        self.assertEqual((await provider.expect("unregistertrigger"))["id"], id)

    @probe("01.39")
    async def test_a_type_can_be_unregistered(self) -> None:
        """01.39: by its owner only; later triggers are parked."""
        provider, user = await self.worker(), await self.worker()
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        user.send("unregistertriggertype", id="tt")
        await user.settled()
        first = await user.trigger("tt", "f")
        await provider.expect("registertrigger", id=first)
        # Node sends the whole type object.
        provider.send("unregistertriggertype", id="tt", description="d", message_type="x")
        await provider.settled()
        await user.trigger("tt", "f")
        await self.quiet(provider, user)
        self.assertEqual(self.engine.triggers.parked, 2)
        provider.send("registertriggertype", id="tt")
        await provider.settled()
        self.assertEqual(len(provider.inbox), 2)

    async def test_an_engine_type_can_not_be_taken_over(self) -> None:
        """Decision 10: not while the module is loaded."""
        worker = await self.worker("f")
        worker.send("registertriggertype", id="engine::workers-available")
        await worker.trigger("engine::workers-available", "f")
        await self.quiet(worker)
        await self.worker()
        await worker.invoked("f")

    async def test_the_newest_provider_serves_and_the_older_stands_by(self) -> None:
        """01 §5.2: a stack, as for functions."""
        older, newer, user = await self.worker(), await self.worker(), await self.worker()
        older.send("registertriggertype", id="tt")
        await older.settled()
        first = await user.trigger("tt", "f")
        await older.expect("registertrigger", id=first)
        newer.send("registertriggertype", id="tt")
        await newer.expect("registertrigger", id=first)
        second = await user.trigger("tt", "f")
        await newer.expect("registertrigger", id=second)
        await self.gone(newer)
        for id in (first, second):
            await older.expect("registertrigger", id=id)
        listed = await user.call("engine::triggers::list", {})
        self.assertEqual({row["id"] for row in listed["triggers"]}, {first, second})

    @probe("01.40")
    async def test_workers_available(self) -> None:
        """01.40: connect, metadata and disconnect, at once."""
        watcher = await self.worker("watch")
        await watcher.trigger("engine::workers-available", "watch")
        other = await self.worker()
        seen = [(await watcher.answer("watch"))["data"]]
        await other.describe(runtime="node")
        seen.append((await watcher.answer("watch"))["data"])
        other.socket.drop()
        seen.append((await watcher.answer("watch"))["data"])
        self.assertEqual(
            seen,
            [
                {"event": event, "worker_id": other.id}
                for event in (
                    "worker_connected",
                    "worker_metadata_updated",
                    "worker_disconnected",
                )
            ],
        )

    @probe("01.41")
    async def test_functions_available(self) -> None:
        """01.41: the whole list, internal ids too; not on subscription."""
        watcher = await self.worker("watch")
        await watcher.trigger("engine::functions-available", "watch")
        await self.quiet(watcher)
        await self.worker("new.fn")
        call = await watcher.expect("invokefunction", 6, function_id="watch")
        self.assertEqual(call["data"]["event"], "functions_changed")
        ids = {row["function_id"] for row in call["data"]["functions"]}
        self.assertLessEqual({"new.fn", "watch", "engine::functions::list"}, ids)

    async def test_trigger_metadata_goes_with_the_invocation(self) -> None:
        """01 §6.7: attached to every call the trigger causes."""
        watcher = await self.worker("watch")
        await watcher.trigger("engine::workers-available", "watch", metadata={"k": 1})
        await self.worker()
        self.assertEqual((await watcher.invoked("watch"))["metadata"], {"k": 1})

    async def test_a_stored_trigger_outlives_its_maker(self) -> None:
        """01 §17.4: ``engine::register_trigger`` until ``engine::unregister_trigger``."""
        watcher, maker = await self.worker("watch"), await self.worker()
        wanted = {"trigger_type": "engine::workers-available", "function_id": "watch"}
        id = (await maker.call("engine::register_trigger", wanted))["id"]
        await self.gone(maker)
        await watcher.answer("watch")
        listed = await watcher.call("engine::triggers::list", {})
        self.assertEqual([row["id"] for row in listed["triggers"]], [id])
        # A worker can't remove what it does not own.
        watcher.send("unregistertrigger", id=id)
        await watcher.settled()
        for removed in (True, False):
            answer = await watcher.call("engine::unregister_trigger", {"id": id})
            self.assertEqual(answer, {"removed": removed})


class Namespaces(EngineCase):
    """01 §17.7 as decision 12 has it."""

    async def test_default_always_works(self) -> None:
        """SDK 0.24 sends it for every engine call."""
        worker = await self.worker("f")
        answer = await worker.call("engine::functions::list", {}, namespace="default")
        self.assertEqual(len(answer["functions"]), 1)
        id = worker.invoke("f", namespace="default")
        call = await worker.answer("f")
        self.assertNotIn("namespace", call)
        await worker.result_of(id)

    async def test_a_blank_namespace_is_an_error(self) -> None:
        """``INVALID_NAMESPACE``."""
        worker = await self.worker("f")
        for blank in ("", "  "):
            error = await worker.error_of("f", namespace=blank)
            self.assertEqual(error["code"], "INVALID_NAMESPACE")
        await self.quiet(worker)

    async def test_a_namespace_is_part_of_the_key(self) -> None:
        """Found there and nowhere else; the error says where else."""
        worker, caller = await self.worker(), await self.worker()
        await worker.describe(runtime="node", version="0.23.0", namespace="shop")
        await worker.register("f")
        id = caller.invoke("f", namespace="shop")
        await worker.answer("f", result=1)
        self.assertEqual((await caller.result_of(id))["result"], 1)
        error = await caller.error_of("f")
        self.assertEqual(error["code"], "function_not_found")
        self.assertEqual(
            error["message"],
            "Function f not found in namespace default. It is registered in namespace(s): shop.",
        )

    async def test_a_late_namespace_moves_what_was_registered(self) -> None:
        """SDKs say their namespace last."""
        worker, caller = await self.worker("f"), await self.worker()
        await worker.describe(namespace="shop")
        id = caller.invoke("f", namespace="shop")
        await worker.answer("f", result=1)
        await caller.result_of(id)
        self.assertEqual((await caller.error_of("f"))["code"], "function_not_found")
        await self.gone(worker)
        error = await caller.error_of("f", namespace="shop")
        self.assertEqual(error["message"], "Function f not found in namespace shop.")
