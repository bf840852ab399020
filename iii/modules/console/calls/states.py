"""The state: scopes, keys, values."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from iii.modules.console.asking import Asked
from iii.modules.console.routes import Route

MAX_LISTED = 1_000


async def groups(asked: Asked) -> dict[str, Any]:
    """``states/groups?search=&offset=&limit=``: with how many keys each has."""
    wanted = {
        "search": asked.query.get("search", ""),
        "offset": asked.number("offset", 0),
        "limit": asked.number("limit", MAX_LISTED),
    }
    found = await asked.read("engine::state::scopes", wanted)
    return {"groups": found["scopes"], "count": len(found["scopes"]), "total": found["total"]}


async def group(asked: Asked) -> dict[str, Any]:
    """``states/group``: values, and beside them the keys they really have."""
    wanted = {
        "scope": asked.text("scope", "request body"),
        "limit": asked.fields.get("limit", MAX_LISTED),
        "cursor": asked.fields.get("cursor"),
    }
    found = await asked.read("engine::state::entries", wanted)
    entries = found["entries"]
    return {
        "items": [entry["value"] for entry in entries],
        "count": len(entries),
        "keys": [entry["key"] for entry in entries],
        "total": found["total"],
        "next_cursor": found["next_cursor"],
    }


async def set_item(asked: Asked) -> Raw:
    """``states/:group/item``."""
    wanted = {
        "scope": asked.params["group"],
        "key": asked.text("key", "request body"),
        "value": asked.given("value"),
    }
    return await asked.act("state::set", wanted)


async def delete_item(asked: Asked) -> Raw:
    """``states/:group/item/:key``."""
    wanted = {"scope": asked.params["group"], "key": asked.params["key"]}
    return await asked.act("state::delete", wanted)


async def entries(asked: Asked) -> Raw:
    """``states/:scope?prefix=&cursor=&limit=``."""
    wanted = {
        "scope": asked.params["scope"],
        "prefix": asked.query.get("prefix", ""),
        "cursor": asked.query.get("cursor") or None,
        "limit": asked.number("limit", 100),
    }
    return await asked.ask("engine::state::entries", wanted)


ROUTES = (
    Route("GET", "states/groups", groups),
    Route("POST", "states/group", group),
    Route("POST", "states/:group/item", set_item, "writes state"),
    Route("DELETE", "states/:group/item/:key", delete_item, "deletes state"),
    Route("GET", "states/:scope", entries),
)
