"""``engine::metrics::list``: the engine's figures, and what workers sent.

A range of time means when metrics came in, by the engine's clock: workers' clocks differ,
and everything else about stored metrics goes by it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import UNSET, Raw, UnsetType

from iii.errors import Code, InvocationError
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics import shapes
from iii.modules.observability.metrics.aggregates import Aggregation, performance_of
from iii.modules.observability.metrics.figures import invocations, workers_of
from iii.modules.observability.metrics.slices import JsonList
from iii.modules.observability.metrics.store import MetricStore
from iii.modules.observability.metrics.times import NS_PER_MS, NS_PER_S, ns, too_large
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint

Measure = Callable[[], Awaitable[list[float]]]
"""The durations of all stored spans in milliseconds, the shortest first."""


class Listing:
    """Lists metrics.

    :param durations: asked at every call
    """

    def __init__(self, hub: Hub, store: MetricStore, durations: Measure) -> None:
        self._engine = hub.engine
        self._store = store
        self._durations = durations

    async def listed(
        self, asked: shapes.MetricsInput
    ) -> shapes.MetricsList | shapes.MetricsRefused:
        """``engine::metrics::list``.

        :raises InvocationError: an interval of nothing
        """
        if asked.aggregate_interval == 0:
            message = "aggregate_interval must be at least 1 (second)"
            raise InvocationError(Code.INVALID_AGGREGATE_INTERVAL, message)
        start_ns, end_ns = ns(asked.start_time, NS_PER_MS), ns(asked.end_time, NS_PER_MS)
        interval_ns = ns(asked.aggregate_interval, NS_PER_S)
        refused = too_large(start_time=start_ns, end_time=end_ns, aggregate_interval=interval_ns)
        if refused is not None:
            return shapes.MetricsRefused(refused)
        if start_ns is None or end_ns is None:
            metrics, aggregation = self._store.all(), None
        else:
            metrics = self._store.between(start_ns, end_ns)
            aggregation = None if interval_ns is None else Aggregation(interval_ns)
        if asked.metric_name is not None:
            metrics = [metric for metric in metrics if metric.name == asked.metric_name]
        return shapes.MetricsList(
            engine_metrics=await self._engine_metrics(),
            sdk_metrics=await self._rows(metrics),
            timestamp=self._engine.clock.wall_ms(),
            aggregated_metrics=await self._aggregated(metrics, aggregation),
            query=_query(asked),
        )

    async def _engine_metrics(self) -> shapes.EngineMetrics:
        engine = self._engine
        performance = performance_of(await self._durations())
        return shapes.EngineMetrics(invocations(engine), workers_of(engine), performance)

    async def _rows(self, metrics: list[Metric]) -> Raw:
        rows = JsonList(self._engine.clock)
        for metric in metrics:
            if rows.add(_row(metric), len(metric.points)):
                await rows.others_first()
        return rows.json()

    async def _aggregated(
        self, metrics: list[Metric], aggregation: Aggregation | None
    ) -> Raw | UnsetType:
        if aggregation is None:
            return UNSET
        rows = JsonList(self._engine.clock)
        for metric in metrics:
            for point in metric.points:
                if isinstance(point, NumberPoint):
                    aggregation.add(metric.name, metric.received_ns, point.value)
            if rows.did(len(metric.points)):
                await rows.others_first()
        await rows.extend(aggregation.rows())
        return rows.json() if rows else UNSET


def _query(asked: shapes.MetricsInput) -> shapes.MetricsQuery | UnsetType:
    times = (asked.start_time, asked.end_time, asked.aggregate_interval)
    if times == (None, None, None):
        return UNSET
    return shapes.MetricsQuery(*times, asked.metric_name)


def _row(metric: Metric) -> shapes.MetricRow:
    return shapes.MetricRow(
        metric.name,
        metric.description,
        metric.unit,
        metric.type,
        [_point(point) for point in metric.points],  # type: ignore[arg-type]
        metric.service_name,
        metric.received_ns,
        metric.scope_name or UNSET,
        metric.scope_version or UNSET,
    )


def _point(point: NumberPoint | HistogramPoint) -> shapes.NumberRow | shapes.HistogramRow:
    if isinstance(point, NumberPoint):
        return shapes.NumberRow(point.value, point.attributes, point.timestamp_ns)
    return shapes.HistogramRow(
        point.count,
        point.sum,
        point.bucket_counts,
        point.explicit_bounds,
        point.min,
        point.max,
        point.attributes,
        point.timestamp_ns,
    )
