"""What every release is put through, as a list of checks: the conversation.

They look from outside: over HTTP, with the raw worker, or with the counterpart, which
is the same program in the newest SDK of another language.  They run in the order they
stand in; ``stored.py`` and ``endings.py`` go on with the same programs.

A check that ``needs`` something runs only for releases that ``can`` do it.
"""

from __future__ import annotations

from typing import Any

from tests.sdks import releases as r
from tests.sdks.raw import Answer
from tests.sdks.releases import Release
from tests.sdks.stage import (
    SETTLE_LIMIT_S,
    Check,
    Stage,
    eventually,
    listing,
    same,
    without_caller,
)

CHECKS: list[Check] = []
check = listing(CHECKS)

STREAMED_S = 0.2
"""The programs pause three times 0.15 s between the first and the last piece."""
CONTENT_BYTES = 200_000
LARGE_BYTES = 3_000_000
BROKEN = "broken on purpose"

EVENT_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
}
"""A format Python releases before 0.10 cannot parse."""


# Connected, callable, reachable over HTTP.


@check("connects and tells its name, runtime and version")
async def connects(stage: Stage) -> None:
    async def introduced() -> Any:
        return [row for row in await stage.rows() if row["name"] == stage.prefix]

    (row,) = await eventually(introduced, f"a worker named {stage.prefix} is listed")
    same((row["runtime"], row["version"]), (stage.release.runtime, stage.release.version))
    same(row["status"], "connected")


@check("answers a call with what it was given")
async def answers(stage: Stage) -> None:
    data = {"text": "Grüße, 世界 😀", "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}}
    same(without_caller(await stage.call("echo", data)), data)


@check("HTTP POST: the quick start's function is live")
async def http_add(stage: Stage) -> None:
    reply = await stage.http("POST", "add", json_body={"a": 5, "b": 3})
    same((reply.status, reply.json), (200, {"sum": 8}))


@check("HTTP GET: path parameter, query, header, typed response")
async def http_get(stage: Stage) -> None:
    reply = await stage.http("GET", "items/a-1?page=2&x=", headers={"X-Agent": "runner"})
    assert reply.status == 203, reply.shown
    same(reply.json, {"id": "a-1", "page": "2", "agent": "runner", "method": "GET"})
    same(reply.headers.get("x-sdk"), stage.prefix)


@check("HTTP POST: path parameter, JSON body, typed response")
async def http_post(stage: Stage) -> None:
    reply = await stage.http("POST", "items/b-2", json_body={"stars": 5, "tags": ["é"]})
    assert reply.status == 201, reply.shown
    same(reply.json, {"id": "b-2", "got": {"stars": 5, "tags": ["é"]}})
    same(reply.headers.get("x-sdk"), stage.prefix)


@check("HTTP: no result is 204")
async def http_nothing(stage: Stage) -> None:
    reply = await stage.http("GET", "nothing")
    same((reply.status, reply.body), (204, b""))


@check("HTTP: a thrown error is 500 with code and message")
async def http_error(stage: Stage) -> None:
    reply = await stage.http("GET", "fail")
    assert reply.status == 500, reply.shown
    error = reply.json["error"]
    same(error["code"], "invocation_failed")
    assert BROKEN in error["message"], reply.shown


# Calls between languages.


@check("calls a function of another language")
async def calls_out(stage: Stage) -> None:
    data = {"function_id": stage.peer_id("add"), "data": {"a": 20, "b": 22}}
    same(await stage.call("relay", data), {"value": {"sum": 42}})


@check("is called from another language")
async def called_by_peer(stage: Stage) -> None:
    data = {"function_id": stage.id("add"), "data": {"a": 20, "b": 22}}
    same(await stage.peer_call("relay", data), {"value": {"sum": 42}})


@check("an error of another language reaches the caller with code and message")
async def error_in(stage: Stage) -> None:
    answer = await stage.call("relay", {"function_id": stage.peer_id("fail"), "data": {}})
    assert "invocation_failed" in answer["error"] and BROKEN in answer["error"], answer


@check("its error reaches another language with code and message")
async def error_out(stage: Stage) -> None:
    answer = await stage.peer_call("relay", {"function_id": stage.id("fail"), "data": {}})
    assert "invocation_failed" in answer["error"] and BROKEN in answer["error"], answer


@check("its error is code and message on the wire")
async def error_raw(stage: Stage) -> None:
    answer = await stage.raw.ask(stage.id("fail"), {})
    same(answer.code, "invocation_failed")
    assert BROKEN in answer.message, answer


@check("an unknown function is function_not_found to the caller")
async def unknown(stage: Stage) -> None:
    answer = await stage.call("relay", {"function_id": "no::such", "data": {}})
    assert "function_not_found" in answer["error"], answer


@check("a call without a payload is answered")
async def no_payload(stage: Stage) -> None:
    data = {"function_id": f"{stage.probe}::take", "data": None}
    same(await stage.call("relay", data, 5.0), {"value": {"taken": None}})


# Fire and forget.


async def noted(stage: Stage, prefix: str, n: str) -> None:
    async def recorded() -> bool:
        return n in (await stage.raw.call(f"{prefix}::recorded", {}))["notes"]

    await eventually(recorded, f"{prefix} recorded {n}")


@check("fire-and-forget to another language arrives")
async def void_out(stage: Stage) -> None:
    data = {"function_id": stage.peer_id("note"), "data": {"n": "from-" + stage.prefix}}
    same(await stage.call("send", data), {"sent": True})
    await noted(stage, stage.peer_prefix, "from-" + stage.prefix)


@check("fire-and-forget from another language arrives")
async def void_in(stage: Stage) -> None:
    data = {"function_id": stage.id("note"), "data": {"n": "from-peer"}}
    same(await stage.peer_call("send", data), {"sent": True})
    await noted(stage, stage.prefix, "from-peer")


@check("fire-and-forget in both spellings of the wire arrives and is not answered")
async def void_raw(stage: Stage) -> None:
    seen = len(stage.raw.frames)
    for n, extra in (("absent", {}), ("action", {"action": {"type": "void"}})):
        await stage.raw.send("invokefunction", function_id=stage.id("note"), data={"n": n}, **extra)
    await noted(stage, stage.prefix, "absent")
    await noted(stage, stage.prefix, "action")
    answers = [text for text in list(stage.raw.frames)[seen:] if "noted" in text]
    same(answers, [])


# Discovery.


@check("its lists show functions and workers while a JSON-Schema worker is connected")
async def lists(stage: Stage) -> None:
    function_id = f"{stage.probe}::schema"
    formats = {"request_format": EVENT_SCHEMA, "response_format": EVENT_SCHEMA}
    await stage.raw.register(function_id, lambda data: data, **formats)
    found = await stage.call("lists")
    wanted = {function_id, stage.id("echo"), stage.peer_id("echo")}
    assert wanted <= set(found["functions"]), found["functions"]
    assert {stage.prefix, stage.peer_prefix} <= set(found["workers"]), found["workers"]


@check("its list of triggers shows its own", needs=r.TRIGGER_LIST)
async def lists_triggers(stage: Stage) -> None:
    found = (await stage.call("lists"))["triggers"]
    same(found.count(stage.id("item")), 1)
    same(found.count(stage.id("create")), 1)


@check("hears of a new function", needs=r.ANNOUNCED)
async def announced(stage: Stage) -> None:
    function_id = f"{stage.probe}::announced"
    await stage.raw.register(function_id, lambda data: data, request_format=EVENT_SCHEMA)

    async def heard() -> bool:
        return function_id in (await stage.call("announced"))["functions"]

    await eventually(heard, f"the program heard of {function_id}")


ROUTES = ("GET fail", "GET items/:id", "GET nothing", "POST add", "POST items/:id")


def expected_routes(release: Release, *more: str) -> list[str]:
    streamed = ("POST stream",) if r.CHANNELS in release.can else ()
    queued = ("POST enqueue",) if r.NAMED in release.can else ()
    routes = (each.split() for each in (*ROUTES, *streamed, *queued, *more))
    return sorted(f"{method} {release.prefix}/{path}" for method, path in routes)


@check("each of its triggers is registered once")
async def triggers_once(stage: Stage) -> None:
    same(await stage.routes(), expected_routes(stage.release, "GET temporary"))


# Trigger types.


@check("is the provider of a trigger type")
async def provides(stage: Stage) -> None:
    kind = f"{stage.prefix}-events"
    config = {"topic": "orders"}
    bound = await stage.raw.bind(kind, f"{stage.probe}::take", config)

    async def told() -> Any:
        return (await stage.call("bound"))["bound"].get(bound)

    binding = await eventually(told, "the trigger reached the program")
    same(binding, {"function_id": f"{stage.probe}::take", "config": config})
    await stage.raw.send("unregistertrigger", id=bound, trigger_type=kind)


@check("hears that a trigger of its type was unregistered", needs=r.TOLD)
async def provider_told(stage: Stage) -> None:
    async def told() -> Any:
        return (await stage.call("bound"))["unbound"]

    await eventually(told, "the end of the trigger reached the program")


@check("its refusal of a trigger reaches who registered it")
async def refuses(stage: Stage) -> None:
    config = {"refuse": True}
    bound = await stage.raw.bind(f"{stage.prefix}-events", f"{stage.probe}::take", config)
    frame = await stage.raw.refusal(bound)
    same(frame["error"]["code"], "trigger_registration_failed")
    assert "refused on purpose" in frame["error"]["message"], frame


@check("a refused trigger of its own does not harm it")
async def misregisters(stage: Stage) -> None:
    same(await stage.call("misregister"), {"sent": True})
    same(without_caller(await stage.call("echo", {"still": "here"})), {"still": "here"})


@check("logs why its trigger was refused", needs=r.RESULTS)
async def logs_refusal(stage: Stage) -> None:
    await stage.program.says("rigger registration failed.*api_path", SETTLE_LIMIT_S)


# Channels and streams.


@check("a channel to another language", needs=r.CHANNELS)
async def channel_out(stage: Stage) -> None:
    reference = (await stage.call("produce", {"size": CONTENT_BYTES}))["reader"]
    found = await stage.peer_call("consume", {"reader": reference})
    same(found, {"size": CONTENT_BYTES, "messages": [f"from {stage.prefix}"]})


@check("a channel from another language", needs=r.CHANNELS)
async def channel_in(stage: Stage) -> None:
    reference = (await stage.peer_call("produce", {"size": CONTENT_BYTES}))["reader"]
    found = await stage.call("consume", {"reader": reference})
    same(found, {"size": CONTENT_BYTES, "messages": [f"from {stage.peer_prefix}"]})


@check("HTTP: streamed request and response", needs=r.CHANNELS)
async def streams(stage: Stage) -> None:
    reply = await stage.http(
        "POST", "stream", body=b"one two three four", headers={"content-type": "text/plain"}
    )
    assert reply.status == 207, reply.shown
    same(reply.body, b"ONE\nTWO\nTHREE\nFOUR\n")
    same(reply.headers.get("x-sdk"), stage.prefix)
    same(reply.headers.get("content-type"), "text/plain")
    spread = reply.last_piece_s - reply.first_piece_s
    assert spread >= STREAMED_S, f"all of it came within {spread:.3f} s: it was not streamed"


# Sizes.


@check("a message of 3 MB goes through", needs=r.LARGE)
async def large(stage: Stage) -> None:
    answer = await stage.call("echo", {"text": "x" * LARGE_BYTES})
    same(len(answer["text"]), LARGE_BYTES)


@check("a message too large for the SDK is refused and the worker lives on", needs=r.SMALL)
async def too_large(stage: Stage) -> None:
    (before,) = [row["id"] for row in await stage.rows() if row["name"] == stage.prefix]
    answer: Answer = await stage.raw.ask(stage.id("echo"), {"text": "x" * LARGE_BYTES})
    same(answer.code, "payload_too_large")
    same(without_caller(await stage.call("echo", {"n": 1})), {"n": 1})
    (after,) = [row["id"] for row in await stage.rows() if row["name"] == stage.prefix]
    same(after, before)
