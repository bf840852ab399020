"""How things end: unregistering, a cut line, a restart of the engine, the shutdown.

The last part of the scenario.  The checks after ``restarts`` see the second life of the
engine, in which everything a program had registered or stored must be back.
"""

from __future__ import annotations

from tests.sdks import listening, observed, queued, signals
from tests.sdks import releases as r
from tests.sdks.scenario import expected_routes
from tests.sdks.stage import (
    RECONNECT_LIMIT_S,
    SETTLE_LIMIT_S,
    Check,
    Stage,
    eventually,
    listing,
    same,
    without_caller,
)
from tests.sdks.stored import BASIC, in_own, in_scope, on_board, put, witnessed

CHECKS: list[Check] = []
check = listing(CHECKS)

PROMPT_S = 1.5


# Taking things away again.


@check("an unregistered trigger is gone, its function stays")
async def drops_trigger(stage: Stage) -> None:
    same((await stage.http("GET", "temporary")).json, {"here": True})
    await stage.call("drop", {"what": "trigger"})

    async def gone() -> bool:
        return (await stage.http("GET", "temporary")).status == 404

    await eventually(gone, "the route answers 404")
    same(await stage.call("temporary"), {"here": True})


@check("an unregistered function is gone", needs=r.REMOVAL)
async def drops_function(stage: Stage) -> None:
    await stage.call("drop", {"what": "function"})

    async def gone() -> bool:
        return (await stage.raw.ask(stage.id("temporary"), {})).code == "function_not_found"

    await eventually(gone, "the function is not found")


@check("its telemetry connection is not listed as a worker")
async def no_ghosts(stage: Stage) -> None:
    async def exact() -> bool:
        names = [row["name"] for row in await stage.rows()]
        # The third is the raw worker, which has no name.
        assert len(names) == 3, f"listed: {names}"
        return True

    await eventually(exact, "three workers are listed", 12.0)


# The line is cut, then the engine goes and comes back.


@check("a cut connection: it is back while the engine still believes in the old one")
async def cut(stage: Stage) -> None:
    assert stage.proxy.cut() >= 1

    async def answers_at_once() -> bool:
        # Five in a row: none of them may go to the connection that is dead.
        for n in range(5):
            answer = await stage.raw.ask(stage.id("echo"), {"n": n}, PROMPT_S)
            if answer.code is not None or without_caller(answer.result) != {"n": n}:
                return False
        return True

    await eventually(answers_at_once, "the program answers again", RECONNECT_LIMIT_S)


@check("the end of the old connection takes nothing away")
async def old_line_ends(stage: Stage) -> None:
    stage.proxy.release()

    async def alone() -> bool:
        return [row["name"] for row in await stage.rows()].count(stage.prefix) == 1

    await eventually(alone, "one worker of that name is left")
    same(await stage.call("add", {"a": 1, "b": 2}), {"sum": 3})
    same(await stage.routes(), expected_routes(stage.release))
    reply = await stage.http("POST", "add", json_body={"a": 5, "b": 3})
    same((reply.status, reply.json), (200, {"sum": 8}))


@check("what comes for it while it is away is accepted")
async def away(stage: Stage) -> None:
    await listening.consume(stage, "kept")
    stage.proxy.pause()
    stage.proxy.cut()
    stage.proxy.release()

    async def left() -> bool:
        return (await stage.raw.ask(stage.id("echo"), {})).code == "function_not_found"

    await eventually(left, "the program is away")
    await queued.leave_work(stage)


@check("the engine stops with code 0 and starts again on the same ports")
async def restarts(stage: Stage) -> None:
    same(await stage.engine.stop(), 0)
    await stage.engine.start()
    await stage.proxy.resume()
    await stage.connect_raw()


@check("reconnects by itself")
async def reconnects(stage: Stage) -> None:
    async def back() -> bool:
        answer = await stage.raw.ask(stage.id("echo"), {"n": 2})
        return answer.code is None and without_caller(answer.result) == {"n": 2}

    await eventually(back, "the program answers again", RECONNECT_LIMIT_S)


@check("its routes are back")
async def routes_back(stage: Stage) -> None:
    async def live() -> bool:
        reply = await stage.http("POST", "add", json_body={"a": 5, "b": 3})
        return (reply.status, reply.json) == (200, {"sum": 8})

    await eventually(live, "POST add answers 200")


@check("calls another language again, and is called")
async def calls_again(stage: Stage) -> None:
    async def both() -> bool:
        out = {"function_id": stage.peer_id("add"), "data": {"a": 1, "b": 2}}
        back = {"function_id": stage.id("add"), "data": {"a": 1, "b": 2}}
        sums = [await stage.call("relay", out), await stage.peer_call("relay", back)]
        return sums == [{"value": {"sum": 3}}] * 2

    await eventually(both, "calls in both directions", RECONNECT_LIMIT_S)


@check("nothing is registered twice, nothing unregistered came back")
async def replayed_once(stage: Stage) -> None:
    same(await stage.routes(), expected_routes(stage.release))
    same((await stage.http("GET", "temporary")).status, 404)
    if r.REMOVAL in stage.release.can:
        same((await stage.raw.ask(stage.id("temporary"), {})).code, "function_not_found")
    names = [row["name"] for row in await stage.rows()]
    same(names.count(stage.prefix), 1)


@check("its trigger type is back")
async def type_back(stage: Stage) -> None:
    kind = f"{stage.prefix}-events"
    bound = await stage.raw.bind(kind, f"{stage.probe}::take", {"life": 2})

    async def told() -> bool:
        return bound in (await stage.call("bound"))["bound"]

    await eventually(told, "a new trigger reached the program")


@check("what it stored outlived the engine")
async def stored_is_back(stage: Stage) -> None:
    same(await stage.relay("state::get", in_scope(stage, "counted")), BASIC)
    place = on_board(stage, "counted", "values")
    same(await stage.relay("stream::get", place), BASIC)


@check("its state and stream triggers are back, once each")
async def triggers_back(stage: Stage) -> None:
    await put(stage, "second-life", 1)
    await stage.relay("stream::set", {**on_board(stage, "second-life"), "data": {"n": 1}})
    await witnessed(stage, "state", lambda each: each["key"] == "second-life", 1)
    await witnessed(stage, "stream", lambda each: each["id"] == "second-life", 1)


@check("what was queued while it was away arrives after the restart, once")
async def queued_is_back(stage: Stage) -> None:
    await queued.work_is_done(stage)


@check("its subscriptions and schedules are back, once each")
async def listens_again(stage: Stage) -> None:
    await signals.listens_again(stage)


@check("its telemetry is back", needs=r.OTEL)
async def tells_again(stage: Stage) -> None:
    await observed.tells_again(stage)


@check("its own stream is back", needs=r.OWN_STREAM)
async def own_stream_back(stage: Stage) -> None:
    same(await stage.relay("stream::get", in_own(stage, "1")), {"id": "1", "n": 7})


@check("its shutdown takes everything with it and the program ends")
async def shuts_down(stage: Stage) -> None:
    await stage.raw.send("invokefunction", function_id=stage.id("stop"), data={})
    same(await stage.program.ends(SETTLE_LIMIT_S), 0)
    assert "program done" in stage.program.output, "it ended before its shutdown was over"

    async def gone() -> bool:
        unknown = (await stage.raw.ask(stage.id("echo"), {})).code == "function_not_found"
        return unknown and stage.prefix not in [row["name"] for row in await stage.rows()]

    await eventually(gone, "worker and functions are gone")
    same(await stage.routes(), [])
