"""What a suite is, and how its sides are measured in turn.

A suite compares two *sides*, usually engine and baseline, sometimes the engine in
two situations (1,000 routes and one) or at two kinds of work (``state::get`` and a call
between workers).  A side keeps its processes for the whole suite, idle while the other
side is measured, so the rounds can alternate: A B A B.  With ``--against`` the sides are
this source tree and another revision, both in the suite's main situation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar, Self
from urllib.request import urlopen

from benchmarks.configs import HTTP_CONFIG
from benchmarks.processes import (
    BASELINE,
    ENGINE,
    BenchmarkError,
    Companion,
    Program,
    Server,
    fill_queue,
    fill_state,
    producer,
    subscribers,
    worker,
    wrk,
)
from benchmarks.stats import Figure, Rounds, Target

WARM_UP_S = 1
ROUTE_PATH = "bench/{}/items/:item/parts/:part"
ECHO = "bench.echo"
FEW_KEYS = 1_000


@dataclass(frozen=True)
class Plan:
    """How long, and against what."""

    rounds: int
    seconds: int
    #: 1, or smaller for a smoke run: of the connections held open, of the keys in a store,
    #: and of the idle time
    scale: float = 1.0
    against: Program | None = None
    #: for the server processes, e.g. ``-m cProfile``
    python_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """A program and what surrounds it.

    :ivar keys: in the state store before the engine starts
    :ivar messages: on a named queue before the engine starts
    """

    name: str
    program: Program
    routes: int = 0
    idle_connections: int = 0
    config: str = HTTP_CONFIG
    keys: int = 0
    messages: int = 0


class Side:
    """A situation, running."""

    def __init__(self, situation: Situation, plan: Plan) -> None:
        self.situation = situation
        self.name = situation.name
        program = situation.program
        fill: Callable[[Path], None] | None = None
        if situation.keys:
            fill = partial(fill_state, program, keys=situation.keys)
        elif situation.messages:
            fill = partial(fill_queue, program, messages=situation.messages)
        self._server = Server(program, plan.python_options, situation.config, fill)
        self._stack = ExitStack()
        self._caller: Companion | None = None
        self._subscribers: Companion | None = None
        self._pair: Companion | None = None
        self._filled: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(self._server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def companion(self, companion: Companion) -> Companion:
        """Start a program that lives as long as the side."""
        return self._stack.enter_context(companion)

    def worker(self, role: str, *options: str) -> Companion:
        """Start a worker that lives as long as the side."""
        return self.companion(worker(role, self.server, *options))

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

    def calls(
        self,
        in_flight: int,
        seconds: float,
        payload: int = 16,
        function: str = ECHO,
        keys: int = 0,
    ) -> dict[str, Any]:
        """Calls of a worker; caller and callee are started with the first."""
        what = {"function": function, "payload": payload, "keys": keys, "in_flight": in_flight}
        return self._call({**what, "seconds": seconds}, seconds + 60)

    def fill(self, function: str, keys: int) -> None:
        """Call ``function`` once with each key, unless that was done."""
        if function not in self._filled:
            self._filled.add(function)
            self._call({"function": function, "payload": 16, "keys": keys, "in_flight": 64}, 120)

    def _call(self, what: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        if self._caller is None:
            self._caller = self.worker("call")
        return self._caller.ask(what, timeout_s)

    def queue(self, way: str, seconds: float, **more: Any) -> dict[str, Any]:
        """What a ``benchmarks.producer`` says about a measure; started with the first."""
        if self._pair is None:
            self._pair = self._stack.enter_context(producer(self.server))
        return self._pair.ask({"way": way, "seconds": seconds, **more}, seconds + 120)

    def broadcast(self, sockets: int, in_flight: int, seconds: float) -> float:
        """Frames/s that reach subscribers of the group the caller writes to.

        The subscribers are started with the first use.  The time ends with the last frame.
        """
        if self._subscribers is None:
            self._subscribers = self._stack.enter_context(subscribers(self.server, sockets))
        done = self.calls(in_flight, seconds, function="stream::set", keys=FEW_KEYS)
        frames = done["calls"] * sockets
        last_at: float = self._subscribers.ask({"frames": frames})["last_at"]
        return float(frames / (last_at - done["started"]))


@dataclass(frozen=True)
class Measure:
    """One figure of a suite: how to take it, and what it must reach.

    :ivar reference: how the second side is measured, if in another way
    :ivar demands: the reference is what must be reached, so its processor time means nothing
    """

    name: str
    unit: str
    target: Target | None
    take: Callable[[Side, int], float]
    reference: Callable[[Side, int], float] | None = None
    demands: bool = False


class Suite:
    """Starts the sides, measures them alternately, returns figures."""

    name: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]] = ()

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        """The main situation, then the one it is compared with, if any."""
        return Situation("engine", ENGINE), Situation("baseline", BASELINE)

    def surroundings(self) -> AbstractContextManager[object]:
        """What has to run beside the sides, before the situations are known."""
        return nullcontext()

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
            other = replace(main, name=plan.against.name, program=plan.against)
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
    takes = [measure.take] * len(sides)
    if measure.reference and not plan.against:
        takes[1:] = [measure.reference]
    for side, take in zip(sides, takes, strict=True):
        take(side, WARM_UP_S)
    for _ in range(plan.rounds):
        for side, take, column in zip(sides, takes, columns, strict=True):
            cpu, started = side.server.cpu_seconds(), monotonic()
            value = take(side, plan.seconds)
            share = (side.server.cpu_seconds() - cpu) / (monotonic() - started)
            column.add(value, 0.0 if measure.demands and take is measure.reference else share)
    return Figure(measure.name, measure.unit, measure.target, *columns)


def cpu_shares(sides: Sequence[Side], seconds: float) -> list[float]:
    """The share of a core that each engine uses while nothing happens in any of them."""
    before = [side.server.cpu_seconds() for side in sides]
    started = monotonic()
    sleep(seconds)
    elapsed = monotonic() - started
    return [
        (side.server.cpu_seconds() - cpu) / elapsed for side, cpu in zip(sides, before, strict=True)
    ]


def ratio_at_least(bound: float) -> Target:
    return Target(bound, "at least", "ratio")


def ratio_at_most(bound: float) -> Target:
    return Target(bound, "at most", "ratio")
