"""Metrics as the SDK's exporters take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint, Pairs

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

_METRIC_BYTES = 250
_POINT_BYTES = 120
_PAIR_BYTES = 12

ScopeKey = tuple[str | None, str | None]
ResourceKey = tuple[tuple[str, str], ...]


def weigh_metric(metric: Metric) -> int:
    """About how many bytes a metric takes."""
    weight = _METRIC_BYTES + len(metric.name) + len(metric.description)
    for point in metric.points:
        weight += _POINT_BYTES + _weigh(point.attributes)
        if isinstance(point, HistogramPoint):
            weight += 16 * len(point.bucket_counts)
    return weight


def _weigh(attributes: Pairs) -> int:
    return sum(len(key) + len(value) + _PAIR_BYTES for key, value in attributes)


class MetricWriter:
    """Makes the SDK's metrics."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import export
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._export = export
        self._resource = Resource
        self._scope = InstrumentationScope

    def prepare(self, metrics: list[Metric]) -> tuple[MetricsData, int]:
        """Sender: all of them, by who sent them."""
        # The SDK's encoder wants every resource once.
        resources: dict[ResourceKey, dict[ScopeKey, list[Any]]] = {}
        for metric in metrics:
            scopes = resources.setdefault(tuple(sorted(metric.resource.items())), {})
            scope = (metric.scope_name, metric.scope_version)
            scopes.setdefault(scope, []).append(self._metric(metric))
        export = self._export
        written = [
            export.ResourceMetrics(
                resource=self._resource(dict(resource)),
                scope_metrics=[
                    export.ScopeMetrics(
                        scope=self._scope(name or "", version), metrics=some, schema_url=""
                    )
                    for (name, version), some in scopes.items()
                ],
                schema_url="",
            )
            for resource, scopes in resources.items()
        ]
        return export.MetricsData(resource_metrics=written), 0

    def _metric(self, metric: Metric) -> Any:
        return self._export.Metric(
            name=metric.name,
            description=metric.description,
            unit=metric.unit,
            data=self._data(metric),
        )

    def _data(self, metric: Metric) -> Any:
        export = self._export
        temporality = export.AggregationTemporality
        kind = temporality.DELTA if metric.delta else temporality.CUMULATIVE
        points = [self._point(point) for point in metric.points]
        if metric.type == "gauge":
            return export.Gauge(data_points=points)
        if metric.type == "histogram":
            return export.Histogram(data_points=points, aggregation_temporality=kind)
        return export.Sum(
            data_points=points,
            aggregation_temporality=kind,
            is_monotonic=metric.type == "counter",
        )

    def _point(self, point: NumberPoint | HistogramPoint) -> Any:
        attributes = dict(point.attributes)
        if isinstance(point, NumberPoint):
            return self._export.NumberDataPoint(
                attributes=attributes,
                start_time_unix_nano=point.start_ns,
                time_unix_nano=point.timestamp_ns,
                value=point.value,
            )
        lowest: Any = point.min  # None is well for the encoder
        highest: Any = point.max
        return self._export.HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=point.start_ns,
            time_unix_nano=point.timestamp_ns,
            count=point.count,
            sum=point.sum,
            bucket_counts=point.bucket_counts,
            explicit_bounds=point.explicit_bounds,
            min=lowest,
            max=highest,
        )
