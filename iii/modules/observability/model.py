"""What is recorded: spans, log records, metrics.

These are the engine's own compact forms; how they look to a client is decided where
they are handed out (docs/observability.md).  None of them is in a cycle, and there may be
hundreds of thousands, so the garbage collector is told to leave them alone.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Status = Literal["unset", "ok", "error"]
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Pairs = list[tuple[str, str]]
"""Attributes whose values are text."""

#: ``kind`` of OTLP → ours.
KINDS: tuple[Kind, ...] = ("internal", "internal", "server", "client", "producer", "consumer")
STATUSES: tuple[Status, ...] = ("unset", "ok", "error")

SEVERITIES = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}
"""The text of a severity → its lowest number."""


def severity_text(number: int) -> str:
    """``INFO`` for 9 to 12, and so on; empty for 0 and for what is no severity."""
    if not 1 <= number <= 24:
        return ""
    return ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")[(number - 1) // 4]


class Event(msgspec.Struct, gc=False):
    """Something that happened during a span."""

    name: str
    timestamp_unix_nano: int
    attributes: Pairs


class Link(msgspec.Struct, gc=False):
    """A span of another trace that has to do with this one.

    :ivar flags: as OTLP has them; unset: its sender didn't say
    """

    trace_id: str
    span_id: str
    trace_state: str = ""
    attributes: Pairs = []
    flags: int | UnsetType = UNSET


class Span(msgspec.Struct, gc=False, kw_only=True):
    """One span.  Times are nanoseconds since the epoch.

    :ivar end_ns: 0: it is under way, all that is known is its beginning
    :ivar resource: attributes of whoever sent it; None: the engine's own
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: Kind
    start_ns: int
    end_ns: int
    service_name: str
    status: Status = "unset"
    status_description: str | None = None
    attributes: Pairs = []
    events: list[Event] = []
    links: list[Link] = []
    scope_name: str | None = None
    scope_version: str | None = None
    flags: int | None = None
    trace_state: str | None = None
    resource: dict[str, str] | None = None

    @property
    def pending(self) -> bool:
        """Whether it is still under way."""
        return self.end_ns == 0

    @property
    def duration_ns(self) -> int:
        """How long it took; never negative."""
        return max(0, self.end_ns - self.start_ns)


class LogRecord(msgspec.Struct, gc=False, kw_only=True):
    """One log record.

    :ivar attributes: their values are any JSON
    :ivar resource: of whoever logged
    """

    timestamp_ns: int
    observed_ns: int
    severity_number: int
    severity_text: str
    body: str
    attributes: dict[str, Any] = {}
    trace_id: str | None = None
    span_id: str | None = None
    resource: dict[str, str] = {}
    service_name: str = "unknown"
    scope_name: str | None = None
    scope_version: str | None = None


MetricType = Literal["gauge", "counter", "updowncounter", "histogram"]


class NumberPoint(msgspec.Struct, gc=False):
    """A number at a time."""

    value: float
    attributes: Pairs
    timestamp_ns: int
    start_ns: int = 0


class HistogramPoint(msgspec.Struct, gc=False):
    """A histogram at a time."""

    count: int
    sum: float
    bucket_counts: list[int]
    explicit_bounds: list[float]
    attributes: Pairs
    timestamp_ns: int
    min: float | None = None
    max: float | None = None
    start_ns: int = 0


class Metric(msgspec.Struct, gc=False, kw_only=True):
    """One metric of one frame.

    :ivar received_ns: when the frame came in
    :ivar delta: its points count from the one before, not from the start
    """

    name: str
    type: MetricType
    points: list[NumberPoint] | list[HistogramPoint]
    service_name: str
    received_ns: int
    description: str = ""
    unit: str = ""
    scope_name: str | None = None
    scope_version: str | None = None
    delta: bool = False
    resource: dict[str, str] = {}
