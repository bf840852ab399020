"""Topics, named queues and dead letters, as a program of each release uses them.

It publishes through ``relay`` and puts messages into the named queues of ``engine.CONFIG``
with its SDK's own action (``enqueue``).  A message may say how often handling it shall
fail.  The raw worker looks into the queues.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from tests.sdks import releases as r
from tests.sdks.listening import (
    ANYTHING,
    condition,
    consume,
    consumer,
    enqueue,
    heard,
    publish,
    publisher,
    regardless,
    settled,
    topic,
    unlisten,
)
from tests.sdks.scenario import BROKEN, noted
from tests.sdks.stage import Check, Stage, eventually, listing, same

CHECKS: list[Check] = []
check = listing(CHECKS)

RETRIES = {"type": "standard", "maxRetries": 3, "visibilityTimeout": 30, "delaySeconds": 0}
"""What the Python framework of the time sends with every registration."""
SOON = {"backoffDelayMs": 50}
ERROR_TEXT = re.compile(r'message:\s*"((?:[^"\\]|\\.)*)"')
"""How the consoles find the message in a dead letter's error."""


# Topics.


@check("queue: what is published arrives as it was sent, from another language too")
async def topic_data(stage: Stage) -> None:
    await consume(stage, "plain")
    for data in ANYTHING:
        await publish(stage, "plain", data)
    place = topic(stage, "plain")
    for function_id in ("enqueue", "iii::durable::publish"):
        sent = {"topic": place, "data": {"peer": function_id}}
        data = {"function_id": function_id, "data": sent}
        assert (await stage.peer_call("relay", data)).get("value") is None
    by_raw = await stage.raw.ask(publisher(stage), {"topic": place, "data": "raw"})
    same(("result" in by_raw.frame, "error" in by_raw.frame), (False, False))
    theirs = ({"peer": "enqueue"}, {"peer": "iii::durable::publish"}, "raw")
    found = await heard(stage, "plain", len(ANYTHING) + len(theirs))
    await settled(stage, place)
    same(regardless(found), regardless(ANYTHING + theirs))


@check("queue: a wrong call says what is wrong")
async def topic_errors(stage: Stage) -> None:
    said = await stage.relay_error(publisher(stage), {"topic": "", "data": 1})
    assert "topic_not_set" in said and "Topic is not set" in said, said
    said = await stage.relay_error(publisher(stage), {"topic": topic(stage, "plain")})
    assert "deserialization_error" in said and "missing field `data`" in said, said


@check("queue: a message that fails comes back until it is done")
async def topic_retries(stage: Stage) -> None:
    await consume(stage, "again", queue_config={**RETRIES, **SOON})
    await publish(stage, "again", {"n": 1, "failures": 2})
    await heard(stage, "again", 3)
    await settled(stage, topic(stage, "again"))
    same(await heard(stage, "again", 3), [{"n": 1, "failures": 2}] * 3)


@check("queue: FIFO keeps the order, past a failure too")
async def topic_fifo(stage: Stage) -> None:
    await consume(stage, "fifo", queue_config={"type": "fifo", **SOON})
    first, *others = ({"n": n, "failures": 0 if n else 1} for n in range(10))
    for data in (first, *others):
        await publish(stage, "fifo", data)
    same(await heard(stage, "fifo", 11), [first, first, *others])


@check("queue: a condition of the program decides, and only false drops the message")
async def topic_condition(stage: Stage) -> None:
    await consume(stage, "wanted", **condition(stage, stage.id("wanted")))
    kept = [{"wanted": value} for value in (None, 0, "no", True)]
    for data in ({"wanted": False}, *kept):
        await publish(stage, "wanted", data)
    await heard(stage, "wanted", len(kept))
    await settled(stage, topic(stage, "wanted"))
    same(regardless(await heard(stage, "wanted", len(kept))), regardless(kept))


@check("queue: two functions of a topic share its messages", needs=r.COMPETING)
async def topic_shared(stage: Stage) -> None:
    for name in ("share-1", "share-2"):
        await consume(stage, name, "share")
    for n in range(6):
        await publish(stage, "share", n)
    await settled(stage, topic(stage, "share"))
    one, other = [await heard(stage, name, 0) for name in ("share-1", "share-2")]
    same(sorted(one + other), list(range(6)))


@check("queue: each function of a topic gets its copy", needs=r.DURABLE)
async def topic_copied(stage: Stage) -> None:
    for name in ("copy-1", "copy-2"):
        await consume(stage, name, "copy")
    for n in range(6):
        await publish(stage, "copy", n)
    await settled(stage, topic(stage, "copy"))
    for name in ("copy-1", "copy-2"):
        same(sorted(await heard(stage, name, 6)), list(range(6)))


@check("queue: a subscriber of the other generation gets a copy of its own")
async def topic_generations(stage: Stage) -> None:
    await consume(stage, "both")
    (kind,) = {"queue", "durable:subscriber"} - {consumer(stage)}
    stage.received.clear()
    await stage.raw.bind(kind, f"{stage.probe}::take", {"topic": topic(stage, "both")})
    await publish(stage, "both", {"n": 1})
    await heard(stage, "both", 1)
    await settled(stage, topic(stage, "both"))
    same((await heard(stage, "both", 1), stage.received), ([{"n": 1}], [{"n": 1}]))


@check("queue: once unregistered it gets nothing more, and the message waits for the next")
async def topic_left(stage: Stage) -> None:
    await consume(stage, "left")
    await publish(stage, "left", 1)
    await heard(stage, "left", 1)
    await unlisten(stage, "left")
    await publish(stage, "left", 2)
    stage.received.clear()
    place = {"topic": topic(stage, "left")}
    await stage.raw.bind(consumer(stage), f"{stage.probe}::take", place)

    async def taken() -> bool:
        return stage.received == [2]

    await eventually(taken, "the next subscriber has the message")
    same(await heard(stage, "left", 1), [1])


@check("queue: a key makes the second message a duplicate, a delay makes one wait")
async def topic_options(stage: Stage) -> None:
    await consume(stage, "options")
    place = {"topic": topic(stage, "options")}
    once = {**place, "data": "once", "idempotency_key": "k"}
    first, second = [await stage.relay(publisher(stage), once) for _ in range(2)]
    same((first["duplicate"], second["duplicate"]), (False, True))
    same(second["messageReceiptId"], first["messageReceiptId"])
    later = {**place, "data": "later", "delay_ms": 500}
    assert "messageReceiptId" in await stage.relay(publisher(stage), later)
    await publish(stage, "options", "now")
    found = await heard(stage, "options", 3)
    same((sorted(found[:2]), found[2:]), (["now", "once"], ["later"]))


# Named queues.


@check("named queue: a message of another language reaches its function")
async def named_in(stage: Stage) -> None:
    data = {"n": f"queued for {stage.prefix}"}
    sent = {"queue": "orders", "function_id": stage.id("note"), "data": data}
    answer = await stage.peer_call("enqueue", sent)
    assert "messageReceiptId" in answer.get("value", ()), answer
    await noted(stage, stage.prefix, data["n"])


@check("named queue: a receipt, and exactly the data at its own function", needs=r.NAMED)
async def named_own(stage: Stage) -> None:
    data = {"to": "a@example.org", "deep": [{"é": None}]}
    for queue in ("orders", "default"):
        await enqueue(stage, queue, stage.id("on-plain"), {**data, "queue": queue})
    found = await heard(stage, "plain", len(ANYTHING) + 5)
    expected = [{**data, "queue": queue} for queue in ("orders", "default")]
    same(regardless(found[-2:]), regardless(expected))


@check("named queue: its message reaches another language", needs=r.NAMED)
async def named_out(stage: Stage) -> None:
    n = f"queued by {stage.prefix}"
    await enqueue(stage, "orders", stage.peer_id("note"), {"n": n})
    await noted(stage, stage.peer_prefix, n)


@check("named queue: a message waits for a function that is not there yet", needs=r.NAMED)
async def named_waits(stage: Stage) -> None:
    function_id = f"{stage.probe}::late"
    came: list[Any] = []
    await enqueue(stage, "orders", function_id, {"n": 1})
    await stage.raw.register(function_id, came.append)

    async def delivered() -> bool:
        return came == [{"n": 1}]

    await eventually(delivered, "the message is delivered")
    await settled(stage, "orders")


@check("named queue: an unknown one and a missing group are enqueue_error", needs=r.NAMED)
async def named_errors(stage: Stage) -> None:
    rows = (
        ("no-such-queue", {"n": 1}, ("not found", "no-such-queue")),
        ("ledger", {"n": 1}, ("account", "not found")),
        ("ledger", {"account": None}, ("account", "null")),
    )
    for queue, data, words in rows:
        sent = {"queue": queue, "function_id": stage.id("on-plain"), "data": data}
        said = (await stage.call("enqueue", sent))["error"]
        assert all(word in said for word in ("enqueue_error", *words)), said


@check("named queue: FIFO keeps the order of a group, past a failure too", needs=r.NAMED)
async def named_fifo(stage: Stage) -> None:
    seen = len(await heard(stage, "fifo", 0))
    sent = [
        {"account": account, "n": n, "failures": 1 if (account, n) == ("a", 0) else 0}
        for n in range(4)
        for account in ("a", "b")
    ]
    for data in sent:
        await enqueue(stage, "ledger", stage.id("on-fifo"), data)
    found = (await heard(stage, "fifo", seen + len(sent) + 1))[seen:]
    orders = {name: [each["n"] for each in found if each["account"] == name] for name in "ab"}
    same(orders, {"a": [0, 0, 1, 2, 3], "b": [0, 1, 2, 3]})


# Dead letters.


async def dead_letters(stage: Stage, name: str) -> list[dict[str, Any]]:
    """The dead letters of a topic or queue, as the program sees them."""
    rows: list[dict[str, Any]] = await stage.relay(
        "engine::queue::dlq_messages", {"topic": name, "offset": 0, "limit": 10}
    )
    return rows


@check("dead letters: a message that failed too often says why, and can be redriven", needs=r.DEAD)
async def dead_letter(stage: Stage) -> None:
    data = {"n": "dead", "failures": 2}
    receipt = await enqueue(stage, "orders", stage.id("on-again"), data)
    await settled(stage, "orders", dead=1)
    (row,) = await dead_letters(stage, "orders")
    same((row["id"], row["payload"], row["retries"]), (receipt, data, 2))
    assert abs(row["failed_at"] - time.time()) < 60, row
    found = ERROR_TEXT.search(row["error"])
    assert found is not None and BROKEN in found[1], row["error"]
    topics = await stage.relay("engine::queue::dlq_topics", {})
    assert ("orders", 1) in [(each["topic"], each["message_count"]) for each in topics], topics
    for redriven in (1, 0):
        answer = await stage.relay("iii::queue::redrive", {"queue": "orders"})
        same((answer["queue"], answer["redriven"]), ("orders", redriven))
        await settled(stage, "orders")
    same((await heard(stage, "again", 3)).count(data), 3)


@check("dead letters: one is redriven, another discarded, a third is not there", needs=r.DEAD)
async def dead_one_by_one(stage: Stage) -> None:
    function_id = stage.id("on-again")
    ids = [
        await enqueue(stage, "orders", function_id, {"n": n, "failures": 2})
        for n in ("one", "other")
    ]
    await settled(stage, "orders", dead=2)
    same({row["id"] for row in await dead_letters(stage, "orders")}, set(ids))
    for name, message_id, done in (
        ("redrive_message", ids[0], 1),
        ("discard_message", ids[1], 1),
        ("discard_message", str(uuid.uuid4()), 0),
    ):
        sent = {"queue": "orders", "message_id": message_id}
        answer = await stage.relay(f"iii::queue::{name}", sent)
        same((answer["message_id"], answer["redriven"]), (message_id, done))
    await settled(stage, "orders")
    calls = await heard(stage, "again", 0)
    same([calls.count({"n": n, "failures": 2}) for n in ("one", "other")], [3, 2])


@check("dead letters: those of a topic, and its numbers", needs=r.DEAD)
async def dead_topic(stage: Stage) -> None:
    await consume(stage, "doomed", queue_config={"maxRetries": 0})
    place = topic(stage, "doomed")
    await publish(stage, "doomed", {"failures": 1})
    await settled(stage, place, dead=1)
    (row,) = await dead_letters(stage, place)
    same(row["payload"], {"failures": 1})
    listed = await stage.relay("engine::queue::list_topics", {})
    mine = [each for each in listed if each["name"] == place]
    same([(each["broker_type"], each["subscriber_count"]) for each in mine], [("builtin", 1)])
    stats = await stage.relay("engine::queue::topic_stats", {"topic": place})
    same((stats["depth"], stats["consumer_count"], stats["dlq_depth"]), (0, 1, 1))
    same((await stage.relay("iii::queue::redrive", {"queue": place}))["redriven"], 1)
    await settled(stage, place)
    same(await heard(stage, "doomed", 2), [{"failures": 1}] * 2)


# What is waiting when the engine stops (``endings.py``).


async def leave_work(stage: Stage) -> None:
    """Messages nobody can take: the program is away, or nobody has subscribed yet."""
    place = topic(stage, "kept")
    function_id = stage.id("on-kept")
    for data, more in (({"to": "topic"}, {}), ({"to": "topic later"}, {"delay_ms": 1000})):
        await stage.raw.call(publisher(stage), {"topic": place, "data": data, **more})
    sent = {"queue": "orders", "function_id": function_id, "data": {"to": "named queue"}}
    assert "value" in await stage.peer_call("enqueue", sent)
    unclaimed = {"topic": topic(stage, "unclaimed"), "data": {"to": "whoever comes"}}
    await stage.raw.call(publisher(stage), unclaimed)


async def work_is_done(stage: Stage) -> None:
    """All of it arrives in the engine's next life, once."""
    expected = [{"to": "named queue"}, {"to": "topic"}, {"to": "topic later"}]
    await heard(stage, "kept", len(expected))
    await consume(stage, "unclaimed")
    same(await heard(stage, "unclaimed", 1), [{"to": "whoever comes"}])
    for queue in ("orders", topic(stage, "kept"), topic(stage, "unclaimed")):
        await settled(stage, queue)
    same(regardless(await heard(stage, "kept", 3)), regardless(expected))
