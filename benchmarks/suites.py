"""What is measured, and the table of all suites.  One class per suite; the targets stand
next to the measures.  Those of stores, queues and cron have files of their own.
"""

from __future__ import annotations

from time import sleep

from benchmarks.bridge import Bridge
from benchmarks.broker_queues import RabbitQueue, RedisQueue
from benchmarks.console import Console
from benchmarks.cron import Cron
from benchmarks.observability import Observability
from benchmarks.processes import ENGINE
from benchmarks.queues import Backlog, Queue
from benchmarks.redis_state import RedisState
from benchmarks.stats import Figure, Rounds, Target
from benchmarks.stores import Fanout, LargeStore, State, Stream
from benchmarks.suite import (
    WARM_UP_S,
    Measure,
    Plan,
    Side,
    Situation,
    Suite,
    cpu_shares,
    ratio_at_least,
    ratio_at_most,
)

SETTLE_S = 1.0
MANY_ROUTES = 1_000
IDLE_SHARE = 0.005
BYTES_PER_CONNECTION = 20_000


class HttpSingleRoute(Suite):
    """One client, one route: how long a request takes."""

    name = "http_single_route"
    measures = (
        Measure(
            "GET, 1 connection: p50",
            "ms",
            ratio_at_most(0.6),
            lambda side, seconds: side.http(1, seconds)["p50_ms"],
        ),
    )

    def prepare(self, side: Side) -> None:
        side.serve()


class HttpManyRoutes(Suite):
    """1,000 routes with two parameters each, against one of the same shape.

    Requested one after the other, they also cost what it takes to have 1,000 routes and
    functions in the processor's caches; requested alone, one shows the look-up.
    """

    name = "http_many_routes"
    measures = (
        Measure(
            "GET with parameters, 32 connections, every route in turn",
            "requests/s",
            ratio_at_least(0.95),
            lambda side, seconds: side.http_routes(seconds, side.situation.routes),
        ),
        Measure(
            "GET with parameters, 32 connections, the same route",
            "requests/s",
            ratio_at_least(0.95),
            lambda side, seconds: side.http_routes(seconds, 1),
        ),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation(f"{MANY_ROUTES:,} routes", ENGINE, routes=MANY_ROUTES),
            Situation("1 route", ENGINE, routes=1),
        )

    def prepare(self, side: Side) -> None:
        side.serve()


class HttpConcurrency(Suite):
    """32 clients at once: how many requests there can be."""

    name = "http_concurrency"
    measures = (
        Measure(
            "GET, 32 connections",
            "requests/s",
            ratio_at_least(3.0),
            lambda side, seconds: side.http(32, seconds)["requests_per_s"],
        ),
        Measure(
            "POST 1 KiB JSON, browser headers, 32 connections",
            "requests/s",
            ratio_at_least(2.5),
            lambda side, seconds: side.http(32, seconds, "POST")["requests_per_s"],
        ),
    )

    def prepare(self, side: Side) -> None:
        side.serve()


class Rpc(Suite):
    """A worker calls a function of another, which sends the payload back."""

    name = "rpc"
    measures = (
        Measure(
            "call, 64 in flight, 16 B",
            "calls/s",
            ratio_at_least(3.2),
            lambda side, seconds: side.calls(64, seconds)["calls_per_s"],
        ),
        Measure(
            "call, 64 in flight, 16 KiB",
            "calls/s",
            ratio_at_least(3.5),
            lambda side, seconds: side.calls(64, seconds, 16384)["calls_per_s"],
        ),
        Measure(
            "call, 1 in flight, 16 B: p50",
            "ms",
            ratio_at_most(0.65),
            lambda side, seconds: side.calls(1, seconds)["p50_ms"],
        ),
    )


class Connections(Suite):
    """10,000 connected workers: their memory, and what they cost the two that talk."""

    name = "connections"
    connections = 10_000
    measures = (
        Measure(
            "call, 64 in flight, 16 B",
            "calls/s",
            ratio_at_least(0.9),
            lambda side, seconds: side.calls(64, seconds)["calls_per_s"],
        ),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        count = max(10, round(self.connections * plan.scale))
        return (
            Situation(f"{count:,} workers", ENGINE, idle_connections=count),
            Situation("2 workers", ENGINE),
        )

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        resident = Target(BYTES_PER_CONNECTION / 1000, "at most", "value")
        memory = Figure("resident memory per connected worker", "kB", resident)
        registered = Figure("the same, each with one function", "kB")
        crowded = [side for side in sides if side.situation.idle_connections]
        for side, figure_side in zip(crowded, ("subject", "reference"), strict=False):
            count = side.situation.idle_connections
            side.calls(64, WARM_UP_S)  # the buffers a busy engine has anyway
            before = side.server.resident_bytes()
            idle = side.worker("idle", "--connections", str(count))
            for figure in (memory, registered):
                if figure is registered:
                    idle.ask({"functions": 1})
                sleep(SETTLE_S)
                each = (side.server.resident_bytes() - before) / count / 1000
                rounds = Rounds()
                rounds.add(each, 0.0)
                setattr(figure, figure_side, rounds)
        return [memory, registered]


class Idle(Suite):
    """100 workers with one function each, and nothing happens."""

    name = "idle"
    workers = 100
    window_s = 20

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (Situation("engine", ENGINE, idle_connections=self.workers),)

    def prepare(self, side: Side) -> None:
        idle = side.worker("idle", "--connections", str(side.situation.idle_connections))
        idle.ask({"functions": 1})

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """All sides at the same time: nothing happens in any of them."""
        sleep(SETTLE_S)
        columns = [Rounds() for _ in sides]
        shares = cpu_shares(sides, max(2.0, self.window_s * plan.scale))
        for column, share in zip(columns, shares, strict=True):
            column.add(share * 100, share)
        target = Target(IDLE_SHARE * 100, "at most", "value")
        return [Figure(f"idle with {self.workers} workers", "% of a core", target, *columns)]


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        HttpSingleRoute(),
        HttpManyRoutes(),
        HttpConcurrency(),
        Rpc(),
        Connections(),
        Idle(),
        State(),
        Stream(),
        Fanout(),
        LargeStore(),
        Queue(),
        Backlog(),
        Cron(),
        Observability(),
        RedisState(),
        RedisQueue(),
        RabbitQueue(),
        Bridge(),
        Console(),
    )
}
