"""Queues and what died in them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from iii.modules.console.asking import Asked, HandlerError
from iii.modules.console.routes import Route

DEFAULT_PAGE = 50


async def listed(asked: Asked) -> dict[str, Raw]:
    """``queues``."""
    return {"queues": await asked.ask("engine::queue::list_topics")}


async def detail(asked: Asked) -> dict[str, Any]:
    """``queues/:topic``."""
    topic = asked.params["topic"]
    return {"topic": topic, "stats": await asked.ask("engine::queue::topic_stats", asked.params)}


async def publish(asked: Asked) -> dict[str, str]:
    """``queues/:topic/publish``."""
    topic = asked.params["topic"]
    await asked.act("enqueue", {"topic": topic, "data": asked.given("data")})
    return {"message": "Message published", "topic": topic}


async def dead(asked: Asked) -> dict[str, Raw]:
    """``dlq``."""
    return {"topics": await asked.ask("engine::queue::dlq_topics")}


async def dead_messages(asked: Asked) -> dict[str, Any]:
    """``dlq/:topic/messages``."""
    topic = asked.params["topic"]
    wanted = {
        "topic": topic,
        "offset": asked.fields.get("offset", 0),
        "limit": asked.fields.get("limit", DEFAULT_PAGE),
    }
    return {"topic": topic, "messages": await asked.ask("engine::queue::dlq_messages", wanted)}


async def redrive(asked: Asked) -> Raw:
    """``dlq/:topic/redrive``: all of them."""
    return await asked.act("iii::queue::redrive", {"queue": asked.params["topic"]})


def _message(asked: Asked) -> dict[str, str]:
    return {"queue": asked.params["topic"], "message_id": asked.params["id"]}


async def redrive_message(asked: Asked) -> Raw:
    """``dlq/:topic/messages/:id/redrive``."""
    return await asked.act("iii::queue::redrive_message", _message(asked))


async def discard_message(asked: Asked) -> Raw:
    """``dlq/:topic/messages/:id/discard``."""
    return await asked.act("iii::queue::discard_message", _message(asked))


# Ours ----------------------------------------------------------------------------------


async def messages(asked: Asked) -> dict[str, Any]:
    """``queues/:topic/messages?state=&offset=&limit=``: a look, nothing is taken."""
    topic = asked.params["topic"]
    wanted: dict[str, Any] = {
        "topic": topic,
        "offset": asked.number("offset", 0),
        "limit": asked.number("limit", DEFAULT_PAGE),
    }
    if asked.query.get("state"):
        wanted["state"] = asked.query["state"]
    return {"topic": topic, "messages": await asked.ask("engine::queue::messages", wanted)}


async def purge(asked: Asked) -> Raw:
    """``queues/:topic/purge``; the body may name a ``state``."""
    wanted = {"topic": asked.params["topic"], "state": asked.fields.get("state")}
    return await asked.act("engine::queue::purge", wanted)


async def move(asked: Asked) -> Raw:
    """``queues/:topic/move``."""
    wanted = {
        "from": asked.params["topic"],
        "to": asked.text("to", "request body"),
        "limit": asked.fields.get("limit"),
    }
    return await asked.act("engine::queue::move", wanted)


async def pause(asked: Asked) -> Raw:
    """``queues/:topic/pause``."""
    return await asked.act("engine::queue::pause", dict(asked.params))


async def resume(asked: Asked) -> Raw:
    """``queues/:topic/resume``."""
    return await asked.act("engine::queue::resume", dict(asked.params))


async def bulk(asked: Asked) -> Raw:
    """``dlq/:topic/bulk``: ``ids`` or a ``filter``, and an ``action``."""
    wanted = {
        name: asked.fields[name] for name in ("ids", "filter") if asked.fields.get(name) is not None
    }
    if not wanted:
        raise HandlerError("Missing ids in request body")
    wanted |= {"topic": asked.params["topic"], "action": asked.text("action", "request body")}
    return await asked.act("engine::queue::dlq_bulk", wanted)


async def edit_redrive(asked: Asked) -> Raw:
    """``dlq/:topic/messages/:id/edit-redrive``: it runs again with another payload."""
    id = asked.params["id"]
    wanted = {
        "topic": asked.params["topic"],
        "action": "redrive",
        "ids": [id],
        "payload": asked.given("payload"),
    }
    done = await asked.act("engine::queue::dlq_bulk", wanted)
    if not msgspec.json.decode(done)["done"]:
        raise HandlerError(f"Dead letter '{id}' not found", 404)
    return done


ROUTES = (
    Route("GET", "queues", listed),
    Route("GET", "queues/:topic", detail),
    Route("POST", "queues/:topic/publish", publish, "publishes to a queue"),
    Route("GET", "dlq", dead),
    Route("POST", "dlq/:topic/messages", dead_messages),
    Route("POST", "dlq/:topic/redrive", redrive, "redrives all dead letters"),
    Route("POST", "dlq/:topic/messages/:id/redrive", redrive_message, "redrives a dead letter"),
    Route("DELETE", "dlq/:topic/messages/:id/discard", discard_message, "discards a dead letter"),
    Route("GET", "queues/:topic/messages", messages),
    Route("POST", "queues/:topic/purge", purge, "purges a queue"),
    Route("POST", "queues/:topic/move", move, "moves the messages of a queue"),
    Route("POST", "queues/:topic/pause", pause, "pauses a queue"),
    Route("POST", "queues/:topic/resume", resume, "resumes a queue"),
    Route("POST", "dlq/:topic/bulk", bulk, "repairs dead letters"),
    Route(
        "POST", "dlq/:topic/messages/:id/edit-redrive", edit_redrive, "redrives an edited letter"
    ),
)
