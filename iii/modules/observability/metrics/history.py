"""How the engine did lately: every ten seconds, for an hour.

``engine::metrics::snapshot`` is the latest, ``engine::metrics::history`` all of them, and
``engine::functions::stats`` the same for single functions.  Counts are the engine's
(``iii.engine.callcounts``) and only grow; what is kept are the differences, of a function
only where it was called at all.  They are packed, so what they take is known and bounded.
"""

from __future__ import annotations

import os
import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import msgpack

from iii.engine.callcounts import FunctionCounts, quantile
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics import lately
from iii.modules.observability.metrics.figures import figures
from iii.modules.observability.metrics.lately import Delta
from iii.modules.observability.metrics.ticking import Ticker

STEP_S = 10.0
KEPT_STEPS = 360
MAX_HISTORY_BYTES = 16 * 1024 * 1024
#: What a packed difference costs beside its bytes: its object and its place in a dict.
_ENTRY_BYTES = 150

_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder(Delta).decode
_STATM = Path("/proc/self/statm")


class _Step:
    """One step of ten seconds.

    :ivar ends: by the monotonic clock
    :ivar functions: id → its packed ``Delta``
    """

    __slots__ = ("ends", "functions", "snapshot", "weight")

    def __init__(self, ends: float, snapshot: lately.Snapshot) -> None:
        self.ends = ends
        self.snapshot = snapshot
        self.functions: dict[str, bytes] = {}
        self.weight = 0


class History:
    """Keeps the steps, and answers questions about them."""

    def __init__(self, hub: Hub) -> None:
        self._engine = hub.engine
        self._clock = hub.engine.clock
        self._started = self._clock.monotonic()
        self._steps: deque[_Step] = deque()
        self._known: dict[str, Delta] = {}
        self._bytes = 0
        #: called after each step
        self.listeners: list[Callable[[], None]] = []
        self._ticker = Ticker(self._clock, lambda: STEP_S, self.step)

    def start(self) -> None:
        """Part: begin to look."""
        self._started = self._clock.monotonic()
        self._ticker.start()

    def stop(self) -> None:
        """Part: look no more."""
        self._ticker.stop()

    def step(self) -> None:
        """Ten seconds are over."""
        changes = {id: delta for id, delta in self._changes() if delta.count}
        counts = dict(self._engine.counts)
        step = _Step(self._clock.monotonic(), self._snapshot(_sum(changes.values())))
        for id, delta in changes.items():
            packed = step.functions[id] = _pack(delta)
            step.weight += len(packed) + _ENTRY_BYTES
            self._known[id] = _counted(counts[id])
        self._steps.append(step)
        self._bytes += step.weight
        while len(self._steps) > KEPT_STEPS or self._bytes > MAX_HISTORY_BYTES:
            self._bytes -= self._steps.popleft().weight
        for listener in list(self.listeners):
            listener()

    # Functions -------------------------------------------------------------------------

    def snapshot(self, _: object) -> lately.Snapshot:
        """``engine::metrics::snapshot``: now; durations are of up to the last 20 s."""
        running = [delta for _, delta in self._changes()]
        if self._steps:
            running += map(_unpack, self._steps[-1].functions.values())
        return self._snapshot(_sum(running))

    def listed(self, asked: lately.HistoryInput) -> lately.HistoryList:
        """``engine::metrics::history``."""
        steps = [step.snapshot for step in self._since(asked.seconds)]
        return lately.HistoryList(steps, len(steps))

    def stats(self, asked: lately.StatsInput) -> lately.Stats | lately.StatsList:
        """``engine::functions::stats``: of one function, or of all that were called."""
        steps = list(self._since(asked.seconds))
        covered_s = self._covered_s(steps)
        if asked.function_id is not None:
            return self._stats(asked.function_id, steps, covered_s, series=True)
        ids = {id for step in steps for id in step.functions}
        ids |= {id for id, delta in self._changes() if delta.count}
        rows = [self._stats(id, steps, covered_s, series=asked.series) for id in sorted(ids)]
        rows.sort(key=lambda row: -row.count)
        return lately.StatsList(rows[asked.offset : asked.offset + asked.limit], len(rows))

    # Inside ----------------------------------------------------------------------------

    def _changes(self) -> Iterator[tuple[str, Delta]]:
        """What came since the last step."""
        for id, counts in self._engine.counts:
            before = self._known.get(id)
            now = _counted(counts)
            yield id, now if before is None else now.since(before)

    def _since(self, seconds: float) -> Iterator[_Step]:
        oldest = self._clock.monotonic() - seconds
        return (step for step in self._steps if step.ends > oldest)

    def _covered_s(self, steps: list[_Step]) -> float:
        """How long ago the first of ``steps``, or else the running one, began."""
        if steps:
            began = steps[0].ends - STEP_S
        else:
            began = self._steps[-1].ends if self._steps else self._started
        return max(1.0, self._clock.monotonic() - began)

    def _stats(
        self, id: str, steps: list[_Step], covered_s: float, *, series: bool
    ) -> lately.Stats:
        points = []
        total = Delta()
        for step in steps:
            packed = step.functions.get(id)
            delta = Delta() if packed is None else _unpack(packed)
            total.add(delta)
            if series:
                points.append(_point(step.snapshot.timestamp, delta))
        counts = self._engine.counts.known(id)
        if counts is not None:
            now, before = _counted(counts), self._known.get(id)
            running = now if before is None else now.since(before)
            total.add(running)
            if series:
                points.append(_point(self._clock.wall_ms(), running))
        servants = self._engine.servants(id)
        latency = _latency(total)
        return lately.Stats(
            id,
            covered_s,
            total.count,
            total.errors,
            total.count / covered_s,
            total.errors / total.count if total.count else 0.0,
            latency.avg_duration_ms,
            latency.p50_duration_ms,
            latency.p95_duration_ms,
            latency.p99_duration_ms,
            0 if counts is None else max(0, counts.started - _counted(counts).count),
            0 if counts is None else counts.started,
            {} if counts is None else dict(counts.errors),
            [lately.ServantRow(s.worker_id, s.name, s.in_flight) for s in servants],
            points,
        )

    def _snapshot(self, calls: Delta) -> lately.Snapshot:
        engine = self._engine
        now, census = figures(engine), engine.census()
        return lately.Snapshot(
            self._clock.wall_ms(),
            lately.Calls(now.total, now.success, now.error, now.deferred),
            lately.Workers(now.spawns, now.deaths, now.active, census.workers_busy),
            _latency(calls),
            census.functions,
            sum(census.triggers.values()),
            self._clock.monotonic() - self._started,
            memory_rss(),
            census.connections,
        )


def memory_rss() -> int:
    """Resident bytes of this process; where the system doesn't tell, the most it ever had."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _counted(counts: FunctionCounts) -> Delta:
    """All that ever ended."""
    done, failed = counts.succeeded, counts.failed
    buckets = [sum(pair) for pair in zip(done.buckets, failed.buckets, strict=True)]
    return Delta(failed.count, done.seconds + failed.seconds, buckets)


def _sum(deltas: Iterable[Delta]) -> Delta:
    total = Delta()
    for delta in deltas:
        total.add(delta)
    return total


def _latency(calls: Delta) -> lately.Latency:
    count = calls.count
    if not count:
        return lately.Latency()
    ms = [_ms(quantile(calls.buckets, share)) for share in (0.5, 0.95, 0.99)]
    return lately.Latency(calls.seconds / count * 1000, *ms)


def _point(at_ms: int, delta: Delta) -> lately.Point:
    return lately.Point(at_ms, delta.count, delta.errors, _ms(quantile(delta.buckets, 0.95)))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
