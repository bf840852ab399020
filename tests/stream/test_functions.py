"""The ``stream::*`` functions (04 §5)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.modules.stream.config import StreamConfig
from iii.modules.stream.events import Event
from iii.modules.stream.module import ALIASES
from iii.modules.stream.service import Outlet
from tests.stream.cases import GROUP, STREAM, StreamCase
from tests.support.probes import probe

ITEM = {"stream_name": STREAM, "group_id": GROUP, "item_id": "i"}
LISTED = {"stream_name": STREAM, "group_id": GROUP}


class Values(StreamCase):
    """04 §5: set, get, delete."""

    @probe("04.29")
    async def test_set_and_delete_give_the_value_before(self) -> None:
        """And deleting what is not there is no event."""
        hook = await self.hooked()
        result = await self.set("1", {"id": "1"})
        self.assertEqual(result, {"old_value": None, "new_value": {"id": "1"}})
        result = await self.set("1", {"id": "1", "n": 2})
        self.assertEqual(result, {"old_value": {"id": "1"}, "new_value": {"id": "1", "n": 2}})
        self.assertEqual(await self.delete("1"), {"old_value": {"id": "1", "n": 2}})
        self.assertEqual(await self.delete("1"), {"old_value": None})
        self.assertEqual(
            await self.events(hook),
            [("create", "g", "1"), ("update", "g", "1"), ("delete", "g", "1")],
        )

    @probe("04.30")
    async def test_what_is_not_there(self) -> None:
        """A missing item has no result, an unknown group is empty."""
        answer = await self.answer("stream::get", **ITEM)
        self.assertNotIn("result", answer)
        self.assertNotIn("error", answer)
        self.assertEqual(await self.caller.call("stream::list", LISTED), [])
        groups = await self.caller.call("stream::list_groups", {"stream_name": STREAM})
        self.assertEqual(groups, [])
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual(everything, {"stream": [], "count": 0})
        await self.set("1", {"id": "1"})
        self.assertEqual(await self.get("1"), {"id": "1"})
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual(everything, {"stream": [{"id": "chat", "groups": ["g"]}], "count": 1})

    async def test_a_stored_null_is_a_value(self) -> None:
        """A result, and its end is an event."""
        await self.set("i", None)
        answer = await self.answer("stream::get", **ITEM)
        self.assertIn("result", answer)
        self.assertIsNone(answer["result"])
        hook = await self.hooked()
        await self.set("i", None)
        self.assertEqual(await self.delete("i"), {"old_value": None})
        kinds = [kind for kind, _, _ in await self.events(hook)]
        self.assertEqual(kinds, ["update", "delete"])

    async def test_values_come_back_byte_for_byte(self) -> None:
        """04 §2.2: member order and long numbers survive."""
        text = b'{"z":1,"a":123456789012345678901234567890,"m":1.10,"u":"\xc3\xa9\\u00e9"}'
        await self.set("i", Raw(text))
        kept = self.store.get((STREAM, GROUP), "i")
        found = await kept if isinstance(kept, Deferred) else kept
        self.assertEqual(bytes(found or b""), text)

    async def test_names_with_colons_are_names(self) -> None:
        """04 §14.20: nothing is joined, so nothing collides."""
        await self.set("i", 1, group="b:c", stream="a")
        await self.set("i", 2, group="c", stream="a:b")
        await self.set("", 3, group="", stream="")
        self.assertEqual(await self.get("i", "b:c", "a"), 1)
        self.assertEqual(await self.get("i", "c", "a:b"), 2)
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual(
            everything["stream"],
            [
                {"id": "", "groups": [""]},
                {"id": "a", "groups": ["b:c"]},
                {"id": "a:b", "groups": ["c"]},
            ],
        )


class Lists(StreamCase):
    """04 §5: what is there."""

    async def test_list_has_the_items_in_the_order_they_came(self) -> None:
        """Overwriting moves nothing."""
        for item, value in (("b", 1), ("a", 2), ("c", 3), ("b", 9)):
            await self.set(item, value)
        self.assertEqual(await self.caller.call("stream::list", LISTED), [9, 2, 3])

    async def test_groups_are_sorted_and_gone_when_empty(self) -> None:
        """04 §5, §14.19: list_groups is a bare array."""
        for group in ("b", "a", "c"):
            await self.set("i", 1, group)
            await self.set("i", 1, group, stream="zoo")
        await self.delete("i", "b")
        groups = await self.caller.call("stream::list_groups", {"stream_name": STREAM})
        self.assertEqual(groups, ["a", "c"])
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual(
            everything,
            {
                "stream": [
                    {"id": "chat", "groups": ["a", "c"]},
                    {"id": "zoo", "groups": ["a", "b", "c"]},
                ],
                "count": 2,
            },
        )

    async def test_list_all_needs_no_payload(self) -> None:
        """04 §3.5: null and absent are `{}`; a stream's name in it changes nothing."""
        await self.set("i", 1)
        for payload in (None, {}, {"stream_name": "other"}):
            everything = await self.caller.call("stream::list_all", payload)
            self.assertEqual(everything["count"], 1)


class Updates(StreamCase):
    """04 §4, §5: `stream::update`."""

    async def test_it_starts_from_an_empty_object(self) -> None:
        """And is a creation then."""
        hook = await self.hooked()
        result = await self.update("i", {"type": "increment", "path": "n", "by": 1})
        self.assertEqual(result, {"old_value": None, "new_value": {"n": 1}})
        result = await self.update("i", {"type": "set", "path": "m", "value": 2})
        self.assertEqual(result, {"old_value": {"n": 1}, "new_value": {"n": 1, "m": 2}})
        call = await hook.invoked("hook")
        self.assertEqual(call["data"]["event"], {"type": "create", "data": {"n": 1}})
        call = await hook.invoked("hook")
        self.assertEqual(call["data"]["event"], {"type": "update", "data": {"n": 1, "m": 2}})

    async def test_what_can_not_be_done_is_told(self) -> None:
        """The rest is done."""
        await self.set("i", {"n": "text"})
        result = await self.update(
            "i",
            {"type": "increment", "path": "n", "by": 1},
            {"type": "set", "path": "ok", "value": True},
        )
        self.assertEqual(result["new_value"], {"n": "text", "ok": True})
        self.assertEqual(
            [(e["op_index"], e["code"]) for e in result["errors"]], [(0, "increment.not_number")]
        )

    async def test_unknown_operations_change_nothing(self) -> None:
        """One error for all, and no event."""
        await self.set("i", {"n": 1})
        hook = await self.hooked()
        error = await self.caller.error_of(
            "stream::update",
            {
                **ITEM,
                "ops": [{"type": "set", "path": "n", "value": 2}, {"type": "bogus", "path": "n"}],
            },
        )
        self.assertEqual(error["code"], "deserialization_error")
        self.assertIn("unknown variant `bogus`", error["message"])
        self.assertEqual(await self.get("i"), {"n": 1})
        await self.quiet(hook)

    async def test_concurrent_updates_all_count(self) -> None:
        """04 §2.2: every single one is atomic."""
        others = [self.caller, await self.worker()]
        op = {"type": "increment", "path": "n", "by": 2}
        calls = [
            (worker, worker.invoke("stream::update", {**ITEM, "ops": [op]}))
            for worker in others
            for _ in range(100)
        ]
        for worker, id in calls:
            await worker.result_of(id)
        self.assertEqual(await self.get("i"), {"n": 400})


class Sending(StreamCase):
    """04 §5: `stream::send`."""

    @probe("04.34")
    async def test_an_event_of_one_s_own(self) -> None:
        """The result is null and there; nothing is stored; groups hear all, items theirs."""
        group = await self.subscriber()
        item = await self.subscriber(item="1")
        answer = await self.send("typing", data={"u": 1})
        self.assertIn("result", answer)
        self.assertIsNone(answer["result"])
        told = await group.next()
        self.assertEqual(
            told["event"], {"type": "event", "event": {"type": "typing", "data": {"u": 1}}}
        )
        self.assertIsNone(told["id"])
        await self.send("seen", "1", data=2)
        for client in (group, item):
            told = await client.next()
            self.assertEqual(told["event"], {"type": "event", "event": {"type": "seen", "data": 2}})
            self.assertEqual(told["id"], "1")
        self.assertEqual(await self.caller.call("stream::list", LISTED), [])

    async def test_missing_data_is_null(self) -> None:
        """A missing type is an error."""
        hook = await self.hooked()
        await self.send("ping")
        call = await hook.invoked("hook")
        self.assertEqual(
            call["data"]["event"], {"type": "event", "event": {"type": "ping", "data": None}}
        )
        error = await self.caller.error_of("stream::send", {**LISTED, "data": 1})
        self.assertEqual(error["code"], "deserialization_error")
        self.assertIn("missing field `type`", error["message"])


class Subscribed(StreamCase):
    """04 §5.1, §6.4: what subscribers get of a write."""

    async def test_create_update_delete(self) -> None:
        """With the value, a delete with the last one."""
        client = await self.subscriber()
        await self.set("2", {"v": 1})
        await self.set("2", {"v": 2})
        await self.delete("2")
        await self.delete("2")
        await self.send("end")
        kinds = (("create", {"v": 1}), ("update", {"v": 2}), ("delete", {"v": 2}))
        for kind, data in kinds:
            told = await client.next()
            self.assertEqual(told["event"], {"type": kind, "data": data})
            self.assertEqual((told["streamName"], told["groupId"], told["id"]), ("chat", "g", "2"))
        self.assertEqual((await client.next())["event"]["type"], "event")

    async def test_devtools_streams_are_streams(self) -> None:
        """04 §13, 0.21.5."""
        client = await self.subscriber("all", stream="iii:devtools:trace-rows")
        await self.set("i", 1, "all", "iii:devtools:trace-rows")
        self.assertEqual((await client.next())["event"], {"type": "create", "data": 1})

    async def test_a_write_nobody_wants_takes_no_timestamp(self) -> None:
        """And no envelope is made: subscribers and triggers elsewhere don't count."""
        taken: list[tuple[str, str, str | None]] = []
        stamps = self.module.streams.timestamps
        take = stamps.next

        def counted(stream: str, group: str, item: str | None) -> int:
            taken.append((stream, group, item))
            return take(stream, group, item)

        client = await self.subscriber("other")
        await self.hooked({"stream_name": STREAM, "item_id": "x"})
        self.patch(stamps, "next", counted)
        await self.set("i", 1)
        await self.set("i", 2, "other")
        await self.set("x", 3)
        self.assertEqual((await client.next())["event"], {"type": "create", "data": 2})
        self.assertEqual(taken, [(STREAM, "other", "i"), (STREAM, GROUP, "x")])

    async def test_an_event_that_can_not_be_told_does_not_undo_the_write(self) -> None:
        """04 §5: it is logged; only `stream::send` fails with it."""

        def broken(event: Event) -> None:
            raise RuntimeError("no")

        await self.hooked()
        streams = self.module.streams
        streams._sent_out = streams._written_out = Outlet(lambda *_: True, broken)
        self.assertEqual(await self.set("i", 1), {"old_value": None, "new_value": 1})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        answer = await self.send("x")
        self.assertEqual(answer["error"]["code"], "STREAM_SEND_ERROR")
        self.assertEqual(answer["error"]["message"], "Failed to send event: no")
        self.flushLoggedErrors(RuntimeError)


class Inputs(StreamCase):
    """04 §3.5, §5: what is asked wrongly."""

    async def test_missing_fields_are_named(self) -> None:
        """In the words clients know."""
        rows: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("set", {"group_id": "g", "item_id": "i", "data": 1}, "stream_name"),
            ("set", ITEM, "data"),
            ("get", {"stream_name": "s", "item_id": "i"}, "group_id"),
            ("delete", LISTED, "item_id"),
            ("update", ITEM, "ops"),
            ("list", {"stream_name": "s"}, "group_id"),
            ("list_groups", {}, "stream_name"),
        )
        for operation, asked, field in rows:
            error = await self.caller.error_of(f"stream::{operation}", asked)
            self.assertEqual(error["code"], "deserialization_error")
            self.assertEqual(
                error["message"],
                f"Failed to deserialize input for stream::{operation}: missing field `{field}`",
            )

    async def test_old_names_are_answered(self) -> None:
        """04 §5 "Id history", and never listed."""
        await self.caller.call("streams.set", {**ITEM, "data": 1})
        self.assertEqual(await self.caller.call("stream.get", ITEM), 1)
        self.assertEqual(await self.caller.call("streams.getGroup", LISTED), [1])
        groups = await self.caller.call("streams.listGroups", {"stream_name": STREAM})
        self.assertEqual(groups, ["g"])
        listed = (await self.caller.call("engine::functions::list", {}))["functions"]
        names = {function["function_id"] for function in listed}
        self.assertEqual(names & set(ALIASES), set())

    async def test_functions_say_what_they_take_and_give(self) -> None:
        """04 §3.6."""
        listed = (await self.caller.call("engine::functions::list", {}))["functions"]
        formats = {function["function_id"]: function for function in listed}
        for id in set(ALIASES.values()) | {"stream::list_all"}:
            self.assertIsNotNone(formats[id].get("request_format"), id)
        for operation in ("set", "delete", "update", "list_all"):
            self.assertIsNotNone(formats[f"stream::{operation}"].get("response_format"), operation)


class Limited(StreamCase):
    """04 §13, §14.26: `max_value_bytes`."""

    settings = StreamConfig(port=0, host="127.0.0.1", max_value_bytes=10)

    async def test_values_that_are_too_large_are_refused(self) -> None:
        """By set and by what an update makes; white space does not count."""
        error = await self.caller.error_of("stream::set", {**ITEM, "data": "123456789"})
        self.assertEqual(error["code"], "VALUE_TOO_LARGE")
        self.assertEqual(
            error["message"], "value of 11 bytes exceeds the configured max_value_bytes limit of 10"
        )
        self.assertIsNone(await self.get("i"))
        await self.set("i", Raw(b"[1,    2,    3]"))
        await self.set("i", {"a": 1})
        error = await self.caller.error_of(
            "stream::update", {**ITEM, "ops": [{"type": "set", "path": "b", "value": 2}]}
        )
        self.assertEqual(error["code"], "VALUE_TOO_LARGE")
        self.assertEqual(await self.get("i"), {"a": 1})


class Reads(StreamCase):
    """What the sockets ask."""

    async def test_a_group_is_an_array(self) -> None:
        """Also an unknown one; an item is its value or nothing."""
        streams = self.module.streams
        empty = await streams.read_group(STREAM, GROUP)
        self.assertEqual(bytes(empty or b""), b"[]")
        await self.set("1", {"id": "1"})
        await self.set("2", 2)
        values = await streams.read_group(STREAM, GROUP)
        self.assertEqual(msgspec.json.decode(values or b""), [{"id": "1"}, 2])
        item = await streams.read_item(STREAM, GROUP, "1")
        self.assertEqual(bytes(item or b""), b'{"id":"1"}')
        self.assertIsNone(await streams.read_item(STREAM, GROUP, "3"))
