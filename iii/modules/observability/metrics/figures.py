"""The engine's own figures, which alerts and roll-ups know by names (``metricnames``).

The engine counts anyway (``iii.engine.callcounts``); nothing is recorded here, the
counts are added up when somebody asks.
"""

from __future__ import annotations

from typing import NamedTuple

from iii.engine.callcounts import BOUNDS_S
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.observability.metrics.shapes import Invocations, WorkerCounts

DURATION = "iii.invocation.duration"


class Figures(NamedTuple):
    """Counts since the start; ``active`` is how many workers are connected."""

    total: int
    success: int
    error: int
    deferred: int
    spawns: int
    deaths: int
    active: int


class Durations(NamedTuple):
    """All calls that are over.

    :ivar buckets: by ``BOUNDS_S``, and one more
    """

    seconds: float
    buckets: list[int]


def figures(engine: ModuleApi) -> Figures:
    """How it stands."""
    calls, workers = invocations(engine), workers_of(engine)
    return Figures(
        calls.total,
        calls.success,
        calls.error,
        calls.deferred,
        workers.spawns,
        workers.deaths,
        workers.active,
    )


def invocations(engine: ModuleApi) -> Invocations:
    """How many calls there were."""
    total = success = error = deferred = 0
    by_function: dict[str, int] = {}
    for id, counts in engine.counts:
        # Ids that nobody ever owned are no functions.
        if counts.started > counts.errors.get(Code.FUNCTION_NOT_FOUND, 0):
            by_function[id] = counts.started
        total += counts.started
        deferred += counts.dispatched
        success += counts.succeeded.count
        error += counts.failed.count
    return Invocations(total, success, error, deferred, by_function)


def workers_of(engine: ModuleApi) -> WorkerCounts:
    """How many workers came and went."""
    census = engine.census()
    spawns, deaths = census.workers_spawned_total, census.workers_gone_total
    return WorkerCounts(spawns, deaths, spawns - deaths)


def durations(engine: ModuleApi) -> Durations:
    """How long calls took."""
    seconds = 0.0
    buckets = [[0] * (len(BOUNDS_S) + 1)]
    for _, counts in engine.counts:
        for outcome in (counts.succeeded, counts.failed):
            seconds += outcome.seconds
            buckets.append(outcome.buckets)
    return Durations(seconds, [sum(column) for column in zip(*buckets, strict=True)])
