"""Messages by topic, whoever carries them: pub/sub, queues, or both."""

from __future__ import annotations

from typing import Any

from iii.errors import Code, IIIError
from iii.modules.console.asking import Asked, HandlerError
from iii.modules.console.routes import Route

PUBSUB, QUEUE = "pubsub", "queue"
#: The kind of named queues: they hold calls of functions, no topics.
NAMED = "function_queue"
#: Of an engine without the module.
ABSENT = Code.FUNCTION_NOT_FOUND


async def _rows(asked: Asked, function_id: str) -> list[dict[str, Any]]:
    """What a module lists; nothing when it is not loaded."""
    try:
        rows: list[dict[str, Any]] = await asked.read(function_id)
    except IIIError as error:
        if error.code != ABSENT:
            raise
        return []
    return rows


async def topics(asked: Asked) -> list[dict[str, Any]]:
    """What can be sent to, of both kinds."""
    heard = await _rows(asked, "engine::pubsub::topics")
    kept = await _rows(asked, "engine::queue::list_topics")
    rows = [
        {"topic": row["name"], "kind": kind, "subscribers": row["subscriber_count"]}
        for kind, known in ((PUBSUB, heard), (QUEUE, kept))
        for row in known
        if row["broker_type"] != NAMED
    ]
    return sorted(rows, key=lambda row: (row["topic"], row["kind"]))


async def events(asked: Asked) -> dict[str, Any]:
    """``events``."""
    rows = await topics(asked)
    return {"topics": rows, "count": len(rows)}


async def emit(asked: Asked) -> dict[str, Any]:
    """``emit``: to whom subscribed; ``kind`` chooses one of both."""
    topic = asked.text("topic", "request body")
    data = asked.fields.get("data")
    kind = asked.fields.get("kind")
    if kind not in (None, PUBSUB, QUEUE):
        raise HandlerError(f"kind is '{PUBSUB}' or '{QUEUE}'", 400)
    known = [row for row in await topics(asked) if row["topic"] == topic]
    kinds = [kind] if kind else sorted({row["kind"] for row in known if row["subscribers"]})
    for each in kinds or [PUBSUB]:
        function_id = "publish" if each == PUBSUB else "enqueue"
        await asked.act(function_id, {"topic": topic, "data": data})
    return {
        "message": "Event emitted",
        "topic": topic,
        "kinds": kinds or [PUBSUB],
        "subscribers": sum(row["subscribers"] for row in known),
    }


async def pubsub(asked: Asked) -> dict[str, Any]:
    """``pubsub``: topics with their subscribers and rates."""
    rows = await asked.read("engine::pubsub::topics")
    return {"topics": rows, "count": len(rows)}


async def publish(asked: Asked) -> dict[str, str]:
    """``pubsub/:topic/publish``."""
    topic = asked.params["topic"]
    await asked.act("publish", {"topic": topic, "data": asked.given("data")})
    return {"message": "Message published", "topic": topic}


ROUTES = (
    Route("GET", "events", events),
    Route("POST", "emit", emit, "emits an event"),
    Route("GET", "pubsub", pubsub),
    Route("POST", "pubsub/:topic/publish", publish, "publishes a message"),
)
