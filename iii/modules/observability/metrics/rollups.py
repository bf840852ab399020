"""Roll-ups: what there was, long after the single points are gone.

Gauges and non-monotonic sums go in as their values.  Counters go in as what they have
grown by, so the ``sum`` of a bucket is what happened in it, and histograms likewise.  The
engine's own counters are read once a minute, shortly before it is over: the ``sum`` of
``iii.invocations.total`` is the calls in a bucket, its ``max`` the busiest minute.

Everything counts when it came in, by the engine's clock.
"""

from __future__ import annotations

from msgspec import structs

from iii.engine.callcounts import BOUNDS_S
from iii.modules.observability.hub import Hub
from iii.modules.observability.metricnames import COUNTERS, NAMES
from iii.modules.observability.metrics import shapes
from iii.modules.observability.metrics.figures import DURATION, durations, figures
from iii.modules.observability.metrics.increases import Increases, growth_of, keys_of
from iii.modules.observability.metrics.levels import (
    HIGHEST_COUNT,
    Bucket,
    Histogram,
    Levels,
    Numbers,
)
from iii.modules.observability.metrics.slices import JsonList
from iii.modules.observability.metrics.ticking import Ticker
from iii.modules.observability.metrics.times import NS_PER_MS, too_large
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint

HOUR_MS = 3_600_000
MINUTE_S = 60.0
#: The engine's figures are read so long before a minute is over.
AHEAD_S = 0.5

MAX_ROLLED_NAME_CHARS = 255
MAX_ROLLED_BOUNDS = 256


class Rollups:
    """Keeps and lists roll-ups."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._engine = hub.engine
        self._clock = hub.engine.clock
        self._levels = Levels()
        self._increases = Increases(self._now_ns())
        self._figures = figures(self._engine)
        self._durations = durations(self._engine)
        self._reader = Ticker(self._clock, self._wait_s, self.read_engine)

    def start(self) -> None:
        """Part: listen."""
        self._hub.on_metrics(self.add)
        if self._hub.settings.metrics_enabled:
            self._reader.start()

    def stop(self) -> None:
        """Part: listen no more."""
        self._hub.forget(self.add)
        self._reader.stop()

    # Adding ----------------------------------------------------------------------------

    def add(self, metrics: list[Metric]) -> None:
        """Add what workers sent."""
        now_ns = self._now_ns()
        for metric in metrics:
            if len(metric.name) > MAX_ROLLED_NAME_CHARS:
                self._hub.drop("metrics.not_rolled_up")
            elif metric.type == "histogram":
                self._add_histograms(now_ns, metric)
            else:
                self._add_numbers(now_ns, metric)

    def read_engine(self) -> None:
        """Add what happened in the engine since the last time."""
        now_ns = self._now_ns()
        before, self._figures = self._figures, figures(self._engine)
        for name, field in NAMES.items():
            value = getattr(self._figures, field)
            if name in COUNTERS:
                value -= getattr(before, field)
            self._levels.add(now_ns, name, Numbers(1, value, value, value))
        past, self._durations = self._durations, durations(self._engine)
        pairs = zip(self._durations.buckets, past.buckets, strict=True)
        counts = [now - then for now, then in pairs]
        if any(counts):
            seconds = self._durations.seconds - past.seconds
            histogram = Histogram(sum(counts), seconds, None, None, counts)
            self._levels.add_histogram(now_ns, (DURATION, BOUNDS_S), histogram)

    def _add_numbers(self, now_ns: int, metric: Metric) -> None:
        values = [point.value for point in metric.points if isinstance(point, NumberPoint)]
        if metric.type == "counter" and not metric.delta:
            key, grown = keys_of(metric), self._increases.of_number
            values = [
                grown(key(point.attributes), point)
                for point in metric.points
                if isinstance(point, NumberPoint)
            ]
        if values:
            numbers = Numbers(len(values), sum(values), min(values), max(values))
            if not self._levels.add(now_ns, metric.name, numbers):
                self._hub.drop("metrics.not_rolled_up")

    def _add_histograms(self, now_ns: int, metric: Metric) -> None:
        key = keys_of(metric)
        for sent in metric.points:
            point = _usable(sent)
            if point is None:
                self._hub.drop("metrics.not_rolled_up")
                continue
            if metric.delta:
                growth = growth_of(point)
            else:
                growth = self._increases.of_histogram(key(point.attributes), point)
            low, high = (point.min, point.max) if growth.whole else (None, None)
            histogram = Histogram(growth.count, growth.sum, low, high, growth.bucket_counts)
            bounds = tuple(point.explicit_bounds)
            if not self._levels.add_histogram(now_ns, (metric.name, bounds), histogram):
                self._hub.drop("metrics.not_rolled_up")

    # Listing ---------------------------------------------------------------------------

    async def listed(
        self, asked: shapes.RollupsInput
    ) -> shapes.RollupsList | shapes.RollupsRefused:
        """``engine::rollups::list``."""
        now_ns = self._now_ns()
        end_ms = now_ns // NS_PER_MS if asked.end_time is None else asked.end_time
        start_ms = max(0, end_ms - HOUR_MS) if asked.start_time is None else asked.start_time
        start_ns, end_ns = start_ms * NS_PER_MS, end_ms * NS_PER_MS
        refused = too_large(end_time=end_ns, start_time=start_ns)
        if refused is not None:
            return shapes.RollupsRefused(refused)
        level = asked.level or 0
        self._levels.roll(now_ns)
        numbers, histograms = JsonList(self._clock), JsonList(self._clock)
        for ends_ns, bucket in self._levels.find(level, start_ns, end_ns):
            await numbers.extend(_number_rows(bucket, ends_ns, asked.metric_name))
            await histograms.extend(_histogram_rows(bucket, ends_ns, asked.metric_name))
            # A bucket is work also when hardly anything of it was asked for.
            if numbers.did(len(bucket.numbers) + len(bucket.histograms)):
                await numbers.others_first()
        return shapes.RollupsList(
            numbers.json(),
            histograms.json(),
            level,
            shapes.RollupsQuery(start_ms, end_ms, asked.metric_name),
            self._clock.wall_ms(),
        )

    # Inside ----------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return int(self._clock.wall() * 1e9)

    def _wait_s(self) -> float:
        """Until the next minute is nearly over; a timer that was early waits for the next."""
        wait_s = (MINUTE_S - AHEAD_S - self._clock.wall()) % MINUTE_S
        return wait_s if wait_s >= AHEAD_S else wait_s + MINUTE_S


def _usable(point: NumberPoint | HistogramPoint) -> HistogramPoint | None:
    """A histogram that can be added to others, with one bucket when it has none."""
    if not isinstance(point, HistogramPoint) or len(point.explicit_bounds) > MAX_ROLLED_BOUNDS:
        return None
    if max(point.count, *point.bucket_counts, 0) > HIGHEST_COUNT:
        return None
    if not point.bucket_counts and not point.explicit_bounds:
        return structs.replace(point, bucket_counts=[point.count])
    return point if len(point.bucket_counts) == len(point.explicit_bounds) + 1 else None


def _number_rows(bucket: Bucket, ends_ns: int, name: str | None) -> list[shapes.Aggregated]:
    return [
        shapes.Aggregated(
            metric,
            bucket.start_ns,
            ends_ns,
            numbers.count,
            numbers.sum,
            numbers.min,
            numbers.max,
            numbers.sum / numbers.count,
        )
        for metric, numbers in sorted(bucket.numbers.items())
        if name is None or metric == name
    ]


def _histogram_rows(
    bucket: Bucket, ends_ns: int, name: str | None
) -> list[shapes.AggregatedHistogram]:
    return [
        shapes.AggregatedHistogram(
            metric,
            bucket.start_ns,
            ends_ns,
            histogram.count,
            histogram.sum,
            histogram.min,
            histogram.max,
            histogram.bucket_counts,
            list(bounds),
        )
        for (metric, bounds), histogram in bucket.histograms
        if name is None or metric == name
    ]
