"""The engine's own figures, by the names of 05 A10 (docs/observability.md, "Prometheus")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from iii._version import __version__
from iii.engine.callcounts import FunctionCounts
from iii.engine.module import Census, ModuleApi
from iii.modules.observability.prometheus.figures import Figure, Row, capped, distribution

_Counted = list[tuple[str, FunctionCounts]]


def engine_figures(engine: ModuleApi, dropped: Mapping[str, int]) -> Iterator[Figure]:
    """All of them, as they are now.

    :param dropped: what telemetry was lost → how often
    """
    yield Figure(
        "iii_build_info", "gauge", "The engine's version.", [({"version": __version__}, 1)]
    )
    yield from _of_census(engine.census())
    # Before the first call there is one row of zeros: what asks for the series finds it.
    counted = list(engine.counts) or [("", FunctionCounts())]
    calls = "Calls by outcome; deferred counts those that went to a worker, whatever the outcome."
    yield Figure("iii_invocations_total", "counter", calls, _calls(counted))
    yield Figure("iii_function_invocations_total", "counter", f"{calls} (alias)", _calls(counted))
    yield Figure(
        "iii_invocation_duration_seconds",
        "histogram",
        "How long calls took, from the call to its outcome.",
        _durations(counted),
    )
    yield Figure(
        "iii_invocation_errors_total",
        "counter",
        "Failed calls by error code.",
        capped(_errors(counted)),
    )
    yield Figure(
        "iii_telemetry_dropped_total",
        "counter",
        "Spans, logs and metrics that could not be kept or sent.",
        [({"what": what}, count) for what, count in dropped.items()],
    )


def _of_census(census: Census) -> Iterator[Figure]:
    by_status = {
        "connected": census.workers,
        "available": census.workers - census.workers_busy,
        "busy": census.workers_busy,
        "disconnected": census.workers_gone_total,
    }
    yield _one("iii_workers_active", "Connected workers.", census.workers)
    yield _total(
        "iii_workers_spawns_total", "Workers that connected.", census.workers_spawned_total
    )
    yield _total("iii_workers_deaths_total", "Workers that are gone.", census.workers_gone_total)
    yield Figure(
        "iii_workers_by_status",
        "gauge",
        "Workers: connected ones, busy or available, and those that are gone.",
        [({"status": status}, count) for status, count in by_status.items()],
    )
    yield _one("iii_functions", "Functions that can be called.", census.functions)
    yield _total(
        "iii_functions_registered_total",
        "Registrations of functions.",
        census.functions_registered_total,
    )
    yield Figure(
        "iii_triggers",
        "gauge",
        "Triggers by type.",
        capped(({"type": type}, count) for type, count in census.triggers.items()),
    )


def _one(name: str, help: str, value: float) -> Figure:
    return Figure(name, "gauge", help, [({}, value)])


def _total(name: str, help: str, value: float) -> Figure:
    return Figure(name, "counter", help, [({}, value)])


def _calls(counted: _Counted) -> Iterable[Row]:
    for id, counts in counted:
        yield {"function_id": id, "status": "ok"}, counts.succeeded.count
        yield {"function_id": id, "status": "error"}, counts.failed.count
        if counts.dispatched:
            yield {"function_id": id, "status": "deferred"}, counts.dispatched


def _durations(counted: _Counted) -> Iterable[Row]:
    for id, counts in counted:
        yield {"function_id": id, "status": "ok"}, distribution(counts.succeeded)
        if counts.failed.count:
            yield {"function_id": id, "status": "error"}, distribution(counts.failed)


def _errors(counted: _Counted) -> Iterable[Row]:
    for id, counts in counted:
        for code, count in list(counts.errors.items()):
            yield {"function_id": id, "error_code": code}, count
