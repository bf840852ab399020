"""Calls that were made: looked at, made again; and what goes over a worker's connection."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from iii.modules.console.asking import Asked, HandlerError
from iii.modules.console.routes import Route

TEXTS = (
    "state",
    "status",
    "function_id",
    "worker_id",
    "caller_worker_id",
    "trigger_type",
    "trace_id",
    "error_code",
    "search",
)
NUMBERS = ("limit", "offset", "min_duration_ms")


async def listed(asked: Asked) -> Raw:
    """``invocations``: those under way, then the newest of the others."""
    wanted: dict[str, Any] = {name: asked.query[name] for name in TEXTS if asked.query.get(name)}
    for name in NUMBERS:
        number = asked.number(name)
        if number is not None:
            wanted[name] = number
    return await asked.ask("engine::invocations::list", wanted)


async def one(asked: Asked) -> Raw:
    """``invocations/:id``: all about a call."""
    return await asked.ask("engine::invocations::get", _id(asked))


async def replay(asked: Asked) -> Raw:
    """``invocations/:id/replay``: the same call again, or with another ``input``."""
    wanted = _id(asked)
    if "input" in asked.fields:
        wanted["input"] = asked.fields["input"]
    return await asked.ask("engine::invocations::replay", wanted)


async def cancel(asked: Asked) -> Raw:
    """``invocations/:id/cancel``: nobody waits for it any more."""
    return await asked.ask("engine::invocations::cancel", _id(asked))


async def clear(asked: Asked) -> Raw:
    """``invocations/clear``: forget those that are over."""
    return await asked.ask("engine::invocations::clear")


async def protocol(asked: Asked) -> Raw:
    """``workers/:worker_id/protocol``: the last messages, when they are recorded."""
    return await asked.ask("engine::workers::protocol", {"worker_id": asked.params["worker_id"]})


async def record(asked: Asked) -> Raw:
    """``POST workers/:worker_id/protocol``: begin to record them, or end it."""
    wanted = asked.fields.get("record", True)
    if not isinstance(wanted, bool):
        raise HandlerError("record is not a boolean", 400)
    fields = {"worker_id": asked.params["worker_id"], "record": wanted}
    return await asked.ask("engine::workers::protocol", fields)


def _id(asked: Asked) -> dict[str, Any]:
    return {"invocation_id": asked.params["invocation_id"]}


ROUTES = (
    Route("GET", "invocations", listed),
    Route("POST", "invocations/clear", clear, "forgets all kept invocations"),
    Route("GET", "invocations/:invocation_id", one),
    Route("POST", "invocations/:invocation_id/replay", replay, "replays invocation"),
    Route("POST", "invocations/:invocation_id/cancel", cancel, "cancels invocation"),
    Route("GET", "workers/:worker_id/protocol", protocol),
    Route("POST", "workers/:worker_id/protocol", record, "records the messages of worker"),
)
