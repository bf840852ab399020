"""State, streams and KV, as a program of each release uses them.

The program calls with its own SDK (``relay``, and ``operate`` for operations built from
the SDK's own types), has ``state``, ``stream``, ``stream:join`` and ``stream:leave``
triggers, and owns a stream of its own through the SDK's createStream.  The raw worker and
a bare subscriber of the stream port look at the same from outside.

Names: scope ``PREFIX``, streams ``PREFIX-board`` (kept by the engine) and ``PREFIX-own``
(kept by the program).
"""

from __future__ import annotations

from typing import Any

from tests.sdks import releases as r
from tests.sdks.scenario import BROKEN
from tests.sdks.stage import Check, Stage, eventually, listing, same, without_caller
from tests.sdks.subscriber import Subscriber

CHECKS: list[Check] = []
check = listing(CHECKS)

START = {"name": "A", "counter": 0, "left": 3, "old": 1}
BASIC = {"name": "Z", "counter": 10, "left": 2, "status": "active"}
"""``START`` after the operations every release has: set, increment, decrement, remove, merge."""
APPENDED = {"name": "Z", "log": "ab", "deep": {"er": {"n": 1}}}
"""``{"name": "Z"}`` after two appends and a merge at a path; an increment of a string fails."""


def value_field(stage: Stage) -> str:
    """What this release's own documentation calls the value of ``state::set``."""
    return "data" if r.DATA in stage.release.can else "value"


async def put(stage: Stage, key: str, value: Any, scope: str | None = None) -> Any:
    """``state::set`` by the program."""
    place = {"scope": scope or stage.prefix, "key": key}
    return await stage.relay("state::set", {**place, value_field(stage): value})


def in_scope(stage: Stage, key: str) -> dict[str, str]:
    return {"scope": stage.prefix, "key": key}


def on_board(stage: Stage, item: str, group: str = "g") -> dict[str, str]:
    return {"stream_name": f"{stage.prefix}-board", "group_id": group, "item_id": item}


def in_own(stage: Stage, item: str) -> dict[str, str]:
    return {"stream_name": f"{stage.prefix}-own", "group_id": "g", "item_id": item}


async def operate(stage: Stage, function_id: str, target: Any, variant: str) -> Any:
    """An update with operations made of the SDK's own types."""
    data = {"function_id": function_id, "target": target, "variant": variant}
    return await stage.call("operate", data)


async def witnessed(stage: Stage, kind: str, wanted: Any, count: int) -> list[Any]:
    """The first ``count`` events for which ``wanted`` holds, that one trigger got."""

    async def enough() -> Any:
        found = [each for each in (await stage.call("witnessed")).get(kind, ()) if wanted(each)]
        return found if len(found) >= count else None

    found: list[Any] = await eventually(enough, f"{count} events of {kind} at the program")
    same(len(found), count)
    return found


def changes(value: Any) -> Any:
    """An update's result without the member that only some SDKs' types drop when empty."""
    return {name: part for name, part in value.items() if part or name != "errors"}


# State.


@check("state: set tells the old and the new value, and another language reads it")
async def state_set(stage: Stage) -> None:
    same(await put(stage, "a", {"n": 1}), {"old_value": None, "new_value": {"n": 1}})
    same(await put(stage, "a", [2, "é"]), {"old_value": {"n": 1}, "new_value": [2, "é"]})
    same(await stage.relay("state::get", in_scope(stage, "a")), [2, "é"])
    data = {"function_id": "state::get", "data": in_scope(stage, "a")}
    same(await stage.peer_call("relay", data), {"value": [2, "é"]})


@check("state: what is missing has no result, a stored null has one")
async def state_missing(stage: Stage) -> None:
    await put(stage, "nothing", None)
    missing = await stage.raw.ask("state::get", in_scope(stage, "missing"))
    stored = await stage.raw.ask("state::get", in_scope(stage, "nothing"))
    same(("result" in missing.frame, "error" in missing.frame), (False, False))
    same(("result" in stored.frame, stored.result), (True, None))
    by_sdk = [
        await stage.call("relay", {"function_id": "state::get", "data": in_scope(stage, key)})
        for key in ("missing", "nothing")
    ]
    # Node has undefined, which a result in JSON leaves out.
    unknown = {} if stage.release.registry == "npm" else {"value": None}
    same(by_sdk, [unknown, {"value": None}])


@check("state: delete returns what was there")
async def state_delete(stage: Stage) -> None:
    await put(stage, "short-lived", {"n": 1})
    same(await stage.relay("state::delete", in_scope(stage, "short-lived")), {"n": 1})
    same(await stage.relay("state::delete", in_scope(stage, "short-lived")), None)
    same(await stage.relay("state::get", in_scope(stage, "short-lived")), None)


@check("state: update with the SDK's own operations")
async def state_update(stage: Stage) -> None:
    await put(stage, "counted", START)
    found = await operate(stage, "state::update", in_scope(stage, "counted"), "basic")
    same(changes(found), {"old_value": START, "new_value": BASIC})
    same(await stage.relay("state::get", in_scope(stage, "counted")), BASIC)


@check("state: append, merge at a path, and an operation that fails alone", needs=r.APPEND)
async def state_append(stage: Stage) -> None:
    await put(stage, "log", {"name": "Z"})
    found = await operate(stage, "state::update", in_scope(stage, "log"), "append")
    same((found["old_value"], found["new_value"]), ({"name": "Z"}, APPENDED))
    if "errors" in found:
        (error,) = found["errors"]
        same((error["op_index"], error["code"]), (3, "increment.not_number"))
    same(await stage.relay("state::get", in_scope(stage, "log")), APPENDED)


@check("state: append at a path", needs=r.NESTED)
async def state_nested(stage: Stage) -> None:
    found = await operate(stage, "state::update", in_scope(stage, "nested"), "nested")
    same(changes(found), {"old_value": None, "new_value": {"x": {"log": ["a"]}}})


@check("state: lists values in the order of their first writing, and scopes")
async def state_lists(stage: Stage) -> None:
    scope = f"{stage.prefix}-list"
    for key, value in (("b", 1), ("a", 2), ("b", 3)):
        await put(stage, key, value, scope)
    same(await stage.relay("state::list", {"scope": scope}), [3, 2])
    same(await stage.relay("state::list", {"scope": "nobody's"}), [])
    groups = (await stage.relay("state::list_groups", {}))["groups"]
    same(groups, sorted(groups))
    assert {stage.prefix, scope} <= set(groups), groups


@check("state: a wrong call says what is wrong")
async def state_error(stage: Stage) -> None:
    said = await stage.relay_error("state::get", {"key": "a"})
    assert "deserialization_error" in said and "missing field `scope`" in said, said


@check("state: its trigger gets created, updated and deleted, in this order")
async def state_trigger(stage: Stage) -> None:
    for value in (1, 2):
        await put(stage, "watched", value)
        await put(stage, "watched", value, f"{stage.prefix}-other")
    await stage.relay("state::delete", in_scope(stage, "watched"))
    events = await witnessed(stage, "state", lambda each: each["key"] == "watched", 3)
    rows = (("created", None, 1), ("updated", 1, 2), ("deleted", 2, None))
    assert [without_caller(each) for each in events] == [
        {
            "type": "state",
            "event_type": f"state:{kind}",
            **in_scope(stage, "watched"),
            "old_value": old,
            "new_value": new,
        }
        for kind, old, new in rows
    ], events


# Streams.


@check("stream: set, get, delete and what is missing")
async def stream_values(stage: Stage) -> None:
    place = on_board(stage, "1", "values")
    assert await stage.relay("stream::get", place) is None
    first = await stage.relay("stream::set", {**place, "data": {"id": "1"}})
    same(first, {"old_value": None, "new_value": {"id": "1"}})
    second = await stage.relay("stream::set", {**place, "data": {"id": "1", "n": 2}})
    same(second, {"old_value": {"id": "1"}, "new_value": {"id": "1", "n": 2}})
    same(await stage.relay("stream::get", place), {"id": "1", "n": 2})
    same(await stage.relay("stream::delete", place), {"old_value": {"id": "1", "n": 2}})
    same(await stage.relay("stream::delete", place), {"old_value": None})


@check("stream: list, list_groups, list_all")
async def stream_lists(stage: Stage) -> None:
    name = f"{stage.prefix}-lists"
    for group, item in (("z", "1"), ("a", "2"), ("a", "1")):
        place = {"stream_name": name, "group_id": group, "item_id": item}
        await stage.relay("stream::set", {**place, "data": {"id": item}})
    listed = await stage.relay("stream::list", {"stream_name": name, "group_id": "a"})
    same(listed, [{"id": "2"}, {"id": "1"}])
    same(await stage.relay("stream::list", {"stream_name": name, "group_id": "none"}), [])
    same(sorted(await stage.relay("stream::list_groups", {"stream_name": name})), ["a", "z"])
    everything = await stage.relay("stream::list_all", {})
    assert {"id": name, "groups": ["a", "z"]} in everything["stream"], everything
    same(everything["count"], len(everything["stream"]))


@check("stream: update with the SDK's own operations")
async def stream_update(stage: Stage) -> None:
    place = on_board(stage, "counted", "values")
    await stage.relay("stream::set", {**place, "data": START})
    found = await operate(stage, "stream::update", place, "basic")
    same(changes(found), {"old_value": START, "new_value": BASIC})


@check("stream: a subscriber sees sync, create, update, custom events and delete")
async def stream_subscriber(stage: Stage) -> None:
    name = f"{stage.prefix}-board"
    place = on_board(stage, "s1", "seen")
    async with await Subscriber.open(stage.engine.stream_url) as subscriber:
        await subscriber.join(name, "seen")
        sync = await subscriber.frame()
        same((sync["streamName"], sync["groupId"], sync["id"]), (name, "seen", None))
        same(sync["event"], {"type": "sync", "data": []})
        await stage.relay("stream::set", {**place, "data": {"id": "s1"}})
        await stage.relay("stream::set", {**place, "data": {"id": "s1", "n": 1}})
        created, updated = await subscriber.frame(), await subscriber.frame()
        same(created["event"], {"type": "create", "data": {"id": "s1"}})
        same(updated["event"], {"type": "update", "data": {"id": "s1", "n": 1}})
        same((created["id"], updated["id"]), ("s1", "s1"))
        assert updated["timestamp"] > created["timestamp"], (created, updated)
        custom = {"stream_name": name, "group_id": "seen", "type": "typing", "data": {"u": 1}}
        same(await stage.relay("stream::send", custom), None)
        frame = await subscriber.frame()
        same(frame["id"], None)
        same(frame["event"], {"type": "event", "event": {"type": "typing", "data": {"u": 1}}})
        await stage.relay("stream::delete", place)
        same(await subscriber.event(), {"type": "delete", "data": {"id": "s1", "n": 1}})


@check("stream: its trigger gets the same envelopes, of its group only")
async def stream_trigger(stage: Stage) -> None:
    name = f"{stage.prefix}-board"
    for group in ("g", "elsewhere"):
        place = on_board(stage, "t1", group)
        await stage.relay("stream::set", {**place, "data": {"id": "t1"}})
        await stage.relay("stream::set", {**place, "data": {"id": "t1", "n": 2}})
        custom = {"stream_name": name, "group_id": group, "id": "t1", "type": "ping", "data": 3}
        await stage.relay("stream::send", custom)
        await stage.relay("stream::delete", place)
    events = await witnessed(stage, "stream", lambda each: each["id"] == "t1", 4)
    for each in events:
        same(
            (each["type"], each["streamName"], each["groupId"], type(each["timestamp"])),
            ("stream", name, "g", int),
        )
    same(
        [each["event"] for each in events],
        [
            {"type": "create", "data": {"id": "t1"}},
            {"type": "update", "data": {"id": "t1", "n": 2}},
            {"type": "event", "event": {"type": "ping", "data": 3}},
            {"type": "delete", "data": {"id": "t1", "n": 2}},
        ],
    )


@check("stream: its join handler decides who sees what, its leave handler hears of the end")
async def stream_guard(stage: Stage) -> None:
    name = f"{stage.prefix}-board"
    async with await Subscriber.open(stage.engine.stream_url) as subscriber:
        await subscriber.join(name, "secret", name="refused")
        same(await subscriber.event(), {"type": "unauthorized"})
        await subscriber.join(name, "open", "i1", name="guarded")
        frame = await subscriber.frame()
        same((frame["id"], frame["event"]), ("i1", {"type": "sync", "data": None}))
    about = {"stream_name": name, "group_id": "open", "id": "i1", "context": None}
    about["subscription_id"] = "guarded"
    for kind in ("join", "leave"):
        (event,) = await witnessed(
            stage, kind, lambda each: each["subscription_id"] == "guarded", 1
        )
        same(without_caller(event), about)


# A stream the program keeps itself.


@check("own stream: set reaches the program and a subscriber gets create", needs=r.OWN_STREAM)
async def own_stream(stage: Stage) -> None:
    name = f"{stage.prefix}-own"
    async with await Subscriber.open(stage.engine.stream_url) as subscriber:
        await subscriber.join(name, "g")
        same(await subscriber.event(), {"type": "sync", "data": []})
        data = {**in_own(stage, "1"), "data": {"id": "1", "n": 1}}
        found = await stage.raw.call("stream::set", data)
        same(found, {"old_value": None, "new_value": {"id": "1", "n": 1}})
        frame = await subscriber.frame()
        same((frame["id"], frame["groupId"], frame["streamName"]), ("1", "g", name))
        same(frame["event"], {"type": "create", "data": {"id": "1", "n": 1}})
        await subscriber.join(name, "g", "1", name="item")
        same(await subscriber.event(), {"type": "sync", "data": {"id": "1", "n": 1}})
    assert "set" in (await stage.call("witnessed"))["own"]


@check("own stream: get, list, groups, delete and errors are the program's", needs=r.OWN_STREAM)
async def own_stream_reads(stage: Stage) -> None:
    name = f"{stage.prefix}-own"
    await stage.relay("stream::set", {**in_own(stage, "2"), "data": {"id": "2"}})
    same(await stage.relay("stream::get", in_own(stage, "2")), {"id": "2"})
    group = {"stream_name": name, "group_id": "g"}
    same(await stage.relay("stream::list", group), [{"id": "1", "n": 1}, {"id": "2"}])
    same(await stage.relay("stream::list_groups", {"stream_name": name}), ["g"])
    refused = await stage.raw.ask("stream::get", in_own(stage, "broken"))
    same(refused.code, "invocation_failed")
    assert BROKEN in refused.message, refused
    # Python before 0.9 has no result for delete.
    told = None if r.SILENT_DELETE in stage.release.can else {"id": "2"}
    same(await stage.relay("stream::delete", in_own(stage, "2")), {"old_value": told})
    same(await stage.relay("stream::list", group), [{"id": "1", "n": 1}])


@check("own stream: an update works on the program's value", needs=r.OWN_STREAM)
async def own_stream_update(stage: Stage) -> None:
    data = {**in_own(stage, "1"), "ops": [{"type": "set", "path": "n", "value": 7}]}
    found = await stage.raw.call("stream::update", data)
    same(changes(found), {"old_value": {"id": "1", "n": 1}, "new_value": {"id": "1", "n": 7}})
    same(await stage.relay("stream::get", in_own(stage, "1")), {"id": "1", "n": 7})


# The KV server of releases up to 0.8.3.


@check("KV: set, get, update, list, delete, prefixes", needs=r.KV)
async def kv_values(stage: Stage) -> None:
    index = f"{stage.prefix}-kv"
    place = {"index": index, "key": "k"}
    same(
        await stage.relay("kv_server::set", {**place, "value": {"n": 1}}),
        {"old_value": None, "new_value": {"n": 1}},
    )
    same(await stage.relay("kv_server::get", place), {"n": 1})
    same(await stage.relay("kv_server::get", {**place, "key": "missing"}), None)
    ops = [{"type": "increment", "path": "n", "by": 2}]
    found = await stage.relay("kv_server::update", {**place, "ops": ops})
    same(changes(found), {"old_value": {"n": 1}, "new_value": {"n": 3}})
    same(await stage.relay("kv_server::list", {"index": index}), [{"n": 3}])
    indexes = await stage.relay("kv_server::list_keys_with_prefix", {"prefix": index})
    same(indexes, [index])
    same(await stage.relay("kv_server::delete", place), {"old_value": {"n": 3}})
    same(await stage.relay("kv_server::list", {"index": index}), [])


@check("KV: scope is not index", needs=r.KV)
async def kv_error(stage: Stage) -> None:
    said = await stage.relay_error("kv_server::get", {"scope": "a", "key": "b"})
    assert "deserialization_error" in said and "missing field `index`" in said, said
