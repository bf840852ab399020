"""OTLP as JSON, as the SDKs of all generations write it (docs/observability.md, "Ingest").

A 64-bit number is a number or its decimal text.  What is absent, null or empty means the
same everywhere, so nearly everything here is optional: what an item must have is checked
where it is turned into the engine's own form.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

HIGHEST_FLAGS = 2**32 - 1
Flags = Annotated[int, Meta(ge=0, le=HIGHEST_FLAGS)]
Integer = int | str | None
Number = float | str | None
"""Text may also be ``NaN``, ``Infinity`` or ``-Infinity``."""


class Wire(Struct, rename="camel", gc=False):
    """Base of everything in a frame."""


class KeyValue(Wire):
    """One attribute."""

    key: str
    value: AnyValue | None = None


class AnyValue(Wire):
    """A value: the one member that is there."""

    string_value: str | None = None
    int_value: Integer = None
    double_value: Number = None
    bool_value: bool | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValues | None = None
    bytes_value: str | None = None


class ArrayValue(Wire):
    """A list."""

    values: list[AnyValue | None] | None = None


class KeyValues(Wire):
    """An object."""

    values: list[KeyValue] | None = None


class Resource(Wire):
    """Who sent it."""

    attributes: list[KeyValue] | None = None


class Scope(Wire):
    """Which library recorded it."""

    name: str | None = None
    version: str | None = None


# Traces --------------------------------------------------------------------------------


class WireEvent(Wire):
    """Something that happened during a span."""

    name: str | None = None
    time_unix_nano: Integer = None
    attributes: list[KeyValue] | None = None


class WireLink(Wire):
    """A span of another trace; no span is lost because its flags are none."""

    trace_id: str
    span_id: str
    trace_state: str | None = None
    attributes: list[KeyValue] | None = None
    flags: Any = None


class WireStatus(Wire):
    """How a span ended."""

    code: Integer = None
    message: str | None = None


class WireSpan(Wire):
    """One span; ``end_time_unix_nano`` 0: it has just begun."""

    trace_id: str
    span_id: str
    name: str
    parent_span_id: str | None = None
    kind: Integer = None
    start_time_unix_nano: Integer = None
    end_time_unix_nano: Integer = None
    attributes: list[KeyValue] | None = None
    events: list[WireEvent] | None = None
    links: list[WireLink] | None = None
    status: WireStatus | None = None
    flags: Flags | None = None
    trace_state: str | None = None


# Metrics -------------------------------------------------------------------------------


class WireNumberPoint(Wire):
    """A point of a gauge or a sum."""

    as_double: Number = None
    as_int: Integer = None
    time_unix_nano: Integer = None
    start_time_unix_nano: Integer = None
    attributes: list[KeyValue] | None = None


class WireHistogramPoint(Wire):
    """A point of a histogram."""

    count: Integer = None
    sum: Number = None
    bucket_counts: list[int | str] | None = None
    explicit_bounds: list[float | str] | None = None
    min: Number = None
    max: Number = None
    time_unix_nano: Integer = None
    start_time_unix_nano: Integer = None
    attributes: list[KeyValue] | None = None


class WireGauge(Wire):
    """A gauge."""

    data_points: list[WireNumberPoint] | None = None


class WireSum(Wire):
    """A counter, which may also go down unless it is monotonic."""

    data_points: list[WireNumberPoint] | None = None
    is_monotonic: bool | None = None
    aggregation_temporality: Integer = None


class WireHistogram(Wire):
    """A histogram."""

    data_points: list[WireHistogramPoint] | None = None
    aggregation_temporality: Integer = None


class WireMetric(Wire):
    """One metric; what has none of the three kinds is of one that is not kept."""

    name: str
    description: str | None = None
    unit: str | None = None
    gauge: WireGauge | None = None
    sum: WireSum | None = None
    histogram: WireHistogram | None = None


# Logs ----------------------------------------------------------------------------------


class WireLog(Wire):
    """One log record."""

    time_unix_nano: Integer = None
    observed_time_unix_nano: Integer = None
    severity_number: Integer = None
    severity_text: str | None = None
    body: AnyValue | None = None
    attributes: list[KeyValue] | None = None
    trace_id: str | None = None
    span_id: str | None = None


# Frames --------------------------------------------------------------------------------


class Keys(Struct, frozen=True):
    """What the lists of a frame are called, from the outermost to the innermost."""

    resources: str
    scopes: str
    items: str


TRACES = Keys("resourceSpans", "scopeSpans", "spans")
METRICS = Keys("resourceMetrics", "scopeMetrics", "metrics")
LOGS = Keys("resourceLogs", "scopeLogs", "logRecords")


def frame_of(keys: Keys, item: type[Struct]) -> Any:
    """The struct of a frame: ``resources``, in them ``scopes``, in them ``items``."""
    items: Any = list[item]  # type: ignore[valid-type]
    scopes: Any = list[_group("scope", Scope, "items", keys.items, items)]  # type: ignore[misc]
    resources: Any = list[  # type: ignore[misc]
        _group("resource", Resource, "scopes", keys.scopes, scopes)
    ]
    name = msgspec.field(name=keys.resources)
    return msgspec.defstruct("Frame", [("resources", resources, name)], gc=False)


def _group(header: str, header_type: Any, inside: str, key: str, inside_type: Any) -> Any:
    """A struct with a header and a list, which is called ``key`` on the wire."""
    fields = [
        (header, header_type | None, None),
        (inside, inside_type | None, msgspec.field(name=key, default=None)),
    ]
    return msgspec.defstruct("Group", fields, gc=False)
