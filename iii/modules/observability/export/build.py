"""Which exporter of the SDK serves which signal over which protocol.

Importing them takes some 0.2 s and 20 MB, so it happens here, when something is to be
exported, and at the start, when nobody waits.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from iii.modules.observability.config import Protocol, Settings
from iii.modules.observability.export.answers import Signal
from iii.modules.observability.export.lane import Sender
from iii.modules.observability.export.links import completion
from iii.modules.observability.export.logs import LogWriter, as_json
from iii.modules.observability.export.metrics import MetricWriter
from iii.modules.observability.export.senders import (
    Complete,
    GrpcSender,
    HttpSender,
    PostSender,
    Prepare,
    grpc_endpoint,
    http_endpoint,
    quiet_grpc,
)
from iii.modules.observability.export.spans import SpanWriter
from iii.modules.observability.model import LogRecord, Metric, Span

#: Of one request; other signals have the SDK's 10 s, or ``OTEL_EXPORTER_OTLP_TIMEOUT``.
LOGS_TIMEOUT_S = 30.0

#: Module, below ``opentelemetry.exporter.otlp.proto.<grpc or http>``, and class.
_EXPORTERS: dict[Signal, tuple[str, str]] = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}


def span_sender(settings: Settings) -> Sender[Span]:
    """For traces."""
    prepare = SpanWriter(settings.resource).prepare
    return _sender(
        "traces", settings, settings.traces_protocol, settings.headers, prepare, completion
    )


def metric_sender(settings: Settings) -> Sender[Metric]:
    """For metrics."""
    prepare = MetricWriter().prepare
    return _sender("metrics", settings, settings.metrics_protocol, settings.headers, prepare)


def log_sender(settings: Settings) -> Sender[LogRecord]:
    """For logs."""
    headers, protocol = settings.logs_headers, settings.logs_protocol
    if protocol == "http/json":
        target = http_endpoint(settings.endpoint, "logs")
        return PostSender("logs", target, as_json, headers, LOGS_TIMEOUT_S)
    prepare = LogWriter().prepare
    return _sender("logs", settings, protocol, headers, prepare, timeout=LOGS_TIMEOUT_S)


def _sender(
    signal: Signal,
    settings: Settings,
    protocol: Protocol,
    headers: dict[str, str],
    prepare: Prepare[Any],
    complete: Complete | None = None,
    **more: Any,
) -> Sender[Any]:
    if protocol == "http/protobuf":
        target = http_endpoint(settings.endpoint, signal)
        over_http = _exporter("http", signal)
        return HttpSender(
            signal,
            target,
            prepare,
            lambda session: over_http(endpoint=target, headers=headers, session=session, **more),
            complete,
        )
    target = grpc_endpoint(settings.endpoint)
    grpc = quiet_grpc()
    over_grpc = _exporter("grpc", signal)
    return GrpcSender(
        signal,
        target,
        prepare,
        over_grpc(
            endpoint=target,
            insecure=target.startswith("http://"),
            # Names of gRPC metadata are lower case.
            headers={name.lower(): value for name, value in headers.items()},
            # The lane retries; no code at all would mean the usual ones.
            retryable_error_codes=[grpc.StatusCode.OK],
            **more,
        ),
        grpc.StatusCode,
        complete,
    )


def _exporter(transport: Literal["grpc", "http"], signal: Signal) -> Any:
    module, name = _EXPORTERS[signal]
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{transport}.{module}"), name)
