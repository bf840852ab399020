"""What the functions about metrics take and give.

Times in inputs are milliseconds; what ends in ``_nano`` or ``_ns`` is nanoseconds.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from iii.modules.observability.model import Pairs

Unsigned = Annotated[int, Meta(ge=0)]
MAX_SILENCE_S = 30 * 24 * 3600


class MetricsInput(Struct):
    """``engine::metrics::list``; ``aggregate_interval`` in seconds."""

    start_time: Unsigned | None = None
    end_time: Unsigned | None = None
    metric_name: str | None = None
    aggregate_interval: Unsigned | None = None


class RollupsInput(Struct):
    """``engine::rollups::list``."""

    start_time: Unsigned | None = None
    end_time: Unsigned | None = None
    level: Unsigned | None = None
    metric_name: str | None = None


# Stored metrics ------------------------------------------------------------------------


class NumberRow(Struct, gc=False):
    """A number."""

    value: float
    attributes: Pairs
    timestamp_unix_nano: int


class HistogramRow(Struct, gc=False):
    """A histogram."""

    count: int
    sum: float
    bucket_counts: list[int]
    explicit_bounds: list[float]
    min: float | None
    max: float | None
    attributes: Pairs
    timestamp_unix_nano: int


class MetricRow(Struct, gc=False):
    """One metric of one frame."""

    name: str
    description: str
    unit: str
    metric_type: str
    data_points: list[NumberRow] | list[HistogramRow]
    service_name: str
    timestamp_unix_nano: int
    instrumentation_scope_name: str | UnsetType = UNSET
    instrumentation_scope_version: str | UnsetType = UNSET


# Sums over time ------------------------------------------------------------------------


class Percentiles(Struct):
    """Of the values in one bucket."""

    p50: float
    p75: float
    p90: float
    p95: float
    p99: float


class Aggregated(Struct):
    """The values of one metric in one bucket; percentiles when they are known."""

    name: str
    bucket_start_ns: int
    bucket_end_ns: int
    count: int
    sum: float
    min: float
    max: float
    avg: float
    percentiles: Percentiles | UnsetType = UNSET


class AggregatedHistogram(Struct):
    """The histograms of one metric in one bucket."""

    name: str
    bucket_start_ns: int
    bucket_end_ns: int
    total_count: int
    total_sum: float
    min: float | None
    max: float | None
    bucket_counts: list[int]
    explicit_bounds: list[float]


# The engine's own ----------------------------------------------------------------------


class Invocations(Struct):
    """Calls since the start.

    :ivar total: each call once
    :ivar deferred: those that went to a worker
    """

    total: int
    success: int
    error: int
    deferred: int
    by_function: dict[str, int]


class WorkerCounts(Struct):
    """Workers since the start, and those that are connected."""

    spawns: int
    deaths: int
    active: int


class Performance(Struct):
    """How long calls took, in milliseconds."""

    avg_duration_ms: float = 0.0
    p50_duration_ms: float = 0.0
    p95_duration_ms: float = 0.0
    p99_duration_ms: float = 0.0
    min_duration_ms: float = 0.0
    max_duration_ms: float = 0.0


class EngineMetrics(Struct):
    """What the engine knows of itself."""

    invocations: Invocations
    workers: WorkerCounts
    performance: Performance


class MetricsQuery(Struct):
    """What was asked for."""

    start_time: int | None
    end_time: int | None
    aggregate_interval: int | None
    metric_name: str | None


class MetricsList(Struct):
    """The answer of ``engine::metrics::list``.

    :ivar sdk_metrics: a list of ``MetricRow``
    :ivar aggregated_metrics: a list of ``Aggregated``
    """

    engine_metrics: EngineMetrics
    sdk_metrics: Raw
    timestamp: int
    aggregated_metrics: Raw | UnsetType = UNSET
    query: MetricsQuery | UnsetType = UNSET


class MetricsRefused(Struct):
    """Its answer to times that are none."""

    error: str
    sdk_metrics: list[MetricRow] = []
    aggregated_metrics: list[Aggregated] = []


class RollupsQuery(Struct):
    """The range that was looked at."""

    start_time: int
    end_time: int
    metric_name: str | None


class RollupsList(Struct):
    """The answer of ``engine::rollups::list``.

    :ivar rollups: a list of ``Aggregated``
    :ivar histogram_rollups: a list of ``AggregatedHistogram``
    """

    rollups: Raw
    histogram_rollups: Raw
    level: int
    query: RollupsQuery
    timestamp: int


class RollupsRefused(Struct):
    """Its answer to times that are none."""

    error: str
    rollups: list[Aggregated] = []
    histogram_rollups: list[AggregatedHistogram] = []


# Settings and health -------------------------------------------------------------------


class SamplingRuleRow(Struct):
    """A rule; null matches everything."""

    operation: str | None
    service: str | None
    rate: float


class TraceSampling(Struct):
    """How new traces are chosen."""

    default_ratio: float
    rules: list[SamplingRuleRow]
    parent_based: bool


class LogSampling(Struct):
    """How log records are chosen."""

    sampling_ratio: float


class SamplingRules(Struct):
    """The answer of ``engine::sampling::rules``."""

    traces: TraceSampling
    logs: LogSampling
    timestamp: int


class Component(Struct):
    """``healthy`` or ``disabled``."""

    status: str
    details: dict[str, Any] | None = None


class Health(Struct):
    """The answer of ``engine::health::check``."""

    status: str
    components: dict[str, Component]
    timestamp: int
    version: str


# Alerts --------------------------------------------------------------------------------


class AlertRow(Struct):
    """The state of an alert; times in milliseconds.

    :ivar silenced_until: it does not act before then
    """

    name: str
    firing: bool
    last_evaluated: int
    last_triggered: int | None
    current_value: float | None
    threshold: float
    operator: str
    silenced_until: int | UnsetType = UNSET


class AlertRuleRow(Struct):
    """A rule as it was understood; ``action`` without its address."""

    name: str
    metric: str
    operator: str
    threshold: float
    window_seconds: int
    cooldown_seconds: int
    enabled: bool
    mode: str
    resolve: bool
    action: str


class AlertsList(Struct):
    """The answer of ``engine::alerts::list``."""

    alerts: list[AlertRow]
    firing_count: int
    timestamp: int
    message: str | UnsetType = UNSET
    rules: list[AlertRuleRow] | UnsetType = UNSET


class SilenceInput(Struct):
    """``engine::alerts::silence``; 0 seconds: not any more."""

    name: str
    seconds: Annotated[float, Meta(ge=0, le=MAX_SILENCE_S)]


class Silenced(Struct):
    """The answer; ``silenced_until`` in milliseconds, None: it is not silent."""

    name: str
    silenced_until: int | None


class TriggeredAlert(Struct):
    """An alert whose action runs now."""

    name: str
    metric: str
    value: float
    threshold: float
    operator: str
    firing: bool
    timestamp: int


class AlertsEvaluated(Struct):
    """The answer of ``engine::alerts::evaluate``."""

    evaluated: bool
    timestamp: int
    triggered_alerts: list[TriggeredAlert] | UnsetType = UNSET
    message: str | UnsetType = UNSET
