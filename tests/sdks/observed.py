"""What a program of each release tells of itself, and what the engine shows of it.

Telemetry is on in every program, as it is by default; only its intervals are shorter
(``lane.telemetry_of``).  Spans, logs and metrics are looked for where a user looks: in
``engine::traces::tree``, ``engine::logs::list``, ``engine::metrics::list`` and the list
of workers.

The two checks with a trace through HTTP, a named queue and another language are the
proof that the engine and two SDKs continue each other's traces: one root, no gaps.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from tests.sdks import releases as r
from tests.sdks import web
from tests.sdks.stage import RECONNECT_LIMIT_S, Check, Stage, eventually, listing, same

CHECKS: list[Check] = []
check = listing(CHECKS)

SEVERITIES = {"info": 9, "warn": 13, "error": 17, "debug": 5}
LOG_KEYS = {
    "timestamp_unix_nano",
    "observed_timestamp_unix_nano",
    "severity_number",
    "severity_text",
    "body",
    "attributes",
    "trace_id",
    "span_id",
    "resource",
    "service_name",
    "instrumentation_scope_name",
    "instrumentation_scope_version",
}
Node = dict[str, Any]


async def observe(stage: Stage, n: str) -> str:
    """Have the program tell of itself, in a new trace; the trace's id."""
    trace_id = uuid.uuid4().hex
    fields = {"traceparent": f"00-{trace_id}-{uuid.uuid4().hex[:16]}-01"}
    answer = await stage.raw.ask(stage.id("observe"), {"n": n}, **fields)
    same(answer.result, {"observed": n})
    return trace_id


async def logs_of(stage: Stage, n: str) -> list[Node]:
    """The logs of ``observe``, by level."""
    bodies = {f"{level} {n}" for level in SEVERITIES}

    async def stored() -> list[Node]:
        logs = (await stage.raw.call("engine::logs::list", {}))["logs"]
        return [log for log in logs if log["body"] in bodies]

    async def complete() -> bool:
        return len(await stored()) >= len(bodies)

    await eventually(complete, f"the logs of {n} are stored")
    return sorted(await stored(), key=lambda log: list(SEVERITIES).index(log["body"].split()[0]))


# Spans, logs, metrics.


@check("its spans continue the caller's trace", needs=r.OTEL)
async def spans(stage: Stage) -> None:
    trace_id = await observe(stage, "spans")
    path = await path_to(stage, trace_id, "work spans", stage.prefix)
    same([node["name"] for node in path if node["service_name"] != stage.prefix][-1], called(stage))
    same({node["status"] for node in path} & {"error"}, set())


def called(stage: Stage) -> str:
    """The engine's span of a call of ``observe``."""
    return f"call {stage.id('observe')}"


@check("its logs arrive once, with level, text and data")
async def logs(stage: Stage) -> None:
    await observe(stage, "logs")
    found = [
        (log["body"], log["severity_number"], log["severity_text"])
        for log in await logs_of(stage, "logs")
    ]
    expected = [(f"{level} logs", number, level.upper()) for level, number in SEVERITIES.items()]
    same(found, expected)
    for log in await logs_of(stage, "logs"):
        assert stage.prefix in str(log["attributes"]), log


@check("its logs carry its service and the span they were written in", needs=r.OTEL)
async def logs_in_trace(stage: Stage) -> None:
    trace_id = await observe(stage, "placed")
    *_, work = await path_to(stage, trace_id, "work placed", stage.prefix)
    for log in await logs_of(stage, "placed"):
        same((log["trace_id"], log["span_id"]), (trace_id, work["span_id"]))
        same(log["service_name"], stage.prefix)


@check("its error, and nothing else, fires a log trigger of level error")
async def log_trigger(stage: Stage) -> None:
    stage.received.clear()
    bound = await stage.raw.bind("log", f"{stage.probe}::take", {"level": "error"})
    # The subscription has begun when a later call is answered.
    await stage.raw.call("engine::health::check", {})
    await observe(stage, "alarm")

    async def fired() -> list[Node]:
        return [log for log in stage.received if log["body"].endswith(" alarm")]

    (log,) = await eventually(fired, "the trigger fired")
    await logs_of(stage, "alarm")
    same([each["body"] for each in await fired()], ["error alarm"])
    same(set(log) - LOG_KEYS, set())
    same(LOG_KEYS - set(log), set())
    same((log["severity_number"], log["severity_text"]), (17, "ERROR"))
    await stage.raw.send("unregistertrigger", id=bound, trigger_type="log")


@check("hears of every log and picks by level", needs=r.ON_LOG)
async def on_log(stage: Stage) -> None:
    await observe(stage, "heard")

    async def told() -> list[list[str]]:
        rows = (await stage.call("told"))["told"]
        found = [row for row in rows if row[1].endswith(" heard")]
        return found if len(found) >= 2 else []

    same(
        sorted(await eventually(told, "the callback was called")),
        [["ERROR", "error heard"], ["WARN", "warn heard"]],
    )


@check("its gauges stand beside it in the list of workers", needs=r.OTEL)
async def gauges(stage: Stage) -> None:
    (row,) = [row for row in await stage.rows() if row["name"] == stage.prefix]
    await stage.call("measure", {"worker_id": row["id"]})

    async def measured() -> Any:
        (row,) = [row for row in await stage.rows() if row["name"] == stage.prefix]
        return row.get("latest_metrics")

    latest = await eventually(measured, "latest_metrics of the program")
    assert latest["memory_rss"] > 1_000_000, latest
    assert latest["uptime_seconds"] > 0 and latest["cpu_percent"] >= 0, latest
    same(latest["runtime"], stage.release.runtime)
    others = [row.get("latest_metrics") for row in await stage.rows() if row["name"] is None]
    same(others, [None])


@check("its own counter arrives", needs=r.OTEL)
async def counter(stage: Stage) -> None:
    async def stored() -> Any:
        answer = await stage.raw.call("engine::metrics::list", {"metric_name": "program.measured"})
        return [each for each in answer["sdk_metrics"] if each["service_name"] == stage.prefix]

    metric = (await eventually(stored, "the counter is stored"))[-1]
    same((metric["name"], metric["metric_type"]), ("program.measured", "counter"))
    same([point["value"] for point in metric["data_points"]], [3.0])


# One trace through everything.


async def tree_of(stage: Stage, trace_id: str) -> list[Node]:
    roots: list[Node] = (await stage.raw.call("engine::traces::tree", {"trace_id": trace_id}))[
        "roots"
    ]
    return roots


def paths(nodes: list[Node], before: tuple[Node, ...] = ()) -> Iterator[tuple[Node, ...]]:
    """Every node of a tree with those above it."""
    for node in nodes:
        path = (*before, node)
        yield path
        yield from paths(node["children"], path)


async def path_to(stage: Stage, trace_id: str, name: str, service: str) -> tuple[Node, ...]:
    """From the one root of a trace to a span, once nothing is missing between them."""

    async def connected() -> Any:
        roots = await tree_of(stage, trace_id)
        found = [
            path
            for path in paths(roots)
            if (path[-1]["name"], path[-1]["service_name"]) == (name, service)
        ]
        shown = [[f"{node['service_name']}: {node['name']}" for node in p] for p in paths(roots)]
        assert len(found) == 1 and len(roots) == 1, f"{len(roots)} roots; {shown}"
        return found[0]

    path: tuple[Node, ...] = await eventually(connected, f"{name} is in a tree with one root")
    return path


def in_order(path: tuple[Node, ...], expected: list[tuple[str, bool]], what: str) -> None:
    """Each of ``(name, is of the engine)`` is on the path, one below the other."""
    rest = list(expected)
    for node in path:
        engine = node["service_name"] == "iii"
        if rest and (node["name"], engine) == rest[0]:
            rest.pop(0)
    shown = [f"{node['service_name']}: {node['name']}" for node in path]
    assert not rest, f"{what}: no {rest[0][0]!r} at its place in {shown}"


async def through_everything(stage: Stage, first: str, second: str) -> None:
    """HTTP → ``first`` → a named queue → ``second``, seen as one tree."""
    n = f"{first} to {second}"
    target = f"{second}::observe"
    sent = {"queue": "orders", "function_id": target, "data": {"n": n}}
    path = f"/{first}/enqueue"
    reply = await web.request(stage.engine.ports.http, "POST", path, json_body=sent)
    assert reply.status == 200 and "messageReceiptId" in reply.json["value"], reply.shown
    trace_id = await trace_of(stage, f"POST {path}", n)
    way = await path_to(stage, trace_id, f"work {n}", second)
    in_order(
        way,
        [
            (f"POST {path}", True),
            (f"call {first}::enqueue", True),
            (f"enqueue {target} → orders", True),
            ("fn_queue orders", True),
            (f"call {target}", True),
            (f"work {n}", False),
        ],
        n,
    )
    services = [node["service_name"] for node in way]
    assert services.index(first) < services.index(second), services
    same({node["status"] for node in way} & {"error"}, set())


async def trace_of(stage: Stage, name: str, n: str) -> str:
    """The trace with the log of ``n``, which must be one of the request ``name``."""
    trace_id: str = (await logs_of(stage, n))[0]["trace_id"]

    async def listed() -> Any:
        asked = {"trace_id": trace_id, "name": name}
        return (await stage.raw.call("engine::traces::list", asked))["spans"]

    (root,) = await eventually(listed, f"{name} is the root of {trace_id}")
    same((root["name"], root["parent_span_id"]), (name, None))
    return trace_id


@check("HTTP, its function, a named queue, another language: one tree", needs=r.NAMED)
async def trace_out(stage: Stage) -> None:
    await through_everything(stage, stage.prefix, stage.peer_prefix)


@check("HTTP, another language, a named queue, its function: one tree", needs=r.OTEL)
async def trace_in(stage: Stage) -> None:
    await through_everything(stage, stage.peer_prefix, stage.prefix)


# After the engine's restart (``endings.py``).


async def tells_again(stage: Stage) -> None:
    """Its telemetry connection is back, too."""
    traces: list[str] = []

    async def arrived() -> bool:
        traces.append(await observe(stage, f"again {len(traces)}"))
        trees = [await tree_of(stage, trace_id) for trace_id in traces]
        services = {path[-1]["service_name"] for tree in trees for path in paths(tree)}
        return stage.prefix in services

    await eventually(arrived, "its spans arrive again", RECONNECT_LIMIT_S)
