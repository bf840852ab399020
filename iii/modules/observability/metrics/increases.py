"""How much counters grew.

SDKs send running totals of as many series as they have label sets.  What happened in a
minute is the difference to the point before, of the same series; a series that began
anew (its process restarted) counts from nothing.

The first point of a series is a total of a time nobody watched: it counts whole when the
series began after we did or doesn't say when, and not at all when it is older.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint, Pairs

MIB = 1024 * 1024
MAX_SERIES_BYTES = 16 * MIB

# What the state of a series costs, and each of its buckets (measured, CPython 3.11).
_SERIES_BYTES = 400
_BUCKET_BYTES = 40

_packed = msgspec.msgpack.encode


class Growth(msgspec.Struct, gc=False):
    """A histogram's new part.

    :ivar whole: it is all there is, and so are its extremes
    """

    count: int
    sum: float
    bucket_counts: list[int]
    whole: bool = False


class _Seen(msgspec.Struct, gc=False):
    """The last point of a series; numbers have no buckets."""

    start_ns: int
    total: float
    bucket_counts: list[int] = []

    @property
    def size(self) -> int:
        return _SERIES_BYTES + _BUCKET_BYTES * len(self.bucket_counts)


class Increases:
    """Remembers the last point of every series, the least used forgotten first.

    :param since_ns: from when on everything was seen
    """

    def __init__(self, since_ns: int) -> None:
        self._since_ns = since_ns
        self._series: dict[bytes, _Seen] = {}
        self._bytes = 0

    def of_number(self, key: bytes, point: NumberPoint) -> float:
        """What a running total has grown by."""
        before = self._replace(key, _Seen(point.start_ns, point.value))
        if before is None:
            return point.value if self._is_new(point.start_ns) else 0.0
        if before.start_ns != point.start_ns or point.value < before.total:
            return point.value
        return point.value - before.total

    def of_histogram(self, key: bytes, point: HistogramPoint) -> Growth:
        """What a running histogram has grown by."""
        whole = growth_of(point)
        before = self._replace(key, _Seen(point.start_ns, point.sum, point.bucket_counts))
        if before is None:
            if self._is_new(point.start_ns):
                return whole
            return Growth(0, 0.0, [0] * len(point.bucket_counts))
        if before.start_ns != point.start_ns or len(before.bucket_counts) != len(
            point.bucket_counts
        ):
            return whole
        counts = [
            now - then for now, then in zip(point.bucket_counts, before.bucket_counts, strict=True)
        ]
        if any(count < 0 for count in counts):
            return whole
        return Growth(sum(counts), point.sum - before.total, counts)

    def _is_new(self, start_ns: int) -> bool:
        return start_ns == 0 or start_ns >= self._since_ns

    def _replace(self, key: bytes, seen: _Seen) -> _Seen | None:
        before = self._series.pop(key, None)
        if before is not None:
            self._bytes -= before.size
        self._series[key] = seen
        self._bytes += seen.size
        while self._bytes > MAX_SERIES_BYTES and len(self._series) > 1:
            oldest = self._series.pop(next(iter(self._series)))
            self._bytes -= oldest.size
        return before


def growth_of(point: HistogramPoint) -> Growth:
    """All of a histogram."""
    return Growth(point.count, point.sum, point.bucket_counts, whole=True)


def keys_of(metric: Metric) -> Callable[[Pairs], bytes]:
    """Gives the key of a series of ``metric``, by its attributes."""
    who = _packed((metric.name, metric.service_name, metric.scope_name, metric.resource))
    base = blake2b(who, digest_size=16)

    def key(attributes: Pairs) -> bytes:
        whole = base.copy()
        whole.update(_packed(sorted(attributes)))
        return whole.digest()

    return key
