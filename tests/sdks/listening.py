"""Having a program publish and listen, and looking at what it heard.

A program's ``listen`` makes a function and a trigger of its own for each name; ``heard``
has all that came.  Topics are ``PREFIX-NAME``, functions ``PREFIX::on-NAME``.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.sdks import releases as r
from tests.sdks.stage import SETTLE_LIMIT_S, Stage, eventually, same

ANYTHING: tuple[Any, ...] = (
    {"text": "Grüße, 世界 😀", "deep": {"a": [1, None]}},
    [1, "é"],
    7,
    None,
)
"""Messages of every kind."""


def publisher(stage: Stage) -> str:
    """The function that publishes to a topic in this release's time."""
    return "iii::durable::publish" if r.DURABLE in stage.release.can else "enqueue"


def consumer(stage: Stage) -> str:
    """Its trigger type for a topic's messages."""
    return "durable:subscriber" if r.DURABLE in stage.release.can else "queue"


def condition(stage: Stage, function_id: str) -> dict[str, str]:
    """Its member for a condition."""
    early = r.CONDITION_PATH in stage.release.can
    return {"_condition_path" if early else "condition_function_id": function_id}


def topic(stage: Stage, name: str) -> str:
    return f"{stage.prefix}-{name}"


async def bound_to(stage: Stage, function_id: str) -> list[dict[str, Any]]:
    """The triggers of a function."""
    rows = (await stage.raw.call("engine::triggers::list", {}))["triggers"]
    return [row for row in rows if row["function_id"] == function_id]


async def listen(stage: Stage, name: str, kind: str, config: Any, prefix: str = "") -> None:
    """Have the program (or the one of ``prefix``) listen, and wait until it is known to."""
    prefix = prefix or stage.prefix
    said = {"name": name, "type": kind, "config": config}
    await stage.raw.call(f"{prefix}::listen", said)

    async def known() -> Any:
        return await bound_to(stage, f"{prefix}::on-{name}")

    await eventually(known, f"{prefix} listens to {name}")


async def unlisten(stage: Stage, name: str) -> None:
    await stage.call("unlisten", {"name": name})

    async def gone() -> bool:
        return await bound_to(stage, stage.id(f"on-{name}")) == []

    await eventually(gone, f"the program does not listen to {name} any more")


async def consume(stage: Stage, name: str, of: str | None = None, **more: Any) -> None:
    """Have the program listen to a topic's messages."""
    await listen(stage, name, consumer(stage), {"topic": topic(stage, of or name), **more})


async def publish(stage: Stage, name: str, data: Any) -> None:
    """To a topic, by the program, with the function of its time: it gives nothing."""
    sent = {"topic": topic(stage, name), "data": data}
    same(await stage.relay(publisher(stage), sent), None)


async def enqueue(stage: Stage, queue: str, function_id: str, data: Any) -> str:
    """Into a named queue, by the program; the receipt."""
    sent = {"queue": queue, "function_id": function_id, "data": data}
    answer = await stage.call("enqueue", sent)
    assert list(answer.get("value") or ()) == ["messageReceiptId"], answer
    receipt: str = answer["value"]["messageReceiptId"]
    same(uuid.UUID(receipt).version, 4)
    return receipt


async def heard(stage: Stage, name: str, count: int, limit_s: float = SETTLE_LIMIT_S) -> list[Any]:
    """What the program has heard, once it is at least ``count`` messages."""

    async def enough() -> Any:
        found = (await stage.call("heard"))[name]
        assert len(found) >= count, f"heard {found}"
        return [found]

    (found,) = await eventually(enough, f"{count} messages at on-{name}", limit_s)
    return list(found)


async def settled(stage: Stage, queue: str, dead: int = 0) -> None:
    """Wait until nothing of a topic or queue is left to be done; so many died."""

    async def done() -> bool:
        stats = await stage.raw.call("engine::queue::topic_stats", {"topic": queue})
        same((stats["depth"], stats["dlq_depth"]), (0, dead))
        return True

    await eventually(done, f"{queue} is empty")


def regardless(messages: Any) -> list[str]:
    """Messages in an order that doesn't depend on who was faster."""
    return sorted(json.dumps(each, sort_keys=True) for each in messages)
