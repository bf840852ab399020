"""What is measured.  One class per suite; the targets stand next to the measures.

A suite compares two *sides*, usually engine and baseline, sometimes the engine in
two situations (1,000 routes and one).  A side keeps its processes for the whole
suite, idle while the other side is measured, so the rounds can alternate:
A B A B.  With ``--against`` the sides are this source tree and another revision,
both in the suite's main situation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, ClassVar, Self
from urllib.request import urlopen

from benchmarks.processes import BASELINE, ENGINE, BenchmarkError, Program, Server, Worker, wrk
from benchmarks.stats import Figure, Rounds, Target

WARM_UP_S = 1
SETTLE_S = 1.0
MANY_ROUTES = 1_000
ROUTE_PATH = "bench/{}/items/:item/parts/:part"
IDLE_SHARE = 0.005
BYTES_PER_CONNECTION = 20_000


@dataclass(frozen=True)
class Plan:
    """How long, and against what."""

    rounds: int
    seconds: int
    #: 1, or smaller for a smoke run: of the connections held open, and of the idle time
    scale: float = 1.0
    against: Program | None = None
    #: for the server processes, e.g. ``-m cProfile``
    python_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """A program and what surrounds it."""

    name: str
    program: Program
    routes: int = 0
    idle_connections: int = 0


class Side:
    """A situation, running."""

    def __init__(self, situation: Situation, plan: Plan) -> None:
        self.situation = situation
        self.name = situation.name
        self._server = Server(situation.program, plan.python_options)
        self._stack = ExitStack()
        self._caller: Worker | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(self._server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def worker(self, role: str, *options: str) -> Worker:
        """Start a worker that lives as long as the side."""
        return self._stack.enter_context(Worker(role, self.server, *options))

    def serve(self) -> None:
        """A worker with the functions and HTTP routes of the situation."""
        routes = self.situation.routes
        path = ["--functions", str(routes), "--path", ROUTE_PATH] if routes else []
        self.worker("serve", "--method=GET", "--method=POST", *path)
        first = "/bench/0/items/1/parts/2" if routes else "/bench/0"
        with urlopen(self.server.http_url + first, timeout=10) as response:
            if json.load(response) != {"ok": True}:
                raise BenchmarkError(f"{self.name} does not answer with the function's result")

    def http(self, connections: int, seconds: int, method: str = "GET") -> dict[str, float]:
        return wrk(self.server, connections, seconds, method)

    def http_routes(self, seconds: int, routes: int) -> float:
        """Requests/s of GETs with parameters that take the first ``routes`` routes in turn."""
        return wrk(self.server, 32, seconds, routes=routes)["requests_per_s"]

    def calls(self, in_flight: int, seconds: float, payload: int = 16) -> dict[str, Any]:
        """Worker to worker calls; caller and callee are started with the first."""
        if self._caller is None:
            self._caller = self.worker("call")
        return self._caller.ask(
            {"in_flight": in_flight, "payload": payload, "seconds": seconds}, seconds + 60
        )


@dataclass(frozen=True)
class Measure:
    """One figure of a suite: how to take it, and what it must reach."""

    name: str
    unit: str
    target: Target
    take: Callable[[Side, int], float]


class Suite:
    """Starts the sides, measures them alternately, returns figures."""

    name: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]] = ()

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        """The main situation, then the one it is compared with, if any."""
        return Situation("engine", ENGINE), Situation("baseline", BASELINE)

    def prepare(self, side: Side) -> None:
        """Start the workers of a side."""

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """Figures that are not taken in rounds; before the rounds."""
        return []

    def run(self, plan: Plan, note: Callable[[str], None]) -> tuple[list[str], list[Figure]]:
        """The names of the sides, and the figures."""
        situations = self.situations(plan)
        if plan.against:
            main = situations[0]
            other = Situation(plan.against.name, plan.against, main.routes, main.idle_connections)
            situations = (main, other)
        with ExitStack() as stack:
            sides = [stack.enter_context(Side(s, plan)) for s in situations]
            for side in sides:
                self.prepare(side)
            figures = self.once(sides, plan)
            for measure in self.measures:
                note(f"{self.name}: {measure.name}")
                figures.append(alternate(measure, sides, plan))
        if plan.against:
            for figure in figures:
                if figure.target and figure.target.of == "ratio":
                    figure.target = None
        return [side.name for side in sides], figures


def alternate(measure: Measure, sides: list[Side], plan: Plan) -> Figure:
    """One warm-up of each side, then A B A B."""
    columns = [Rounds() for _ in sides]
    for side in sides:
        measure.take(side, WARM_UP_S)
    for _ in range(plan.rounds):
        for side, column in zip(sides, columns, strict=True):
            cpu, started = side.server.cpu_seconds(), monotonic()
            value = measure.take(side, plan.seconds)
            share = (side.server.cpu_seconds() - cpu) / (monotonic() - started)
            column.add(value, share)
    return Figure(measure.name, measure.unit, measure.target, *columns)


def ratio_at_least(bound: float) -> Target:
    return Target(bound, "at least", "ratio")


def ratio_at_most(bound: float) -> Target:
    return Target(bound, "at most", "ratio")


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
        before = [side.server.cpu_seconds() for side in sides]
        started = monotonic()
        sleep(max(2.0, self.window_s * plan.scale))
        elapsed = monotonic() - started
        columns = [Rounds() for _ in sides]
        for side, column, cpu in zip(sides, columns, before, strict=True):
            share = (side.server.cpu_seconds() - cpu) / elapsed
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
    )
}
