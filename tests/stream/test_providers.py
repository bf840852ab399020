"""Streams that a worker provides (04 §8)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.modules.stream.providers import LIMIT_S
from tests.stream.cases import StreamCase
from tests.support.engine_case import Message, RawWorker
from tests.support.probes import probe
from tests.wire.support import TimelessCase

ITEM = {"stream_name": "p", "group_id": "g", "item_id": "i"}
BASIC = ("get", "set", "delete", "list")


class ProviderCase(StreamCase):
    """The stream ``p`` has a provider."""

    provider: RawWorker

    async def provide(self, *operations: str) -> RawWorker:
        """A worker that provides them."""
        self.provider = await self.worker(*(f"stream::{name}(p)" for name in operations))
        return self.provider

    def ask(self, operation: str, **more: Any) -> str:
        """Call a function about the item; the invocation's id."""
        return self.caller.invoke(f"stream::{operation}", {**ITEM, **more})

    async def asked(self, operation: str) -> Message:
        """The call the provider is to run."""
        return await self.provider.invoked(f"stream::{operation}(p)")

    async def through(self, operation: str, outcome: dict[str, Any], **more: Any) -> Message:
        """Call a function, let the provider answer; the whole answer to the caller."""
        id = self.ask(operation, **more)
        self.provider.reply(await self.asked(operation), **outcome)
        return await self.caller.result_of(id)


class Provided(ProviderCase):
    """04 §8."""

    @probe("04.48")
    async def test_a_worker_keeps_a_stream(self) -> None:
        """As long as it is there; what it can't do is told."""
        await self.provide(*BASIC)
        client = await self.joined()
        id = self.ask("set", data={"id": "i"})
        call = await self.asked("set")
        self.assertEqual(call["data"], {**ITEM, "data": {"id": "i"}})
        self.provider.reply(call, result={"old_value": None, "new_value": {"id": "i", "at": 1}})
        result = (await self.caller.result_of(id))["result"]
        self.assertEqual(result, {"old_value": None, "new_value": {"id": "i", "at": 1}})
        told = await client.next()
        self.assertEqual(told["event"], {"type": "create", "data": {"id": "i", "at": 1}})

        wrong = {"error": {"code": "X", "message": 'no "way"'}}
        error = (await self.through("get", wrong))["error"]
        self.assertEqual((error["code"], error["message"]), ("X", 'no "way"'))
        error = (await self.through("set", wrong, data=1))["error"]
        self.assertEqual(error["code"], "STREAM_SET_ERROR")
        self.assertEqual(
            error["message"],
            "Failed to set value: Failed to invoke function: ErrorBody "
            '{ code: "X", message: "no \\"way\\"", stacktrace: None }',
        )
        answer = await self.through("delete", {"result": None})
        self.assertEqual(answer["result"], {"old_value": None})

        await self.gone(self.provider)
        self.assertIsNone(await self.get("i", stream="p"))
        result = await self.set("i", 5, stream="p")
        self.assertEqual(result, {"old_value": None, "new_value": 5})
        self.assertEqual((await client.next())["event"], {"type": "create", "data": 5})

    async def joined(self) -> Any:
        """A subscriber of the group, whose sync comes from the provider."""
        joined = Deferred.fromCoroutine(self.subscriber(stream="p"))
        call = await self.asked("list")
        self.assertEqual(call["data"], {"stream_name": "p", "group_id": "g"})
        self.provider.reply(call, result=None)
        return await joined

    async def test_reads_pass_through_unchanged(self) -> None:
        """Whatever it is, also nothing."""
        await self.provide("get", "list", "list_groups")
        for outcome in ({"result": {"a": 1}}, {"result": 5}, {"result": []}, {}):
            for operation in ("get", "list", "list_groups"):
                answer = await self.through(operation, outcome)
                self.assertEqual("result" in answer, "result" in outcome, operation)
                self.assertEqual(answer.get("result"), outcome.get("result"), operation)

    async def test_kind_of_event_is_what_the_provider_says(self) -> None:
        """An old value makes it an update; the event has the provider's new value."""
        await self.provide(*BASIC)
        hook = await self.hooked({"stream_name": "p"})
        for outcome in (
            {"old_value": {"v": 0}, "new_value": {"v": 1}},
            {"new_value": {"v": 2}},
            {"old_value": None, "new_value": {"v": 3}},
        ):
            answer = await self.through("set", {"result": outcome}, data="ignored")
            self.assertEqual(answer["result"], {"old_value": None, **outcome})
        await self.through("delete", {"result": {"old_value": {"v": 3}}})
        await self.through("delete", {"result": {"old_value": None}})
        kinds = [kind for kind, _, _ in await self.events(hook)]
        self.assertEqual(kinds, ["update", "create", "create", "delete"])

    async def test_a_set_that_returns_nothing_has_set(self) -> None:
        """04 §14.24: the SDKs allow it."""
        await self.provide(*BASIC)
        hook = await self.hooked({"stream_name": "p"})
        for outcome in ({}, {"result": None}):
            answer = await self.through("set", outcome, data={"v": 1})
            self.assertEqual(answer["result"], {"old_value": None, "new_value": {"v": 1}})
            call = await hook.invoked("hook")
            self.assertEqual(call["data"]["event"], {"type": "create", "data": {"v": 1}})
        answer = await self.through("delete", {})
        self.assertEqual(answer["result"], {"old_value": None})

    async def test_results_of_another_shape_are_errors(self) -> None:
        """And no events."""
        await self.provide(*BASIC, "update")
        hook = await self.hooked({"stream_name": "p"})
        missing = "Failed to convert result to value: missing field `new_value`"
        rows: tuple[tuple[str, dict[str, Any], str, str], ...] = (
            ("set", {"result": {"old_value": 1}}, "JSON_ERROR", missing),
            ("update", {"result": {}}, "JSON_ERROR", missing),
            ("set", {"result": 5}, "JSON_ERROR", "Failed to convert result to value: invalid type"),
            ("delete", {"result": [1]}, "JSON_ERROR", "Failed to convert result to value: "),
            ("update", {}, "STREAM_UPDATE_ERROR", "Failed to update value: Function returned no "),
        )
        for operation, outcome, code, message in rows:
            error = (await self.through(operation, outcome, data=1, ops=[]))["error"]
            self.assertEqual(error["code"], code, operation)
            self.assertTrue(error["message"].startswith(message), error["message"])
        await self.quiet(hook)

    async def test_errors_of_writes_are_wrapped(self) -> None:
        """With the code of the function that was called."""
        await self.provide("delete", "update")
        wrong = {"error": {"code": "X", "message": "Y", "stacktrace": "at\nz"}}
        for operation, code, verb in (
            ("delete", "STREAM_DELETE_ERROR", "delete"),
            ("update", "STREAM_UPDATE_ERROR", "update"),
        ):
            error = (await self.through(operation, wrong, ops=[]))["error"]
            self.assertEqual(error["code"], code)
            self.assertEqual(
                error["message"],
                f"Failed to {verb} value: Failed to invoke function: ErrorBody "
                '{ code: "X", message: "Y", stacktrace: Some("at\\nz") }',
            )

    async def test_a_provider_may_do_some_operations_only(self) -> None:
        """The others are the store's, and list_all knows nothing of providers."""
        await self.provide("get")
        await self.set("i", 1, stream="p")
        answer = await self.through("get", {"result": 2})
        self.assertEqual(answer["result"], 2)
        listed = await self.caller.call("stream::list", {"stream_name": "p", "group_id": "g"})
        self.assertEqual(listed, [1])
        await self.set("other", 1)
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual([row["id"] for row in everything["stream"]], ["chat", "p"])

    async def test_a_worker_that_leaves_ends_its_calls(self) -> None:
        """04 §14.16: nobody waits for the dead."""
        await self.provide(*BASIC)
        write, read = self.ask("set", data=1), self.ask("get")
        await self.asked("set")
        await self.asked("get")
        await self.gone(self.provider)
        error = (await self.caller.result_of(write))["error"]
        self.assertEqual(error["code"], "STREAM_SET_ERROR")
        self.assertIn("invocation_stopped", error["message"])
        self.assertEqual((await self.caller.result_of(read))["error"]["code"], "invocation_stopped")


class Updating(ProviderCase):
    """04 §8, §14.23: `stream::update` of a provided stream."""

    op = {"type": "increment", "path": "n", "by": 1}

    async def rewrite(self, found: dict[str, Any], **outcome: Any) -> Message:
        """Answer the ``get`` and the ``set`` of an update; the ``set``."""
        await self.provider.answer("stream::get(p)", **found)
        return await self.provider.answer("stream::set(p)", **outcome)

    async def test_an_update_provider_is_asked(self) -> None:
        """With the operations; errors it tells are passed on."""
        await self.provide(*BASIC, "update")
        hook = await self.hooked({"stream_name": "p"})
        outcome = {"old_value": None, "new_value": {"n": 1}}
        id = self.ask("update", ops=[self.op])
        call = await self.asked("update")
        self.assertEqual(call["data"], {**ITEM, "ops": [self.op]})
        self.provider.reply(call, result=outcome)
        self.assertEqual((await self.caller.result_of(id))["result"], outcome)
        self.assertEqual(await self.events(hook), [("create", "g", "i")])
        outcome = {"old_value": 1, "new_value": 2, "errors": [{"op_index": 0, "code": "x"}]}
        answer = await self.through("update", {"result": outcome}, ops=[self.op])
        self.assertEqual(answer["result"], outcome)
        self.assertEqual(await self.events(hook), [("update", "g", "i")])

    async def test_without_one_it_is_get_and_set(self) -> None:
        """The operations are done here."""
        await self.provide(*BASIC)
        hook = await self.hooked({"stream_name": "p"})
        id = self.ask("update", ops=[self.op])
        call = await self.rewrite({"result": {"n": 1}}, result=None)
        self.assertEqual(call["data"], {**ITEM, "data": {"n": 2}})
        result = (await self.caller.result_of(id))["result"]
        self.assertEqual(result, {"old_value": {"n": 1}, "new_value": {"n": 2}})
        self.assertEqual(await self.events(hook), [("update", "g", "i")])

        for nothing in ({"result": None}, {}):
            id = self.ask("update", ops=[self.op])
            await self.rewrite(nothing, result={"new_value": {"n": 1, "by": "provider"}})
            result = (await self.caller.result_of(id))["result"]
            self.assertEqual(result, {"old_value": None, "new_value": {"n": 1, "by": "provider"}})
            self.assertEqual(await self.events(hook), [("create", "g", "i")])

    async def test_its_errors_are_the_update_s(self) -> None:
        """Of get and of set."""
        await self.provide("get", "set")
        wrong = {"error": {"code": "X", "message": "Y"}}
        id = self.ask("update", ops=[self.op])
        await self.provider.answer("stream::get(p)", **wrong)
        error = (await self.caller.result_of(id))["error"]
        self.assertEqual(error["code"], "STREAM_UPDATE_ERROR")
        id = self.ask("update", ops=[self.op])
        await self.rewrite({}, **wrong)
        error = (await self.caller.result_of(id))["error"]
        self.assertEqual(error["code"], "STREAM_UPDATE_ERROR")

    async def test_with_set_alone_it_is_the_store_s(self) -> None:
        """Nothing could be read."""
        await self.provide("set")
        result = await self.update("i", self.op, stream="p")
        self.assertEqual(result, {"old_value": None, "new_value": {"n": 1}})

    async def test_nothing_gets_between_get_and_set(self) -> None:
        """Updates and other writes of the item wait; those of other items don't."""
        await self.provide(*BASIC)
        hook = await self.hooked({"stream_name": "p"})
        value: Any = {"n": 0}
        ids = [self.ask("update", ops=[self.op]) for _ in range(3)]
        ids.append(self.ask("set", data={"n": 10}))
        ids += [self.ask("update", ops=[self.op]), self.ask("delete")]
        elsewhere = self.ask("set", data=1, item_id="other")
        await self.caller.settled()
        for operation in ("get", "set", "get", "set", "get", "set", "set", "get", "set", "delete"):
            await self.provider.settled()
            mine = [m for m in self.provider.inbox if m["data"]["item_id"] == "i"]
            self.assertEqual([m["function_id"] for m in mine], [f"stream::{operation}(p)"])
            call = mine[0]
            self.provider.inbox.remove(call)
            if operation == "get":
                self.provider.reply(call, result=value)
            elif operation == "set":
                old, value = value, call["data"]["data"]
                self.provider.reply(call, result={"old_value": old, "new_value": value})
            else:
                self.provider.reply(call, result={"old_value": value})
        self.provider.reply(await self.asked("set"), result=None)
        for id in (*ids, elsewhere):
            self.assertNotIn("error", await self.caller.result_of(id))
        self.assertEqual(value, {"n": 11})
        kinds = [(kind, item) for kind, _, item in await self.events(hook)]
        self.assertEqual(kinds, [*[("update", "i")] * 5, ("delete", "i"), ("create", "other")])
        self.assertEqual(self.module.streams._providers._locks, {})


class Patience(ProviderCase, TimelessCase):
    """04 §14.16: nobody waits for ever."""

    async def pass_by(self, seconds: float) -> None:
        """Let time pass once everything sent was handled; nobody may look dead."""
        await self.caller.settled()
        await self.provider.settled()
        await self.advance(seconds)

    async def test_a_provider_has_half_a_minute(self) -> None:
        """To read and to write."""
        await self.provide(*BASIC)
        write, read = self.ask("set", data=1), self.ask("get")
        await self.asked("set")
        await self.asked("get")
        await self.advance(LIMIT_S - 0.1)
        await self.quiet(self.caller)
        await self.advance(0.2)
        error = (await self.caller.result_of(write))["error"]
        self.assertEqual(error["code"], "STREAM_SET_ERROR")
        self.assertIn("invocation_timeout", error["message"])
        error = (await self.caller.result_of(read))["error"]
        self.assertEqual(error["code"], "invocation_timeout")

    async def test_who_waits_behind_a_silent_one_is_told_so(self) -> None:
        """And the item is free again."""
        await self.provide(*BASIC)
        first = self.ask("set", data=1)
        await self.asked("set")
        await self.pass_by(1)
        second, third = self.ask("set", data=2), self.ask("delete")
        await self.pass_by(LIMIT_S - 1)
        error = (await self.caller.result_of(first))["error"]
        self.assertIn("invocation_timeout", error["message"])
        await self.asked("set")
        await self.pass_by(1)
        error = (await self.caller.result_of(third))["error"]
        self.assertEqual(error["code"], "STREAM_DELETE_ERROR")
        self.assertIn("the writes of this item before it took longer than 30 s", error["message"])
        await self.pass_by(LIMIT_S)
        error = (await self.caller.result_of(second))["error"]
        self.assertEqual(error["code"], "STREAM_SET_ERROR")
        answer = await self.through("set", {"result": None}, data=3)
        self.assertEqual(answer["result"], {"old_value": None, "new_value": 3})
