"""Streams: what there is, and the items of a group."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from iii.modules.console.asking import Asked
from iii.modules.console.routes import Route

SYSTEM = ("iii.", "iii:")
DEFAULT_PORT = 3112


async def listed(asked: Asked) -> dict[str, Any]:
    """``streams/list``."""
    found = await asked.read("stream::list_all")
    instance = await asked.read("engine::instance::info")
    endpoint = instance["endpoints"].get("stream")
    rows = []
    for stream in found["stream"]:
        internal = stream["id"].startswith(SYSTEM)
        count = len(stream["groups"])
        rows.append(
            {
                "id": stream["id"],
                "type": "system" if internal else "user",
                "description": f"{count} group(s)",
                "groups": stream["groups"],
                "status": "active",
                "internal": internal,
            }
        )
    port = DEFAULT_PORT
    if endpoint is not None:
        _, port = asked.engine.place("stream", endpoint["host"], endpoint["port"])
    return {"streams": rows, "count": len(rows), "websocket_port": port}


async def items(asked: Asked) -> Raw:
    """``streams/:name/:group/items?cursor=&limit=``."""
    wanted = {
        "stream_name": asked.params["name"],
        "group_id": asked.params["group"],
        "cursor": asked.query.get("cursor") or None,
        "limit": asked.number("limit", 100),
    }
    return await asked.ask("engine::stream::items", wanted)


def _item(asked: Asked) -> dict[str, Any]:
    return {
        "stream_name": asked.params["name"],
        "group_id": asked.params["group"],
        "item_id": asked.params["id"],
    }


async def put(asked: Asked) -> Raw:
    """``streams/:name/:group/items/:id``."""
    return await asked.act("stream::set", {**_item(asked), "data": asked.given("data")})


async def delete(asked: Asked) -> Raw:
    """The same, away."""
    return await asked.act("stream::delete", _item(asked))


ROUTES = (
    Route("GET", "streams/list", listed),
    Route("GET", "streams/:name/:group/items", items),
    Route("PUT", "streams/:name/:group/items/:id", put, "writes a stream item"),
    Route("DELETE", "streams/:name/:group/items/:id", delete, "deletes a stream item"),
)
