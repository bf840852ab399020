"""Metrics of the workers, as they sent them.

Kept in the order they came in, one bucket for everything of one moment.  What is too
much goes from the old end, whole buckets at a time: too many metrics, too many bytes, or
older than the retention.  Ages are of the monotonic clock, so a corrected wall clock
neither keeps nor drops anything; a range that a client asks for is of wall time.

New names beyond ``MAX_NAMES`` are not kept at all: one series of a known name is worth
more than a name that nobody can have meant (an id made part of it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from sys import getsizeof

from twisted.logger import Logger

from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics.ticking import Ticker
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint, Pairs

log = Logger()

MIB = 1024 * 1024
MAX_NAMES = 10_000
MAX_STORE_BYTES = 64 * MIB
SWEEP_S = 60.0

# What objects cost, measured (CPython 3.11): structs and lists with their numbers.
_NAME_BYTES = 900
_METRIC_BYTES = 600
_POINT_BYTES = 240
_HISTOGRAM_BYTES = 250
_PAIR_BYTES = 72
_NUMBER_BYTES = 40


class _Bucket:
    """All metrics of one moment.

    :ivar at: when they came in, monotonic
    """

    __slots__ = ("at", "metrics", "received_ns")

    def __init__(self, at: float, received_ns: int) -> None:
        self.at = at
        self.received_ns = received_ns
        self.metrics: list[tuple[Metric, int]] = []


class MetricStore:
    """What workers measured lately."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._clock = hub.engine.clock
        self._max_count = hub.settings.metrics_max_count
        self._retention_s = hub.settings.metrics_retention_s
        self._buckets: deque[_Bucket] = deque()
        # Those of a name in the same order: the oldest of all is the oldest of its name.
        self._by_name: dict[str, deque[tuple[float, Metric]]] = {}
        self._warned = False
        self._sweeper = Ticker(self._clock, lambda: SWEEP_S, self.sweep)
        #: how many metrics, and about how many bytes
        self.count = 0
        self.bytes = 0

    def start(self) -> None:
        """Part: listen."""
        self._hub.on_metrics(self.add)
        self._sweeper.start()

    def stop(self) -> None:
        """Part: listen no more."""
        self._hub.forget(self.add)
        self._sweeper.stop()

    def add(self, metrics: list[Metric]) -> None:
        """Keep ``metrics``."""
        at = self._clock.monotonic()
        resources: set[int] = set()
        for metric in metrics:
            if metric.name not in self._by_name and not self._has_room_for(metric.name):
                continue
            size = size_of(metric)
            if id(metric.resource) not in resources:  # metrics of a frame share it
                resources.add(id(metric.resource))
                size += _pairs_size(list(metric.resource.items()))
            bucket = self._bucket(at, metric.received_ns)
            bucket.metrics.append((metric, size))
            known = self._by_name.get(metric.name)
            if known is None:
                known = self._by_name[metric.name] = deque()
                self.bytes += _NAME_BYTES
            known.append((bucket.at, metric))
            self.count += 1
            self.bytes += size
        self._trim()

    def sweep(self) -> None:
        """Drop what is older than the retention."""
        oldest = self._clock.monotonic() - self._retention_s
        while self._buckets and self._buckets[0].at < oldest:
            self._drop_oldest_bucket()

    def all(self) -> list[Metric]:
        """Everything, oldest first."""
        return [metric for bucket in self._buckets for metric, _ in bucket.metrics]

    def between(self, start_ns: int, end_ns: int) -> list[Metric]:
        """What came in between two moments, both included; oldest first."""
        return [
            metric
            for bucket in self._buckets
            if start_ns <= bucket.received_ns <= end_ns
            for metric, _ in bucket.metrics
        ]

    def recent(self, name: str, seconds: float) -> Iterator[Metric]:
        """Those called ``name`` of the last ``seconds``, newest first."""
        oldest = self._clock.monotonic() - seconds
        for at, metric in reversed(self._by_name.get(name, ())):
            if at < oldest:
                return
            yield metric

    def names(self) -> Iterator[str]:
        """What there is something of."""
        return iter(self._by_name)

    def newest(self, name: str) -> Metric | None:
        """The last that was called ``name``."""
        known = self._by_name.get(name)
        return None if known is None else known[-1][1]

    # Inside ----------------------------------------------------------------------------

    def _has_room_for(self, name: str) -> bool:
        if len(self._by_name) < MAX_NAMES:
            return True
        self._hub.drop("metrics.too_many_names")
        if not self._warned:
            self._warned = True
            log.warn(
                "metric {name} is not kept: there are {count} names already, and no others"
                " are taken before some of them are gone; this is said once",
                name=name[:100],
                count=len(self._by_name),
            )
        return False

    def _bucket(self, at: float, received_ns: int) -> _Bucket:
        if not self._buckets or self._buckets[-1].received_ns != received_ns:
            self._buckets.append(_Bucket(at, received_ns))
        return self._buckets[-1]

    def _trim(self) -> None:
        while self._is_too_much and len(self._buckets) > 1:
            self._drop_oldest_bucket()
        while self._is_too_much:  # one moment alone
            bucket = self._buckets[0]
            self._forget(*bucket.metrics.pop(0))
            if not bucket.metrics:
                self._buckets.clear()

    @property
    def _is_too_much(self) -> bool:
        return self.count > self._max_count or self.bytes > MAX_STORE_BYTES

    def _drop_oldest_bucket(self) -> None:
        for metric, size in self._buckets.popleft().metrics:
            self._forget(metric, size)

    def _forget(self, metric: Metric, size: int) -> None:
        known = self._by_name[metric.name]
        known.popleft()
        if not known:
            del self._by_name[metric.name]
            self.bytes -= _NAME_BYTES
        self.count -= 1
        self.bytes -= size


def size_of(metric: Metric) -> int:
    """About how many bytes it takes, without its resource."""
    texts = (metric.name, metric.description, metric.unit, metric.service_name)
    size = _METRIC_BYTES + sum(map(getsizeof, texts))
    for point in metric.points:
        size += _point_size(point)
    return size


def _point_size(point: NumberPoint | HistogramPoint) -> int:
    size = _POINT_BYTES + _pairs_size(point.attributes)
    if isinstance(point, HistogramPoint):
        size += _HISTOGRAM_BYTES + _NUMBER_BYTES * (
            len(point.bucket_counts) + len(point.explicit_bounds)
        )
    return size


def _pairs_size(pairs: Pairs) -> int:
    return sum(_PAIR_BYTES + getsizeof(key) + getsizeof(value) for key, value in pairs)
