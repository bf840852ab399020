"""Logs, traces, metrics, alerts, and taking them elsewhere.

Times are nanoseconds, too many for the numbers of a browser: beside each ``…_unix_nano``
stand the same as text (``…_unix_nano_str``) and in milliseconds (``…_ms``).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from iii.modules.console.asking import Answer, Asked, HandlerError
from iii.modules.console.routes import Route

MAX_LISTED = 10_000
DEFAULT_LISTED = 500
EXPORT_PAGE = 1_000
#: Less than an answer may have.
EXPORT_BYTES = 5_000_000

# A key of an object: inside a text its quotes would be escaped.
_NANO = re.compile(rb'"(\w+)_unix_nano":(\d+)')


def with_times(found: Raw) -> Raw:
    """``found`` with each time in all three forms, unless a row has the milliseconds anyway."""
    text = bytes(found)
    has_ms = b'"start_time_ms":' in text

    def all_forms(match: re.Match[bytes]) -> bytes:
        name, ns = match[1], match[2]
        more = b'"%b_unix_nano":%b,"%b_unix_nano_str":"%b"' % (name, ns, name, ns)
        if has_ms and name == b"start_time":
            return more
        return b'%b,"%b_ms":%.6f' % (more, name, int(ns) / 1e6)

    return Raw(_NANO.sub(all_forms, text))


def _listing(asked: Asked) -> dict[str, Any]:
    """What a list is asked for, with a limit that an answer has room for."""
    wanted = dict(asked.fields)
    limit = wanted.get("limit")
    if limit is None:
        wanted["limit"] = DEFAULT_LISTED
    elif isinstance(limit, int) and limit > MAX_LISTED:
        wanted["limit"] = MAX_LISTED
    return wanted


async def logs(asked: Asked) -> Raw:
    """``otel/logs``."""
    return with_times(await asked.ask("engine::logs::list", _listing(asked)))


async def clear_logs(asked: Asked) -> Raw:
    """``otel/logs/clear``."""
    return await asked.act("engine::logs::clear")


async def traces(asked: Asked) -> Raw:
    """``otel/traces``."""
    return with_times(await asked.ask("engine::traces::list", _listing(asked)))


async def clear_traces(asked: Asked) -> Raw:
    """``otel/traces/clear``."""
    return await asked.act("engine::traces::clear")


async def tree(asked: Asked) -> Raw:
    """``otel/traces/tree``."""
    wanted = {"trace_id": asked.text("trace_id")}
    return with_times(await asked.ask("engine::traces::tree", wanted))


async def grouped(asked: Asked) -> Raw:
    """``otel/traces/group_by``."""
    return await asked.ask("engine::traces::group_by", asked.fields)


async def metrics(asked: Asked) -> Raw:
    """``metrics/detailed``."""
    return with_times(await asked.ask("engine::metrics::list", asked.fields))


async def rollups(asked: Asked) -> Raw:
    """``rollups``."""
    return await asked.ask("engine::rollups::list", asked.fields)


async def sampling(asked: Asked) -> Raw:
    """``sampling/rules``."""
    return await asked.ask("engine::sampling::rules")


async def alerts(asked: Asked) -> Raw:
    """``alerts``."""
    return await asked.ask("engine::alerts::list")


async def evaluate(asked: Asked) -> Raw:
    """``alerts/evaluate``."""
    return await asked.act("engine::alerts::evaluate")


async def silence(asked: Asked) -> Raw:
    """``alerts/:name/silence``."""
    wanted = {"name": asked.params["name"], "seconds": asked.given("seconds")}
    return await asked.act("engine::alerts::silence", wanted)


# Export --------------------------------------------------------------------------------


async def export_trace(asked: Asked) -> Answer:
    """``export/traces/:trace_id``: OTLP JSON, to be saved."""
    trace_id = asked.params["trace_id"]
    found = await asked.ask("engine::traces::export", {"trace_id": trace_id})
    if not msgspec.json.decode(found)["resourceSpans"]:
        raise HandlerError(f"Trace '{trace_id}' not found", 404)
    name = "".join(letter for letter in trace_id if letter.isalnum())[:64]
    return Answer(bytes(found), headers=_saved_as(f"trace-{name}.json"))


async def export_logs(asked: Asked) -> Answer:
    """``export/logs?…``: one record a line, filtered like a list; the newest that fit."""
    wanted: dict[str, Any] = {}
    for name in ("start_time", "end_time", "severity_min"):
        if asked.query.get(name):
            wanted[name] = asked.number(name)
    for name in ("trace_id", "span_id", "severity_text"):
        if asked.query.get(name):
            wanted[name] = asked.query[name]
    lines: list[bytes] = []
    size = offset = 0
    complete = False
    while not complete and size < EXPORT_BYTES:
        page = {**wanted, "offset": offset, "limit": EXPORT_PAGE}
        found = msgspec.json.decode(await asked.ask("engine::logs::list", page), type=_Logs)
        for row in found.logs:
            size += memoryview(row).nbytes + 1
            if size > EXPORT_BYTES:
                break
            lines.append(bytes(row))
        if found.logs:
            # What comes in meanwhile must not move the pages, which begin with the newest.
            newest = msgspec.json.decode(found.logs[0], type=_Dated).timestamp_unix_nano
            wanted.setdefault("end_time", newest // 1_000_000 + 1)
        offset += len(found.logs)
        complete = len(found.logs) < EXPORT_PAGE and size <= EXPORT_BYTES
    headers = _saved_as("logs.ndjson") | {"x-complete": "true" if complete else "false"}
    body = b"".join(line + b"\n" for line in reversed(lines))
    return Answer(body, "application/x-ndjson", headers=headers)


class _Logs(msgspec.Struct):
    logs: list[Raw]


class _Dated(msgspec.Struct):
    timestamp_unix_nano: int


def _saved_as(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


ROUTES = (
    Route("GET", "alerts", alerts),
    Route("GET", "sampling/rules", sampling),
    Route("POST", "otel/logs", logs),
    Route("POST", "otel/logs/clear", clear_logs, "clears the logs"),
    Route("POST", "otel/traces", traces),
    Route("POST", "otel/traces/clear", clear_traces, "clears the traces"),
    Route("POST", "otel/traces/tree", tree),
    Route("POST", "metrics/detailed", metrics),
    Route("POST", "rollups", rollups),
    Route("POST", "otel/traces/group_by", grouped),
    Route("POST", "alerts/evaluate", evaluate, "evaluates the alerts"),
    Route("POST", "alerts/:name/silence", silence, "silences an alert"),
    Route("GET", "export/traces/:trace_id", export_trace),
    Route("GET", "export/logs", export_logs),
)
