"""Where the boxes of the Flow page stand: kept in the state, in a scope of their own."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw

from iii.modules.console.asking import NULL, Asked, HandlerError
from iii.modules.console.routes import Route

SCOPE = "__console.flowConfigs"
_ID = re.compile(r"[A-Za-z0-9._-]+")


def _id(asked: Asked) -> str:
    id = asked.params["flow_id"]
    if _ID.fullmatch(id) is None:
        raise HandlerError("Invalid flow_id: letters, digits, '.', '_' and '-' only", 400)
    return id


async def get(asked: Asked) -> Raw | dict[str, Any]:
    """``flows/config/:flow_id``."""
    id = _id(asked)
    found = await asked.ask("state::get", {"scope": SCOPE, "key": id})
    return {"id": id, "config": {}} if found == NULL else found


async def save(asked: Asked) -> dict[str, str]:
    """The same, to be kept."""
    id = _id(asked)
    value = {"id": id, "config": asked.given("config")}
    await asked.act("state::set", {"scope": SCOPE, "key": id, "value": value})
    return {"message": "Flow config saved successfully"}


ROUTES = (
    Route("GET", "flows/config/:flow_id", get),
    Route("POST", "flows/config/:flow_id", save, "saves a flow's layout"),
)
