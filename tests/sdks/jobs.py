"""Queues, pub/sub and cron, as a program of each release uses them.

The program listens (``listen``: a function and a trigger of its own), publishes through
``relay`` and puts messages into named queues with its SDK's own action (``enqueue``).
A message may say how often handling it shall fail.  The raw worker looks into the queues.

Names: topics ``PREFIX-NAME``, functions ``PREFIX::on-NAME``; the named queues are those
of ``engine.CONFIG``.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

from tests.sdks import releases as r
from tests.sdks.scenario import BROKEN, noted
from tests.sdks.stage import (
    SETTLE_LIMIT_S,
    Check,
    Stage,
    eventually,
    listing,
    same,
    without_caller,
)

CHECKS: list[Check] = []
check = listing(CHECKS)

ANYTHING: tuple[Any, ...] = (
    {"text": "Grüße, 世界 😀", "deep": {"a": [1, None]}},
    [1, "é"],
    7,
    None,
)
EACH_SECOND = {"expression": "* * * * * *"}
RETRIES = {"type": "standard", "maxRetries": 3, "visibilityTimeout": 30, "delaySeconds": 0}
"""What the Python framework of the time sends with every registration."""
SOON = {"backoffDelayMs": 50}
ERROR_TEXT = re.compile(r'message:\s*"((?:[^"\\]|\\.)*)"')
"""How the consoles find the message in a dead letter's error."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
EXACT_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?\+00:00")


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


async def refused(stage: Stage, name: str, kind: str, config: Any) -> None:
    """A trigger the engine has to refuse."""
    await stage.call("listen", {"name": name, "type": kind, "config": config})


# Cron, which takes its time: started first, looked at last.


@check("cron: schedules of six fields are accepted")
async def cron_starts(stage: Stage) -> None:
    asked = f"{stage.probe}::never"
    await stage.raw.register(asked, lambda event: stage.asked.append(event) or False)
    for name in ("tick", "brief"):
        await listen(stage, name, "cron", EACH_SECOND)
    await listen(stage, "never", "cron", {**EACH_SECOND, **condition(stage, asked)})


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
    later = {**place, "data": "later", "delay_ms": 200}
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


# Pub/sub.


async def announce(stage: Stage, name: str, data: Any) -> None:
    """``publish`` by the program: it gives nothing."""
    same(await stage.relay("publish", {"topic": topic(stage, name), "data": data}), None)


@check("pub/sub: every subscriber gets exactly what was published, in every language")
async def pubsub_all(stage: Stage) -> None:
    place = {"topic": topic(stage, "news")}
    for name in ("news-1", "news-2"):
        await listen(stage, name, "subscribe", place)
    await listen(stage, "news", "subscribe", place, stage.peer_prefix)
    stage.received.clear()
    await stage.raw.bind("subscribe", f"{stage.probe}::take", place)
    for data in ANYTHING:
        await announce(stage, "news", data)
    sent = {"function_id": "publish", "data": {**place, "data": {"peer": True}}}
    assert (await stage.peer_call("relay", sent)).get("value") is None
    expected = regardless((*ANYTHING, {"peer": True}))
    for name in ("news-1", "news-2"):
        same(regardless(await heard(stage, name, len(expected))), expected)

    async def elsewhere() -> bool:
        theirs = (await stage.peer_call("heard", {}))["news"]
        same([regardless(theirs), regardless(stage.received)], [expected] * 2)
        return True

    await eventually(elsewhere, "the other subscribers have it all")


@check("pub/sub: the end of one subscriber leaves the others; nobody there is no error")
async def pubsub_end(stage: Stage) -> None:
    before = len(await heard(stage, "news-1", 0))
    await unlisten(stage, "news-1")
    await announce(stage, "news", {"last": True})
    same((await heard(stage, "news-2", before + 1))[-1], {"last": True})
    same(len(await heard(stage, "news-1", 0)), before)
    await announce(stage, "nobody", 1)
    said = await stage.relay_error("publish", {"topic": "", "data": 1})
    assert "topic_not_set" in said and "Topic is not set" in said, said
    said = await stage.relay_error("publish", {"topic": "t"})
    assert "deserialization_error" in said and "missing field `data`" in said, said


# Cron again, and what is refused.


@check("cron: fires each second, tells its four members, ends when it is unregistered")
async def cron_fires(stage: Stage) -> None:
    await heard(stage, "brief", 1)
    await unlisten(stage, "brief")
    ended = len(await heard(stage, "brief", 1))
    ticks = len(await heard(stage, "tick", 1))
    events = await heard(stage, "tick", ticks + 2)
    same(len(await heard(stage, "brief", 1)), ended)
    (row,) = await bound_to(stage, stage.id("on-tick"))
    for event in events:
        same(set(event), {"trigger", "job_id", "scheduled_time", "actual_time"})
        same((event["trigger"], event["job_id"]), ("cron", row["id"]))
        assert MOMENT.fullmatch(event["scheduled_time"]), event
        assert EXACT_MOMENT.fullmatch(event["actual_time"]), event
    planned = [event["scheduled_time"] for event in events]
    same(planned, sorted(set(planned)))


@check("cron: a condition that says false is asked, and nothing runs")
async def cron_condition(stage: Stage) -> None:
    async def asked() -> Any:
        return stage.asked

    event = without_caller((await eventually(asked, "the condition is asked"))[0])
    same(set(event), {"trigger", "job_id", "scheduled_time", "actual_time"})
    same(await heard(stage, "never", 0), [])
    await unlisten(stage, "never")


@check("a wrong schedule and a trigger without a topic do not harm it")
async def wrong_triggers(stage: Stage) -> None:
    await refused(stage, "wrong-cron", "cron", {"expression": "every minute"})
    await refused(stage, "wrong-queue", consumer(stage), {"queue_config": {}})
    same(without_caller(await stage.call("echo", {"still": "here"})), {"still": "here"})


@check("logs why these triggers were refused", needs=r.RESULTS)
async def logs_refusals(stage: Stage) -> None:
    for reason in ("Invalid cron expression 'every minute'", "Topic is not set"):
        await stage.program.says(f"rigger registration failed.*{reason}", SETTLE_LIMIT_S)


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


async def listens_again(stage: Stage) -> None:
    """Subscriptions and schedules are back, once each."""
    ticks = len(await heard(stage, "tick", 0))
    news = len(await heard(stage, "news-2", 0))
    await announce(stage, "news", {"life": 2})
    events = await heard(stage, "tick", ticks + 1)
    same((await heard(stage, "news-2", news + 1))[news:], [{"life": 2}])
    planned = [event["scheduled_time"] for event in events]
    same(planned, sorted(set(planned)))
