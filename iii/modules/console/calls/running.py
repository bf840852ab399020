"""Calling functions: by hand, and as cron would."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from iii.modules.console.asking import Asked, HandlerError
from iii.modules.console.calls.overview import EVERYTHING, TRIGGERS
from iii.modules.console.routes import Route

CRON = "cron"


async def invoke(asked: Asked) -> Raw:
    """``invoke``: the result itself."""
    function_id = asked.text("function_id")
    return await asked.act(function_id, asked.fields.get("input", {}))


async def run_cron(asked: Asked) -> dict[str, Any]:
    """``cron/trigger``: calls the function of a trigger, as if it were due now."""
    trigger_id = asked.text("trigger_id")
    function_id = asked.fields.get("function_id")
    if not isinstance(function_id, str) or not function_id:
        function_id = await _function_of(asked, trigger_id)
    instance = await asked.read("engine::instance::info")
    now = instance["started_at_ms"] / 1000 + instance["uptime_seconds"]
    payload = {
        "trigger": CRON,
        "job_id": trigger_id,
        "scheduled_time": str(int(now)),
        "actual_time": str(int(now)),
        "manual": True,
        "source": "console",
    }
    result = await asked.act(function_id, payload)
    return {"trigger_id": trigger_id, "function_id": function_id, "result": result}


async def _function_of(asked: Asked, trigger_id: str) -> str:
    found = await asked.read(TRIGGERS, EVERYTHING)
    for row in found["triggers"]:
        if row["id"] == trigger_id:
            if row["trigger_type"] != CRON:
                raise HandlerError(f"Trigger '{trigger_id}' is not a cron trigger")
            id: str = row["function_id"]
            return id
    raise HandlerError(f"Cron trigger '{trigger_id}' not found")


async def cron(asked: Asked) -> dict[str, Any]:
    """``cron``: schedules with their next and last runs."""
    jobs = await asked.read("engine::cron::list")
    return {"jobs": jobs, "count": len(jobs)}


async def run_now(asked: Asked) -> Any:
    """``cron/:trigger_id/run``: a run of the scheduler, which shows in its history."""
    return await asked.act("engine::cron::run", {"id": asked.params["trigger_id"]})


ROUTES = (
    Route("POST", "invoke", invoke, "calls a function"),
    Route("POST", "cron/trigger", run_cron, "calls a cron function"),
    Route("GET", "cron", cron),
    Route("POST", "cron/:trigger_id/run", run_now, "runs a cron job"),
)
