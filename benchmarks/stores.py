"""The suites of state and streams.

Their yardstick is the engine itself: a call between two workers, 64 in flight, in the
same run, on an engine with the same configuration.  The stores are files on the disk of
the checkout, with durability ``os``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.calls import STORED_BYTES
from benchmarks.configs import STORES_CONFIG
from benchmarks.processes import ENGINE, Server
from benchmarks.stats import Figure, Rounds, Target
from benchmarks.suite import FEW_KEYS, Measure, Plan, Side, Situation, Suite, ratio_at_least

IN_FLIGHT: Final = 64
SUBSCRIBERS = 1_000
BROADCASTS_IN_FLIGHT = 4
FRAMES_PER_S = 100_000
MANY_KEYS = 1_000_000
STARTS = 3
MORE_START_S = 1.0

Take = Callable[[Side, int], float]


def plain_calls(side: Side, seconds: int) -> float:
    """Calls/s between two workers."""
    rate: float = side.calls(IN_FLIGHT, seconds)["calls_per_s"]
    return rate


def calls(function: str, side: Side, seconds: int) -> float:
    """Calls/s of a function of the engine, random keys out of few."""
    if function == "state::get":
        side.fill("state::set", FEW_KEYS)
    rate: float = side.calls(IN_FLIGHT, seconds, function=function, keys=FEW_KEYS)["calls_per_s"]
    return rate


def calls_of_stored(function: str, side: Side, seconds: int) -> float:
    """The same with the keys that were there at the start; values as long as theirs."""
    done = side.calls(IN_FLIGHT, seconds, STORED_BYTES, function, side.situation.keys)
    rate: float = done["calls_per_s"]
    return rate


def against_calls(name: str, bound: float, take: Take) -> Measure:
    """A rate compared with that of plain calls."""
    return Measure(name, "calls/s", ratio_at_least(bound), take, plain_calls)


class Stores(Suite):
    """A function of the engine on one side, calls between workers on the other."""

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation(self.name, ENGINE, config=STORES_CONFIG),
            Situation("call between workers", ENGINE, config=STORES_CONFIG),
        )


class State(Stores):
    """Reading and writing values."""

    name = "state"
    measures = (
        against_calls("state::get, 64 in flight, 16 B", 0.7, partial(calls, "state::get")),
        against_calls("state::set, 64 in flight, 16 B", 0.3, partial(calls, "state::set")),
    )


class Stream(Stores):
    """Writing items that nobody, and somebody, is subscribed to."""

    name = "stream"
    measures = (
        against_calls(
            "stream::set, 64 in flight, 16 B, no subscriber", 0.25, partial(calls, "stream::set")
        ),
        against_calls(
            "the same, 1 subscriber receives all",
            0.15,
            lambda side, seconds: side.broadcast(1, IN_FLIGHT, seconds),
        ),
    )


class Fanout(Suite):
    """Every write reaches 1,000 sockets."""

    name = "fanout"
    measures = (
        Measure(
            f"stream::set to {SUBSCRIBERS:,} subscribers, {BROADCASTS_IN_FLIGHT} in flight",
            "frames/s",
            Target(FRAMES_PER_S, "at least", "value"),
            lambda side, seconds: side.broadcast(SUBSCRIBERS, BROADCASTS_IN_FLIGHT, seconds),
        ),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (Situation("engine", ENGINE, config=STORES_CONFIG),)


class LargeStore(Suite):
    """A million keys in the state store, against a thousand; and how long a start takes."""

    name = "large_store"
    measures = (
        Measure(
            "state::get, random keys, 64 in flight",
            "calls/s",
            ratio_at_least(0.6),
            partial(calls_of_stored, "state::get"),
        ),
        Measure(
            "state::set, random keys, 64 in flight",
            "calls/s",
            ratio_at_least(0.5),
            partial(calls_of_stored, "state::set"),
        ),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        many = max(FEW_KEYS, round(MANY_KEYS * plan.scale))
        return tuple(
            Situation(f"{keys:,} keys", ENGINE, config=STORES_CONFIG, keys=keys)
            for keys in (many, FEW_KEYS)
        )

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """Starts on the large store and on none in turn, before any worker is connected."""
        limit = Target(MORE_START_S, "at most", "value")
        start = Figure("start", "s")
        more = Figure("the same, beyond a start with an empty store", "s", limit)
        large = [side for side in sides if side.situation.keys == sides[0].situation.keys]
        for side, column in zip(large, ("subject", "reference"), strict=False):
            total, beyond = Rounds(), Rounds()
            with Server(side.situation.program, config=STORES_CONFIG) as empty:
                for _ in range(STARTS):
                    seconds = side.server.restart()
                    total.add(seconds, 0.0)
                    beyond.add(seconds - empty.restart(), 0.0)
            setattr(start, column, total)
            setattr(more, column, beyond)
        return [start, more]
