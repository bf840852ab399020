"""What workers measured: the latest point of each label set.

Cumulative points replace the one before, delta points add up.  A series that got no
point for ``EXPIRY_S`` is gone; a metric may have ``MAX_LABEL_SETS`` series and all of
them together ``MAX_SERIES_BYTES``: what is beyond goes into one series of the metric
whose labels say ``__other__``.  That one can't be the sum, which would take remembering
what each of the others said last: it shows the last value of gauges, the highest of
cumulative counters (so it never goes back) and the sum of deltas.

The gauges of worker processes (05 A9.1) get the names and labels of the engine's own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

from twisted.logger import Logger

from iii.engine.callcounts import OTHER
from iii.engine.instruments import Kind
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import HistogramPoint, Metric, MetricType, NumberPoint, Pairs
from iii.modules.observability.prometheus.figures import (
    MAX_LABEL_SETS,
    Distribution,
    Figure,
    Labels,
    Row,
    Value,
    added,
)
from iii.modules.observability.prometheus.names import (
    help_text,
    label_name,
    label_value,
    metric_name,
)

log = Logger()

EXPIRY_S = 300.0
MAX_SERIES_BYTES = 16 * 1024 * 1024
#: Attributes of a point beyond these are left out.
MAX_LABELS = 64
#: Histograms with more bounds are left out.
MAX_BOUNDS = 200

_SERIES_BYTES = 600
_BUCKET_BYTES = 64
_PURGE_S = 60.0


class WorkerGauge(NamedTuple):
    """How a gauge of a worker's process is shown.

    :ivar factor: from the unit of the SDK to ours
    """

    names: tuple[str, ...]
    help: str
    factor: float = 1.0


_HEAP = WorkerGauge(("iii_worker_memory_heap_bytes",), "Heap in use of the worker's process.")
_RSS = WorkerGauge(("iii_worker_memory_rss_bytes",), "Resident memory of the worker's process.")
_LAG = WorkerGauge(
    ("iii_worker_event_loop_lag_ms", "iii_worker_event_loop_lag_milliseconds"),
    "How late the worker's event loop is.",
)
_UPTIME = WorkerGauge(("iii_worker_uptime_seconds",), "How long the worker's process runs.")

#: What SDKs send → what is shown; the names of 05 A9 are taken, too.
WORKER_GAUGES = {
    "iii.worker.memory.heap_used": _HEAP,
    "iii.worker.memory.heap.bytes": _HEAP,
    "iii.worker.memory.rss": _RSS,
    "iii.worker.memory.rss.bytes": _RSS,
    "iii.worker.memory.heap_total": WorkerGauge(
        ("iii_worker_memory_heap_size_bytes",), "Size of the heap of the worker's process."
    ),
    "iii.worker.memory.external": WorkerGauge(
        ("iii_worker_memory_external_bytes",), "Memory outside the heap of the worker's process."
    ),
    "iii.worker.cpu.percent": WorkerGauge(
        ("iii_worker_cpu_percent",), "Processor use of the worker's process."
    ),
    "iii.worker.cpu.user_micros": WorkerGauge(
        ("iii_worker_cpu_user_seconds",), "Processor time of the worker's own code.", 1e-6
    ),
    "iii.worker.cpu.system_micros": WorkerGauge(
        ("iii_worker_cpu_system_seconds",), "Processor time spent for it by the system.", 1e-6
    ),
    "iii.worker.event_loop.lag_ms": _LAG,
    "iii.worker.event_loop.lag.ms": _LAG,
    "iii.worker.uptime_seconds": _UPTIME,
    "iii.worker.uptime.seconds": _UPTIME,
}

_KINDS: dict[MetricType, Kind] = {
    "gauge": "gauge",
    "updowncounter": "gauge",
    "counter": "counter",
    "histogram": "histogram",
}

_Key = tuple[tuple[str, str], ...]
_OTHER_KEY: _Key = ()


class _Series:
    __slots__ = ("bytes", "labels", "seen", "value")

    def __init__(self, labels: Labels, value: Value, bytes: int) -> None:
        self.labels = labels
        self.value = value
        self.bytes = bytes
        self.seen = 0.0


class _Family:
    def __init__(self, kind: Kind, help: str) -> None:
        self.kind: Kind = kind
        self.help = help
        #: the one that got its last point longest ago comes first
        self.series: dict[_Key, _Series] = {}


class SdkSeries:
    """Keeps them.  ``hub.on_metrics(series.add)`` fills it.

    :ivar bytes: about as much as all series need
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._now = hub.engine.clock.monotonic
        self._families: dict[str, _Family] = {}
        self._purged = self._now()
        self._told: set[str] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return sum(len(family.series) for family in self._families.values())

    # Adding ----------------------------------------------------------------------------

    def add(self, metrics: list[Metric]) -> None:
        """Workers sent these."""
        if self._now() - self._purged >= _PURGE_S:
            self._purge()
        for metric in metrics:
            gauge = WORKER_GAUGES.get(metric.name)
            if gauge is None:
                self._add_metric(metric)
            else:
                self._add_worker_gauge(gauge, metric)

    def _add_metric(self, metric: Metric) -> None:
        kind = _KINDS[metric.type]
        name = metric_name(metric.name)
        if kind == "counter":
            name = name.removesuffix("_total") + "_total"
        help = help_text(metric.description or metric.name)
        points: list[NumberPoint | HistogramPoint] = [*metric.points]
        for point in sorted(points, key=lambda point: point.timestamp_ns):
            self._put(name, kind, help, _labels(metric, point.attributes), metric, point)

    def _add_worker_gauge(self, gauge: WorkerGauge, metric: Metric) -> None:
        for point in metric.points:
            if isinstance(point, HistogramPoint):
                self._lost("unusable_point", metric.name)
                continue
            said = dict(point.attributes)
            labels = {
                "worker_id": label_value(said.get("worker.id", "")),
                "worker_name": label_value(said.get("worker.name", "")),
            }
            scaled = NumberPoint(point.value * gauge.factor, [], point.timestamp_ns)
            for name in gauge.names:
                self._put(name, "gauge", gauge.help, labels, metric, scaled)

    def _put(
        self,
        name: str,
        kind: Kind,
        help: str,
        labels: Labels,
        metric: Metric,
        point: NumberPoint | HistogramPoint,
    ) -> None:
        value = _value(kind, point)
        if value is None:
            self._lost("unusable_point", metric.name)
            return
        family = self._families.get(name)
        if family is None:
            family = _Family(kind, help)
        elif family.kind != kind:
            self._lost("two_kinds", metric.name)
            return
        key: _Key = tuple(sorted(labels.items()))
        series = family.series.get(key)
        if series is not None and not _alike(series.value, value):
            self._remove(family, key)  # with other bounds it is another histogram
            series = None
        if series is None:
            series, key = self._new(name, family, labels, key, value)
        if series is None:
            self._lost("full", metric.name)
            return
        if metric.delta and metric.type != "gauge":
            series.value = added(series.value, value)
        elif key != _OTHER_KEY or kind == "gauge" or _exceeds(value, series.value):
            series.value = value
        series.seen = self._now()
        family.series.pop(key, None)
        family.series[key] = series

    def _new(
        self, name: str, family: _Family, labels: Labels, key: _Key, value: Value
    ) -> tuple[_Series | None, _Key]:
        """A series for ``labels``, or the one for all others when there is no room."""
        full = len(family.series) >= MAX_LABEL_SETS
        needed = _bytes_of(labels, value)
        if full or self.bytes + needed > MAX_SERIES_BYTES:
            other = family.series.get(_OTHER_KEY)
            if other is not None:
                return other, _OTHER_KEY
            if not family.series:
                return None, key
            # Each metric gets it once, so that it needn't fit.
            labels, key = dict.fromkeys(labels, OTHER), _OTHER_KEY
            needed = _bytes_of(labels, value)
        series = _Series(labels, _nothing(value), needed)
        self._families[name] = family
        self.bytes += needed
        return series, key

    def _lost(self, why: str, name: str) -> None:
        self._hub.drop(f"prometheus.{why}")
        if why not in self._told:
            self._told.add(why)
            log.warn(
                "prometheus: a point of {metric} is not shown: {why} "
                "(told once; iii_telemetry_dropped_total counts)",
                metric=name[:100],
                why=_REASONS[why],
            )

    # Reading ---------------------------------------------------------------------------

    def figures(self) -> Iterator[Figure]:
        """What is not too old."""
        self._purge()
        for name, family in list(self._families.items()):
            yield Figure(name, family.kind, family.help, _rows(list(family.series.values())))

    def _purge(self) -> None:
        self._purged = now = self._now()
        for name, family in list(self._families.items()):
            old: list[_Key] = []
            for key, series in family.series.items():
                if now - series.seen < EXPIRY_S:
                    break
                old.append(key)
            for key in old:
                self._remove(family, key)
            if not family.series:
                del self._families[name]

    def _remove(self, family: _Family, key: _Key) -> None:
        self.bytes -= family.series.pop(key).bytes


_REASONS = {
    "unusable_point": "it has no usable value, or its buckets and bounds don't fit",
    "two_kinds": "another kind of metric has this name",
    "full": f"the series of workers have {MAX_SERIES_BYTES} bytes",
}


def _labels(metric: Metric, attributes: Pairs) -> Labels:
    labels: Labels = {}
    for name, value in sorted(attributes)[:MAX_LABELS]:
        label = label_name(name)
        # Names that became equal share a label, as OpenTelemetry has it.
        labels[label] = label_value(f"{labels[label]};{value}" if label in labels else value)
    labels["service_name"] = label_value(metric.service_name)
    instance = metric.resource.get("service.instance.id")
    if instance:  # else the counters of two processes would take turns
        labels["service_instance_id"] = label_value(instance)
    return labels


def _value(kind: Kind, point: NumberPoint | HistogramPoint) -> Value | None:
    """None: nobody could make sense of it."""
    if isinstance(point, NumberPoint):
        sensible = isfinite(point.value) and (kind != "counter" or point.value >= 0)
        return point.value if sensible and kind != "histogram" else None
    if kind != "histogram":
        return None
    bounds, buckets = point.explicit_bounds, point.bucket_counts or [point.count]
    sensible = (
        isfinite(point.sum)
        and len(buckets) == len(bounds) + 1 <= MAX_BOUNDS + 1
        and all(isfinite(bound) for bound in bounds)
        and all(low < high for low, high in pairwise(bounds))
        and min(buckets) >= 0
    )
    return Distribution(tuple(bounds), buckets, point.sum) if sensible else None


def _nothing(value: Value) -> Value:
    if isinstance(value, Distribution):
        return Distribution(value.bounds, [0] * len(value.buckets), 0.0)
    return 0.0


def _alike(one: Value, another: Value) -> bool:
    if isinstance(one, Distribution) and isinstance(another, Distribution):
        return one.bounds == another.bounds
    return True


def _exceeds(one: Value, another: Value) -> bool:
    return _alike(one, another) and _size(one) > _size(another)


def _size(value: Value) -> float:
    return sum(value.buckets) if isinstance(value, Distribution) else value


def _bytes_of(labels: Labels, value: Value) -> int:
    texts = sum(sys.getsizeof(name) + sys.getsizeof(text) for name, text in labels.items())
    buckets = len(value.buckets) if isinstance(value, Distribution) else 0
    return _SERIES_BYTES + texts + _BUCKET_BYTES * buckets


def _rows(series: Iterable[_Series]) -> Iterator[Row]:
    return ((one.labels, one.value) for one in series)
