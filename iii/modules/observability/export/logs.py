"""Log records as OTLP: a JSON document, or the SDK's records.

The resource is that of the service that logged.  A record which came through
``engine::log::*`` has the engine's, but says whose it is (``service_name``): it goes out
under that name, with nothing of the engine's identity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from iii.modules.observability.export.ids import is_id
from iii.modules.observability.model import LogRecord

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

SCOPE = "iii"
#: Attributes nested deeper become JSON text.
MAX_DEPTH = 32
_RECORD_BYTES = 250
_INT64 = range(-(2**63), 2**63)
#: What the engine's resource says that holds for its workers, too.
_SHARED = ("service.namespace", "deployment.environment")

Group = tuple[dict[str, str], str, str | None]
"""Resource, name and version of the scope."""


def weigh_log(record: LogRecord) -> int:
    """About how many bytes a log record takes."""
    weight = _RECORD_BYTES + len(record.body)
    if record.attributes:
        weight += len(msgspec.json.encode(record.attributes))
    return weight


def resource_of(record: LogRecord) -> dict[str, str]:
    """The resource of the service that logged."""
    resource, name = record.resource, record.service_name
    if resource.get("service.name") == name or (name == "unknown" and resource):
        return resource
    if "service.name" not in resource:
        return {**resource, "service.name": name}
    return {
        "service.name": name,
        **{key: resource[key] for key in _SHARED if key in resource},
    }


def as_json(records: list[LogRecord]) -> tuple[bytes, int]:
    """Sender: the ``resourceLogs`` document."""
    services: dict[bytes, tuple[dict[str, str], dict[tuple[str, str | None], list[Any]]]] = {}
    for record in records:
        resource = resource_of(record)
        key = msgspec.json.encode(resource, order="deterministic")
        _, scopes = services.setdefault(key, (resource, {}))
        scope = (record.scope_name or SCOPE, record.scope_version)
        scopes.setdefault(scope, []).append(_record(record))
    document = {
        "resourceLogs": [
            {
                "resource": {"attributes": _pairs(resource, 0)},
                "scopeLogs": [
                    {"scope": _scope(name, version), "logRecords": logs}
                    for (name, version), logs in scopes.items()
                ],
            }
            for resource, scopes in services.values()
        ]
    }
    return msgspec.json.encode(document), 0


def _scope(name: str, version: str | None) -> dict[str, str]:
    return {"name": name} if version is None else {"name": name, "version": version}


def _record(record: LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "timeUnixNano": str(record.timestamp_ns),
        "observedTimeUnixNano": str(record.observed_ns),
        "severityNumber": _severity(record),
        "severityText": record.severity_text,
        "body": {"stringValue": record.body},
        "attributes": _pairs(record.attributes, 0),
    }
    if record.trace_id is not None and is_id(record.trace_id, 32):
        fields["traceId"] = record.trace_id
    if record.span_id is not None and is_id(record.span_id, 16):
        fields["spanId"] = record.span_id
    return fields


def _pairs(values: dict[str, Any], depth: int) -> list[dict[str, Any]]:
    return [{"key": str(key), "value": _value(value, depth)} for key, value in values.items()]


def _value(value: Any, depth: int) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if value is None:
        return {"stringValue": ""}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue" if value in _INT64 else "stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _NOT_FINITE[str(value)]}
    if depth >= MAX_DEPTH or not isinstance(value, dict | list):
        return {"stringValue": msgspec.json.encode(value).decode()}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item, depth + 1) for item in value]}}
    return {"kvlistValue": {"values": _pairs(value, depth + 1)}}


#: How protobuf's JSON writes them.
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class LogWriter:
    """Makes the SDK's log records, for the other protocols."""

    def __init__(self) -> None:
        from opentelemetry._logs import LogRecord as SdkRecord
        from opentelemetry._logs import SeverityNumber
        from opentelemetry.context import Context
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
        from opentelemetry.trace.propagation import set_span_in_context

        self._record = SdkRecord
        self._severity = SeverityNumber
        self._readable = ReadableLogRecord
        self._resource = Resource
        self._scope = InstrumentationScope

        def context(trace_id: int, span_id: int) -> Context:
            ids = SpanContext(trace_id, span_id, False, TraceFlags(0))
            return set_span_in_context(NonRecordingSpan(ids))

        self._context = context

    def prepare(self, records: list[LogRecord]) -> tuple[list[ReadableLogRecord], int]:
        """Sender: what can be sent of them, and how many can't."""
        return [self._write(record) for record in records], 0

    def _write(self, record: LogRecord) -> ReadableLogRecord:
        return self._readable(
            self._record(
                timestamp=record.timestamp_ns,
                observed_timestamp=record.observed_ns,
                context=self._context(_id(record.trace_id, 32), _id(record.span_id, 16)),
                severity_text=record.severity_text,
                severity_number=self._severity(_severity(record)),
                body=record.body,
                attributes=record.attributes,
            ),
            resource=self._resource(resource_of(record)),
            instrumentation_scope=self._scope(record.scope_name or SCOPE, record.scope_version),
        )


def _severity(record: LogRecord) -> int:
    return record.severity_number if 0 <= record.severity_number <= 24 else 0


def _id(text: str | None, digits: int) -> int:
    return int(text, 16) if text is not None and is_id(text, digits) else 0
