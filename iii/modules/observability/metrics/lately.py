"""What is told of the last hour (``history``)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from iii.engine.callcounts import BOUNDS_S

HOUR_S = 3_600.0
MAX_LISTED_FUNCTIONS = 1_000

Seconds = Annotated[float, Meta(gt=0, le=HOUR_S)]


class Delta(Struct, array_like=True):
    """Calls of one function that ended within a stretch of time.

    :ivar seconds: how long they took together
    :ivar buckets: their durations, by ``BOUNDS_S`` and one more
    """

    errors: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.buckets)

    def add(self, other: Delta) -> None:
        """Those of another stretch."""
        self.errors += other.errors
        self.seconds += other.seconds
        self.buckets = [sum(pair) for pair in zip(self.buckets, other.buckets, strict=True)]

    def since(self, before: Delta) -> Delta:
        """What came after ``before``, both counted from the start."""
        buckets = [now - then for now, then in zip(self.buckets, before.buckets, strict=True)]
        return Delta(self.errors - before.errors, self.seconds - before.seconds, buckets)


class HistoryInput(Struct):
    """``engine::metrics::history``."""

    seconds: Seconds = HOUR_S


class StatsInput(Struct):
    """``engine::functions::stats``.

    :ivar function_id: None: all that were called
    :ivar series: also of all functions one point for every ten seconds
    """

    function_id: str | None = None
    seconds: Seconds = 300.0
    series: bool = False
    offset: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED_FUNCTIONS)] = 100


class Calls(Struct):
    """Calls since the start."""

    total: int
    success: int
    error: int
    deferred: int


class Workers(Struct):
    """Workers since the start, those that are connected, and those of them that are busy."""

    spawns: int
    deaths: int
    active: int
    busy: int


class Latency(Struct):
    """How long calls took; None: there were none."""

    avg_duration_ms: float | None = None
    p50_duration_ms: float | None = None
    p95_duration_ms: float | None = None
    p99_duration_ms: float | None = None


class Snapshot(Struct):
    """The engine at one moment.

    :ivar performance: of the calls that ended since the step before
    :ivar memory_rss: bytes
    :ivar connections: to the worker ports
    """

    timestamp: int
    invocations: Calls
    workers: Workers
    performance: Latency
    functions_count: int
    triggers_count: int
    uptime_seconds: float
    memory_rss: int
    connections: int


class HistoryList(Struct):
    """The answer of ``engine::metrics::history``, the oldest first."""

    history: list[Snapshot]
    count: int


class Point(Struct):
    """Ten seconds of a function."""

    at_ms: int
    count: int
    errors: int
    p95_ms: float | None


class ServantRow(Struct):
    """Who runs the calls; ``worker_id`` None: the engine itself."""

    worker_id: str | None
    name: str | None
    in_flight: int


class Stats(Struct):
    """One function within ``seconds``: whole steps, so about as many as were asked for.

    :ivar total: calls since the start of the engine, also those under way
    :ivar error_codes: since the start
    """

    function_id: str
    seconds: float
    count: int
    errors: int
    rate_per_second: float
    error_rate: float
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    in_flight: int
    total: int
    error_codes: dict[str, int]
    workers: list[ServantRow]
    series: list[Point]


class StatsList(Struct):
    """Several functions, the most called first; ``total``: how many there are."""

    functions: list[Stats]
    total: int
