"""What there is: functions, triggers, workers, modules, routes, channels, configuration."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from iii.errors import IIIError
from iii.modules.console.asking import Asked
from iii.modules.console.backend import NotConnected, TooLate
from iii.modules.console.routes import Route

STATUS_S = 5.0
ENGINE_PREFIX = "engine::"
#: What every engine is expected to have, whether a trigger uses it or not.
KNOWN_TYPES = (
    "api",
    "event",
    "subscribe",
    "cron",
    "log",
    "stream::join",
    "stream::leave",
    "state",
    "engine::functions-available",
)
FUNCTIONS = "engine::functions::list"
TRIGGERS = "engine::triggers::list"
WORKERS = "engine::workers::list"
EVERYTHING = {"include_internal": True}


async def status(asked: Asked) -> dict[str, Any]:
    """``status``: what can't be asked counts as nothing."""
    wanted: tuple[tuple[str, dict[str, Any]], ...] = (
        (WORKERS, {}),
        (FUNCTIONS, EVERYTHING),
        ("engine::metrics::snapshot", {}),
    )
    reading = [Deferred.fromCoroutine(_or_none(asked, *each)) for each in wanted]
    workers, functions, metrics = await gatherResults(reading)
    return {
        "workers": len((workers or {}).get("workers", ())),
        "functions": len((functions or {}).get("functions", ())),
        "status": "running",
        "metrics_available": metrics is not None,
    }


async def _or_none(asked: Asked, function_id: str, data: dict[str, Any]) -> Any:
    try:
        return await asked.read(function_id, data, STATUS_S)
    except (IIIError, NotConnected, TooLate):
        return None


async def health(asked: Asked) -> Any:
    """``health``."""
    return await asked.ask("engine::health::check")


async def functions(asked: Asked) -> dict[str, Any]:
    """``functions``: as the engine lists them, internal ones marked."""
    found = await asked.read(FUNCTIONS, {"include_internal": asked.flag("include_internal")})
    rows = found["functions"]
    _mark(rows, "function_id")
    return {"functions": rows}


async def function(asked: Asked) -> Any:
    """``functions/:function_id``."""
    return await asked.ask("engine::functions::info", {"function_id": asked.params["function_id"]})


async def triggers(asked: Asked) -> dict[str, Any]:
    """``triggers``."""
    found = await asked.read(TRIGGERS, {"include_internal": asked.flag("include_internal")})
    rows = found["triggers"]
    _mark(rows, "function_id")
    return {"triggers": rows}


async def trigger_types(asked: Asked) -> dict[str, Any]:
    """``trigger-types``: those of the engine and its workers, and those in use."""
    found = await asked.read(TRIGGERS, EVERYTHING)
    used = {row["trigger_type"] for row in found["triggers"]}
    offered = {row["id"] for row in found.get("trigger_types", ())}
    return {"trigger_types": sorted({*KNOWN_TYPES, *used, *offered})}


async def workers(asked: Asked) -> dict[str, Any]:
    """``workers``."""
    found = await asked.read(WORKERS)
    return {"workers": found["workers"], "timestamp": found["timestamp"]}


async def adapters(asked: Asked) -> dict[str, Any]:
    """``adapters``: the modules and their health, the trigger types in use, the workers."""
    modules = await asked.read("engine::modules::list")
    found = await asked.read(TRIGGERS, EVERYTHING)
    connected = await asked.read(WORKERS)
    rows = [
        {
            "id": row["name"],
            "type": "module",
            "status": "active",
            "health": "healthy" if row["status"] == "running" else row["reason"] or row["status"],
            "description": row["canonical"],
            "internal": False,
            "adapter": row["adapter"],
            "count": row["functions"],
        }
        for row in modules["modules"]
    ]
    used: dict[str, int] = {}
    for row in found["triggers"]:
        used[row["trigger_type"]] = used.get(row["trigger_type"], 0) + 1
    rows += [
        {
            "id": type,
            "type": "trigger",
            "status": "active",
            "health": "healthy",
            "description": f"{count} trigger(s) of this type",
            "internal": type.startswith(ENGINE_PREFIX),
            "count": count,
        }
        for type, count in sorted(used.items())
    ]
    count = len(connected["workers"])
    rows.append(
        {
            "id": "workers",
            "type": "worker_pool",
            "status": "active",
            "health": "healthy" if count else "no worker is connected",
            "description": f"{count} connected worker(s)",
            "internal": False,
            "count": count,
        }
    )
    return {"adapters": rows, "count": len(rows)}


# Ours ----------------------------------------------------------------------------------


async def function_stats(asked: Asked) -> Any:
    """``functions/:function_id/stats?seconds=``."""
    wanted = {"function_id": asked.params["function_id"], "seconds": asked.number("seconds", 300)}
    return await asked.ask("engine::functions::stats", wanted)


async def all_stats(asked: Asked) -> Any:
    """``stats/functions?seconds=&offset=&limit=&series=``: the most called first."""
    wanted = {
        "seconds": asked.number("seconds", 300),
        "series": asked.flag("series"),
        "offset": asked.number("offset", 0),
        "limit": asked.number("limit", 100),
    }
    return await asked.ask("engine::functions::stats", wanted)


async def disconnect(asked: Asked) -> Any:
    """``workers/:worker_id/disconnect``."""
    return await asked.act("engine::workers::disconnect", dict(asked.params))


async def routes(asked: Asked) -> Any:
    """``http/routes?search=&offset=&limit=``."""
    wanted: dict[str, Any] = {
        "offset": asked.number("offset", 0),
        "limit": asked.number("limit", 1000),
    }
    if "search" in asked.query:
        wanted["search"] = asked.query["search"]
    return await asked.ask("engine::http::routes", wanted)


async def channels(asked: Asked) -> Any:
    """``channels?offset=&limit=``."""
    wanted = {"offset": asked.number("offset", 0), "limit": asked.number("limit", 100)}
    return await asked.ask("engine::channels::list", wanted)


async def config(asked: Asked) -> Any:
    """``config``: secrets are masked by the engine."""
    return await asked.ask("engine::config::get")


async def modules(asked: Asked) -> dict[str, Any]:
    """``modules``: with the health of what they record."""
    found: dict[str, Any] = await asked.read("engine::modules::list")
    health = await _or_none(asked, "engine::health::check", {})
    found["health"] = health
    return found


async def metrics(asked: Asked) -> Any:
    """``metrics``."""
    return await asked.ask("engine::metrics::snapshot")


async def history(asked: Asked) -> Any:
    """``metrics/history?seconds=``."""
    return await asked.ask("engine::metrics::history", {"seconds": asked.number("seconds", 3600)})


def _mark(rows: list[dict[str, Any]], key: str) -> None:
    for row in rows:
        if row[key].startswith(ENGINE_PREFIX):
            row["internal"] = True


ROUTES = (
    Route("GET", "status", status),
    Route("GET", "health", health),
    Route("GET", "functions", functions),
    Route("GET", "functions/:function_id", function),
    Route("GET", "triggers", triggers),
    Route("GET", "trigger-types", trigger_types),
    Route("GET", "workers", workers),
    Route("GET", "adapters", adapters),
    Route("GET", "functions/:function_id/stats", function_stats),
    Route("GET", "stats/functions", all_stats),
    Route("POST", "workers/:worker_id/disconnect", disconnect, "disconnects a worker"),
    Route("GET", "http/routes", routes),
    Route("GET", "channels", channels),
    Route("GET", "config", config),
    Route("GET", "modules", modules),
    Route("GET", "metrics", metrics),
    Route("GET", "metrics/history", history),
)
