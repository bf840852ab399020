"""What collectors say of requests that they took: perhaps not all of it was.

The OTLP specification calls it a partial success: the request counts as taken and must not
be sent again, but so many items of it were rejected.  With none rejected the text is a
warning.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

import msgspec

Signal = Literal["traces", "metrics", "logs"]

#: What the collector calls its items, and where the SDK has its answers.
_REJECTED: dict[Signal, str] = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}
_ANSWERS: dict[Signal, tuple[str, str]] = {
    "traces": ("trace.v1.trace_service_pb2", "ExportTraceServiceResponse"),
    "metrics": ("metrics.v1.metrics_service_pb2", "ExportMetricsServiceResponse"),
    "logs": ("logs.v1.logs_service_pb2", "ExportLogsServiceResponse"),
}
MAX_REASON_CHARS = 500
#: OTLP's JSON has numbers of 64 bits as text; some write them as numbers.
_Number = int | str


class _PartialSuccess(msgspec.Struct, rename="camel"):
    rejected_spans: _Number = 0
    rejected_data_points: _Number = 0
    rejected_log_records: _Number = 0
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _PartialSuccess | None = None


class Partial(NamedTuple):
    """A request that was taken, but not all of it, or with a warning.

    :ivar rejected: how many spans, data points or log records were not
    :ivar reason: the collector's own words, perhaps none
    """

    rejected: int
    reason: str


def of_message(signal: Signal, answer: Any) -> Partial | None:
    """What an answer in protobuf says; None: everything is well."""
    told = answer.partial_success
    return _partial(getattr(told, _REJECTED[signal]), told.error_message)


def of_response(signal: Signal, content_type: str, body: bytes) -> Partial | None:
    """What the answer to an HTTP request says; None: everything is well.

    A request was taken when its status says so, whatever else the collector answered: what
    is no answer of OTLP says nothing.
    """
    if not body:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-protobuf":
        return _of_protobuf(signal, body)
    return _of_json(signal, body) if kind == "application/json" else None


def _of_protobuf(signal: Signal, body: bytes) -> Partial | None:
    try:
        answer = _class_of(signal).FromString(body)
    except Exception:  # protobuf's own class of errors; the request was taken all the same
        return None
    return of_message(signal, answer)


def _of_json(signal: Signal, body: bytes) -> Partial | None:
    try:
        told = msgspec.json.decode(body, type=_Answer).partial_success
        if told is None:
            return None
        return _partial(int(getattr(told, _REJECTED[signal])), told.error_message)
    except (msgspec.DecodeError, ValueError):
        return None


def _partial(rejected: int, reason: str) -> Partial | None:
    if rejected <= 0 and not reason:
        return None
    return Partial(max(rejected, 0), reason[:MAX_REASON_CHARS])


@cache
def _class_of(signal: Signal) -> Any:
    module, name = _ANSWERS[signal]
    return getattr(import_module(f"opentelemetry.proto.collector.{module}"), name)
