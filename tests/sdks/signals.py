"""Pub/sub and cron, as a program of each release uses them, and triggers that are refused."""

from __future__ import annotations

import re
from typing import Any

from tests.sdks import releases as r
from tests.sdks.listening import (
    ANYTHING,
    bound_to,
    condition,
    consumer,
    heard,
    listen,
    regardless,
    topic,
    unlisten,
)
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

EACH_SECOND = {"expression": "* * * * * *"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
EXACT_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?\+00:00")


# Cron, which takes its time: started first, looked at last.


@check("cron: schedules of six fields are accepted")
async def cron_starts(stage: Stage) -> None:
    asked = f"{stage.probe}::never"
    await stage.raw.register(asked, lambda event: stage.asked.append(event) or False)
    for name in ("tick", "brief"):
        await listen(stage, name, "cron", EACH_SECOND)
    await listen(stage, "never", "cron", {**EACH_SECOND, **condition(stage, asked)})


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


async def refused(stage: Stage, name: str, kind: str, config: Any) -> None:
    """A trigger the engine has to refuse."""
    await stage.call("listen", {"name": name, "type": kind, "config": config})


@check("a wrong schedule and a trigger without a topic do not harm it")
async def wrong_triggers(stage: Stage) -> None:
    await refused(stage, "wrong-cron", "cron", {"expression": "every minute"})
    await refused(stage, "wrong-queue", consumer(stage), {"queue_config": {}})
    same(without_caller(await stage.call("echo", {"still": "here"})), {"still": "here"})


@check("logs why these triggers were refused", needs=r.RESULTS)
async def logs_refusals(stage: Stage) -> None:
    for reason in ("Invalid cron expression 'every minute'", "Topic is not set"):
        await stage.program.says(f"rigger registration failed.*{reason}", SETTLE_LIMIT_S)


# The engine's second life (``endings.py``).


async def listens_again(stage: Stage) -> None:
    """Subscriptions and schedules are back, once each."""
    ticks = len(await heard(stage, "tick", 0))
    news = len(await heard(stage, "news-2", 0))
    await announce(stage, "news", {"life": 2})
    events = await heard(stage, "tick", ticks + 1)
    same((await heard(stage, "news-2", news + 1))[news:], [{"life": 2}])
    planned = [event["scheduled_time"] for event in events]
    same(planned, sorted(set(planned)))
