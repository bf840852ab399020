"""Log records on the engine's console: what workers log is seen where the engine's log is.

The events are marked ``log_stored``: they are records already, and are not captured again.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger, LogLevel

from iii.logging import DEBUG, ERROR, INFO, TRACE, WARN
from iii.modules.observability.model import LogRecord

_CALLS = Logger(namespace="iii::log")
_WORKERS = Logger(namespace="iii::otel_passthrough")

_LEVELS = {
    ERROR: LogLevel.error,
    WARN: LogLevel.warn,
    INFO: LogLevel.info,
    DEBUG: LogLevel.debug,
    TRACE: LogLevel.debug,
}


def print_call(record: LogRecord, data: Any) -> None:
    """Show what somebody logged with ``engine::log::*``."""
    ids = {"trace_id": record.trace_id, "span_id": record.span_id, "data": data}
    given = {name: value for name, value in ids.items() if value is not None}
    _print(_CALLS, record, given)


def print_workers(record: LogRecord) -> None:
    """Show what a worker sent."""
    _print(_WORKERS, record, {"data": record.attributes} if record.attributes else {})


def _print(log: Logger, record: LogRecord, fields: dict[str, Any]) -> None:
    weight = _weight(record.severity_number)
    log.emit(
        _LEVELS[weight],
        "{log_text}",
        log_text=record.body,
        log_weight=weight,
        log_stored=True,
        service=record.service_name,
        **fields,
    )


def _weight(severity_number: int) -> int:
    if severity_number >= 17:
        return ERROR
    if severity_number >= 13:
        return WARN
    if 1 <= severity_number <= 8:
        return DEBUG if severity_number >= 5 else TRACE
    return INFO  # also what has no severity
