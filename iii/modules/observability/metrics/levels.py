"""Sums per minute, per five minutes, per hour.

Only the running minute is added to.  When it is over it is packed, and merged into the
running five minutes; those, when they are over, into the running hour.  So all levels
agree, and a value is handled once however many levels there are.

A packed bucket is a ``bytes``: its size is known, and that is how the total is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

MIB = 1024 * 1024
NS_PER_S = 1_000_000_000

MAX_ROLLUP_BYTES = 32 * MIB
MAX_ROLLED_NAMES = 5_000
MAX_ROLLED_HISTOGRAMS = 1_000
#: Counts stay here: no histogram means more, and larger numbers could not be packed.
HIGHEST_COUNT = 2**53

#: Width of a level's buckets in seconds, and how many are kept: 1 h, 6 h, 7 d.
LEVELS = ((60, 60), (300, 72), (3_600, 168))


class Numbers(msgspec.Struct, array_like=True, gc=False):
    """What the values of a metric add up to."""

    count: int
    sum: float
    min: float
    max: float

    def merge(self, other: Numbers) -> None:
        """Add another's."""
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)


class Histogram(msgspec.Struct, array_like=True, gc=False):
    """What histograms with the same bounds add up to."""

    count: int
    sum: float
    min: float | None
    max: float | None
    bucket_counts: list[int]

    def merge(self, other: Histogram) -> None:
        """Add another's, which has as many buckets."""
        self.count = min(self.count + other.count, HIGHEST_COUNT)
        self.sum += other.sum
        self.min = min(_known(self.min, other.min), default=None)
        self.max = max(_known(self.max, other.max), default=None)
        pairs = zip(self.bucket_counts, other.bucket_counts, strict=True)
        self.bucket_counts = [min(mine + others, HIGHEST_COUNT) for mine, others in pairs]


HistogramKey = tuple[str, tuple[float, ...]]
"""Name and bounds: histograms of other bounds can't be added."""


class Bucket(msgspec.Struct, array_like=True):
    """All metrics of one stretch of time."""

    start_ns: int
    numbers: dict[str, Numbers] = {}
    histograms: list[tuple[HistogramKey, Histogram]] = []


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Bucket).decode


class _Running:
    """The bucket of a level that is not over."""

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.numbers: dict[str, Numbers] = {}
        self.histograms: dict[HistogramKey, Histogram] = {}

    def add(self, name: str, numbers: Numbers) -> bool:
        """Add a metric's; false when there are too many others."""
        known = self.numbers.get(name)
        if known is not None:
            known.merge(numbers)
        elif len(self.numbers) < MAX_ROLLED_NAMES:
            self.numbers[name] = numbers
        else:
            return False
        return True

    def add_histogram(self, key: HistogramKey, histogram: Histogram) -> bool:
        """The same for a histogram."""
        known = self.histograms.get(key)
        if known is not None:
            known.merge(histogram)
        elif len(self.histograms) < MAX_ROLLED_HISTOGRAMS:
            self.histograms[key] = histogram
        else:
            return False
        return True

    def packed(self) -> bytes:
        return _pack(Bucket(self.start_ns, self.numbers, list(self.histograms.items())))

    @property
    def is_empty(self) -> bool:
        return not self.numbers and not self.histograms


class _Level:
    """The buckets of one width."""

    def __init__(self, width_s: int, keep: int) -> None:
        self.width_ns = width_s * NS_PER_S
        self.kept_ns = keep * self.width_ns
        self.running: _Running | None = None
        self.closed: deque[tuple[int, bytes]] = deque()

    def bucket(self, at_ns: int) -> _Running:
        """The running bucket; a new one when there is none."""
        if self.running is None:
            self.running = _Running(at_ns - at_ns % self.width_ns)
        return self.running

    def over(self, now_ns: int) -> _Running | None:
        """The running bucket when its time is over; the caller takes it.

        A clock that was put back a little adds to the bucket it is in; put back by more
        than a bucket, it begins another.
        """
        running = self.running
        if running is None or abs(now_ns - running.start_ns) < self.width_ns:
            return None
        self.running = None
        return running


class Levels:
    """Roll-ups on three levels.

    :ivar bytes: of all packed buckets
    """

    def __init__(self) -> None:
        self._levels = [_Level(width_s, keep) for width_s, keep in LEVELS]
        self.bytes = 0

    def add(self, now_ns: int, name: str, numbers: Numbers) -> bool:
        """Values of now; false when there are too many other names."""
        self.roll(now_ns)
        return self._levels[0].bucket(now_ns).add(name, numbers)

    def add_histogram(self, now_ns: int, key: HistogramKey, histogram: Histogram) -> bool:
        """The same for histograms."""
        self.roll(now_ns)
        return self._levels[0].bucket(now_ns).add_histogram(key, histogram)

    def roll(self, now_ns: int) -> None:
        """Close what is over, forget what is too old."""
        for index, level in enumerate(self._levels):
            over = level.over(now_ns)
            if over is not None and not over.is_empty:
                self._keep(level, over)
                if index + 1 < len(self._levels):
                    _merge(self._levels[index + 1], over)
            while level.closed and not self._is_kept(level, level.closed[0][0], now_ns):
                self._forget_oldest(level)
        while self.bytes > MAX_ROLLUP_BYTES:
            self._forget_oldest(max(self._levels, key=lambda level: _size(level.closed)))

    def find(self, level: int, start_ns: int, end_ns: int) -> Iterator[tuple[int, Bucket]]:
        """Buckets that lie wholly between two moments, oldest first, each with its end."""
        if level >= len(self._levels):
            return
        known = self._levels[level]
        for at_ns, packed in list(known.closed):
            ends_ns = at_ns + known.width_ns
            if start_ns <= at_ns and ends_ns <= end_ns:
                yield ends_ns, _unpack(packed)

    def _keep(self, level: _Level, over: _Running) -> None:
        packed = over.packed()
        level.closed.append((over.start_ns, packed))
        self.bytes += len(packed)

    def _is_kept(self, level: _Level, start_ns: int, now_ns: int) -> bool:
        return now_ns - level.kept_ns - level.width_ns < start_ns <= now_ns

    def _forget_oldest(self, level: _Level) -> None:
        self.bytes -= len(level.closed.popleft()[1])


def _merge(level: _Level, over: _Running) -> None:
    """Add a bucket that is over to the running one of the level above."""
    bucket = level.bucket(over.start_ns)
    # The structs may go over: nobody adds to those of a closed bucket.
    for name, numbers in over.numbers.items():
        bucket.add(name, numbers)
    for key, histogram in over.histograms.items():
        bucket.add_histogram(key, histogram)


def _size(closed: deque[tuple[int, bytes]]) -> int:
    return sum(len(packed) for _, packed in closed)


def _known(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]
