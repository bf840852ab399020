"""Metrics out of frames.

A point that is none (``NaN``, no value, buckets that don't fit their bounds) is left out
of its metric; a metric with no point left is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, TypeVar

import msgspec

from iii.modules.observability.ingest.values import Attributes, Origin, nanoseconds
from iii.modules.observability.ingest.wire import (
    WireHistogramPoint,
    WireMetric,
    WireNumberPoint,
)
from iii.modules.observability.model import HistogramPoint, Metric, MetricType, NumberPoint

W = TypeVar("W", WireNumberPoint, WireHistogramPoint)
P = TypeVar("P", NumberPoint, HistogramPoint)

DELTA = (1, "1", "AGGREGATION_TEMPORALITY_DELTA")
MAX_COUNT = 2**64 - 1

#: Called with each point that was lost, and why.
Lost = Callable[[Origin, Exception], None]

_POINTS: dict[str, type[WireNumberPoint] | type[WireHistogramPoint]] = {
    "gauge": WireNumberPoint,
    "sum": WireNumberPoint,
    "histogram": WireHistogramPoint,
}


class Unsupported(ValueError):
    """A metric of a kind that is not kept."""


class Metrics:
    """Makes metrics.

    :param now_ns: the wall time
    :param lost: told of points
    """

    def __init__(self, attributes: Attributes, now_ns: Callable[[], int], lost: Lost) -> None:
        self._attributes = attributes
        self._now_ns = now_ns
        self._lost = lost

    def make(self, item: WireMetric, origin: Origin) -> Metric | None:
        """One metric; None: it has no points.

        :raises Unsupported: its kind is not kept
        """
        type_: MetricType
        points: list[NumberPoint] | list[HistogramPoint]
        temporality = None
        now_ns = self._now_ns()
        if item.gauge is not None:
            type_ = "gauge"
            points = self._all(self._number, item.gauge.data_points, origin, now_ns)
        elif item.sum is not None:
            type_ = "counter" if item.sum.is_monotonic else "updowncounter"
            temporality = item.sum.aggregation_temporality
            points = self._all(self._number, item.sum.data_points, origin, now_ns)
        elif item.histogram is not None:
            type_ = "histogram"
            temporality = item.histogram.aggregation_temporality
            points = self._all(self._histogram, item.histogram.data_points, origin, now_ns)
        else:
            raise Unsupported(f"metric {item.name} is no gauge, sum or histogram")
        if not points:
            return None
        return Metric(
            name=item.name,
            type=type_,
            points=points,
            service_name=origin.service_name,
            received_ns=now_ns,
            description=item.description or "",
            unit=item.unit or "",
            scope_name=origin.scope_name,
            scope_version=origin.scope_version,
            delta=temporality in DELTA,
            resource=origin.resource,
        )

    def repaired(self, found: Any, origin: Origin) -> WireMetric:
        """The metric in ``found``, decoded JSON, without the points that are none.

        :raises ValueError: there is no metric
        """
        kept: list[tuple[str, list[Any]]] = []
        for kind, type_ in _POINTS.items():
            body = found.get(kind) if isinstance(found, dict) else None
            if isinstance(body, dict) and isinstance(body.get("dataPoints"), list):
                kept.append((kind, self._readable(body["dataPoints"], type_, origin)))
                body["dataPoints"] = []
        metric = msgspec.convert(found, WireMetric)
        for kind, points in kept:
            getattr(metric, kind).data_points = points
        return metric

    # Inside ----------------------------------------------------------------------------

    def _readable(self, points: list[Any], type_: type[Any], origin: Origin) -> list[Any]:
        readable = []
        for point in points:
            try:
                readable.append(msgspec.convert(point, type_))
            except msgspec.MsgspecError as error:
                self._lost(origin, error)
        return readable

    def _all(
        self,
        make: Callable[[W, int], P],
        points: Iterable[W] | None,
        origin: Origin,
        now_ns: int,
    ) -> list[P]:
        made = []
        for point in points or ():
            try:
                made.append(make(point, now_ns))
            except (ValueError, OverflowError) as error:
                self._lost(origin, error)
        return made

    def _number(self, point: WireNumberPoint, now_ns: int) -> NumberPoint:
        said = point.as_double if point.as_double is not None else point.as_int
        if said is None:
            raise ValueError("a point without a value")
        return NumberPoint(
            _finite(said),
            self._attributes.pairs(point.attributes),
            nanoseconds(point.time_unix_nano) or now_ns,
            _started(point.start_time_unix_nano),
        )

    def _histogram(self, point: WireHistogramPoint, now_ns: int) -> HistogramPoint:
        counts = [_count(count) for count in point.bucket_counts or ()]
        bounds = [_finite(bound) for bound in point.explicit_bounds or ()]
        if len(counts) != (len(bounds) + 1 if counts or bounds else 0):
            raise ValueError(f"a histogram with {len(counts)} buckets and {len(bounds)} bounds")
        return HistogramPoint(
            _count(point.count or 0),
            _finite(point.sum or 0),
            counts,
            bounds,
            self._attributes.pairs(point.attributes),
            nanoseconds(point.time_unix_nano) or now_ns,
            None if point.min is None else _finite(point.min),
            None if point.max is None else _finite(point.max),
            _started(point.start_time_unix_nano),
        )


def _started(said: int | str | None) -> int:
    """When a series began; 0: nobody knows.  Gauges of Python's SDKs say ``None`` as text."""
    try:
        return nanoseconds(said)
    except ValueError:
        return 0


def _finite(value: float | str) -> float:
    number = float(value)
    if not isfinite(number):
        raise ValueError(f"{value} is no number to keep")
    return number


def _count(value: int | str) -> int:
    count = int(value)
    if not 0 <= count <= MAX_COUNT:
        raise ValueError(f"{value} is no count")
    return count
