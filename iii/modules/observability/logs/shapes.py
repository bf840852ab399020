"""What the functions about logs take, and how a record looks to a client."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from iii.modules.observability.model import LogRecord

Unsigned = Annotated[int, Meta(ge=0)]


class LogInput(Struct):
    """``engine::log::*``."""

    message: str
    data: Any = None
    trace_id: str | None = None
    span_id: str | None = None
    service_name: str | None = None


class ListInput(Struct):
    """``engine::logs::list``.  Times are milliseconds since the epoch."""

    start_time: Unsigned | None = None
    end_time: Unsigned | None = None
    trace_id: str | None = None
    span_id: str | None = None
    severity_min: int | None = None
    severity_text: str | None = None
    offset: Unsigned | None = None
    limit: Unsigned | None = None


class LogRow(Struct):
    """A record as clients see it.  Lists leave an absent scope out, events say null."""

    timestamp_unix_nano: int
    observed_timestamp_unix_nano: int
    severity_number: int
    severity_text: str
    body: str
    attributes: dict[str, Any]
    trace_id: str | None
    span_id: str | None
    resource: dict[str, str]
    service_name: str
    instrumentation_scope_name: str | UnsetType | None
    instrumentation_scope_version: str | UnsetType | None


def listed(record: LogRecord) -> LogRow:
    """``record`` as lists show it."""
    return _row(record, UNSET)


def told(record: LogRecord) -> LogRow:
    """``record`` as ``log`` triggers get it."""
    return _row(record, None)


def _row(record: LogRecord, absent: UnsetType | None) -> LogRow:
    name, version = record.scope_name, record.scope_version
    return LogRow(
        record.timestamp_ns,
        record.observed_ns,
        record.severity_number,
        record.severity_text,
        record.body,
        record.attributes,
        record.trace_id,
        record.span_id,
        record.resource,
        record.service_name,
        absent if name is None else name,
        absent if version is None else version,
    )
