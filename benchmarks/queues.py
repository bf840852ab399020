"""The suites of queues.

As with stores, the yardstick is a call between two workers, 64 in flight, in the same run
on an engine with the same configuration.  Durability is that of queues unless another one
is set, ``fsync``: a receipt means that the message is on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from time import sleep

from benchmarks.configs import queue_config
from benchmarks.disk import fdatasyncs_per_s
from benchmarks.processes import ENGINE
from benchmarks.stats import Figure, Rounds, Target
from benchmarks.stores import IN_FLIGHT, plain_calls
from benchmarks.suite import (
    WARM_UP_S,
    Measure,
    Plan,
    Side,
    Situation,
    Suite,
    ratio_at_least,
)

#: what acknowledged enqueues must reach: a part of the calls, or so many for each write
CALLS_SHARE = 0.2
PER_FDATASYNC = 20
LATENCY_MS = 5.0
FDATASYNCS_WAITED_FOR = 2

MANY_MESSAGES = 1_000_000
#: more than a smoke run can work off
LEAST_MESSAGES = 200_000
FEW_MESSAGES = 1_000
STARTS = 3
START_S = 2.0
MORE_MEMORY_MB = 150.0
SETTLE_S = 1.0

FSYNC, OS = queue_config("fsync"), queue_config("os")


def enqueues(side: Side, seconds: int) -> float:
    """Receipts/s of messages that nobody takes."""
    rate: float = side.calls(IN_FLIGHT, seconds, function="enqueue")["calls_per_s"]
    return rate


def demanded_enqueues(side: Side, seconds: int) -> float:
    """What calls between workers, and the disk, let us expect of it."""
    per_disk = PER_FDATASYNC * fdatasyncs_per_s(side.server.directory)
    return min(CALLS_SHARE * plain_calls(side, seconds), per_disk)


def messages(way: str, side: Side, seconds: int) -> float:
    """Messages/s, from the enqueue until they are handled."""
    rate: float = side.queue(way, seconds, do="flow")["messages_per_s"]
    return rate


def flow(name: str, way: str, bound: float | None) -> Measure:
    """A rate of messages compared with that of plain calls."""
    target = None if bound is None else ratio_at_least(bound)
    return Measure(name, "messages/s", target, partial(messages, way), plain_calls)


class Queue(Suite):
    """Putting messages on queues and taking them off."""

    name = "queue"
    measures = (
        Measure(
            f"enqueue acknowledged, 64 in flight; against the smaller of {CALLS_SHARE} calls "
            f"and {PER_FDATASYNC} fdatasync",
            "enqueues/s",
            ratio_at_least(1.0),
            enqueues,
            demanded_enqueues,
            demands=True,
        ),
        flow("topic, enqueue to handled", "topic", 0.1),
        flow("named queue, concurrency 50, enqueue to handled", "plain", 0.1),
        flow("FIFO queue, 100 groups, enqueue to handled", "fifo", 0.08),
        flow("the same, 1 of 97 messages fails once", "failing", None),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation("queue", ENGINE, config=FSYNC),
            Situation("call between workers", ENGINE, config=FSYNC),
        )

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """How long one message takes when nothing else happens; and one write to the disk."""
        subjects = sides if plan.against else sides[:1]
        with ExitStack() as stack:
            others = [
                stack.enter_context(
                    Side(Situation(side.name, side.situation.program, config=OS), plan)
                )
                for side in subjects
            ]
            in_file, _ = latencies("os", others, plan)
            on_disk, syncs = latencies("fsync", subjects, plan)
        waits_ms = LATENCY_MS + FDATASYNCS_WAITED_FOR * median(syncs.values)
        in_file[0].target = Target(LATENCY_MS, "at most", "value")
        on_disk[0].target = Target(waits_ms, "at most", "value")
        return [*in_file, *on_disk, Figure("append 4 KiB and fdatasync", "ms", subject=syncs)]


def latencies(
    durability: str, sides: Sequence[Side], plan: Plan
) -> tuple[tuple[Figure, Figure], Rounds]:
    """From the enqueue on a topic to its handler: the middle and the worst.

    And a write to the disk, directly before each.
    """
    p50, p99 = [Rounds() for _ in sides], [Rounds() for _ in sides]
    syncs = Rounds()
    for _ in range(plan.rounds):
        for side, middle, worst in zip(sides, p50, p99, strict=True):
            syncs.add(1000 / fdatasyncs_per_s(side.server.directory), 0.0)
            done = side.queue("topic", plan.seconds, do="latency")
            middle.add(done["p50_ms"], 0.0)
            worst.add(done["p99_ms"], 0.0)
    name = f"idle latency, enqueue to handler, durability {durability}"
    return (figure(f"{name}: p50", "ms", p50), figure(f"{name}: p99", "ms", p99)), syncs


def figure(name: str, unit: str, columns: Sequence[Rounds], target: Target | None = None) -> Figure:
    """A figure with one side or two."""
    return Figure(name, unit, target, *columns)


def drained(side: Side, seconds: int) -> float:
    """Messages/s that are taken from a queue with a backlog."""
    if side.situation.messages:
        done = side.queue("plain", seconds, do="drain")
    else:
        done = side.queue("plain", seconds, do="bursts", messages=FEW_MESSAGES)
    rate: float = done["messages_per_s"]
    return rate


class Backlog(Suite):
    """A million messages on a queue, against an empty one that gets a thousand at a time."""

    name = "backlog"
    measures = (
        Measure("named queue, concurrency 50, handled", "messages/s", ratio_at_least(0.8), drained),
    )

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        many = max(LEAST_MESSAGES, round(MANY_MESSAGES * plan.scale))
        return (
            Situation(f"{many:,} messages", ENGINE, config=FSYNC, messages=many),
            Situation(f"{FEW_MESSAGES:,} messages", ENGINE, config=FSYNC),
        )

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """Starts, and memory: each side against an engine with an empty queue."""
        large = [side for side in sides if side.situation.messages]
        starts, resident, busy = ([Rounds() for _ in large] for _ in range(3))
        for place, side in enumerate(large):
            for _ in range(STARTS):
                starts[place].add(side.server.restart(), 0.0)
            with Side(Situation("empty", side.situation.program, config=FSYNC), plan) as empty:
                resident[place].add(more_megabytes(side, empty), 0.0)
                for one in (side, empty):
                    drained(one, WARM_UP_S)
                busy[place].add(more_megabytes(side, empty), 0.0)
        more = Target(MORE_MEMORY_MB, "at most", "value")
        name = "resident memory beyond that with an empty queue"
        return [
            figure("start", "s", starts, Target(START_S, "at most", "value")),
            figure(name, "MB", resident, more),
            figure("the same, while it is worked off", "MB", busy, more),
        ]


def more_megabytes(side: Side, other: Side) -> float:
    """By how much the engine of ``side`` is larger."""
    sleep(SETTLE_S)
    return (side.server.resident_bytes() - other.server.resident_bytes()) / 1e6
