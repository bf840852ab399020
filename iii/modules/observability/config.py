"""The keys of ``iii-observability``, and what holds when they are absent.

Each value is the configuration's, or else that of an environment variable, or else the
default (docs/observability.md, "Settings").  Environment variables that make no sense
are told in the log and count as absent; a wrong value in a file stops the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta
from twisted.logger import Logger

from iii._version import __version__
from iii.checking import Fault, Kind, nearest
from iii.engine.ids import uuid4_text
from iii.logging import LEVELS, Levels
from iii.modules.observability.metricnames import ENGINE_NAMES, misspelt
from iii.modules.observability.operators import operator_called
from iii.tls import Tls

log = Logger()
T = TypeVar("T")

MIB = 1024 * 1024
DEFAULT_ENDPOINT = "http://localhost:4317"
DEFAULT_PROMETHEUS_PORT = 9464
BATCH_SIZES = range(1, 10_001)
DEFAULT_BATCH_SIZE = 100
FLUSH_INTERVALS_MS = range(100, 3_600_001)
DEFAULT_FLUSH_INTERVAL_MS = 5_000
FORMATS = ("default", "json")

#: Keys of numbers that are not refused when they are out of range, and what is used then.
_RANGES = (
    ("logs_batch_size", BATCH_SIZES, DEFAULT_BATCH_SIZE),
    ("logs_flush_interval_ms", FLUSH_INTERVALS_MS, DEFAULT_FLUSH_INTERVAL_MS),
)

Exporter = Literal["memory", "otlp", "both"]
MetricsExporter = Literal["memory", "otlp", "both", "prometheus"]
Protocol = Literal["grpc", "http/protobuf"]
LogsProtocol = Literal["http/json", "http/protobuf", "grpc"]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]

#: What is never stored or exported of attributes, whatever their case.
REDACTED = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "api_key",
    "access_token",
    "refresh_token",
    "password",
    "secret",
    "credential",
)


class SamplingRule(msgspec.Struct, frozen=True):
    """One of ``sampling.rules``; absent patterns match everything."""

    rate: Ratio
    operation: str | None = None
    service: str | None = None


class RateLimit(msgspec.Struct, frozen=True):
    """``sampling.rate_limit``."""

    max_traces_per_second: Annotated[int, Meta(ge=1)]


class Sampling(msgspec.Struct, frozen=True):
    """``sampling``."""

    default: Ratio | None = None
    parent_based: bool | None = None
    rules: list[SamplingRule] = []
    rate_limit: RateLimit | None = None


class TraceStorage(msgspec.Struct, frozen=True):
    """``trace_storage``, also ``persist: true``: traces on disk.

    :ivar memory_low_watermark_ratio: accepted, without effect: memory lets go of whole
        segments at its bounds
    """

    enabled: bool = True
    directory: str = "./data/observability/traces"
    max_disk_bytes: Annotated[int, Meta(ge=64 * MIB)] = 1024 * MIB
    retention_seconds: Count = 30 * 24 * 3600
    memory_max_bytes: Annotated[int, Meta(ge=16 * MIB)] = 64 * MIB
    memory_low_watermark_ratio: Annotated[float, Meta(ge=0.5, le=0.95)] = 0.75
    pending_max_age_seconds: Count = 3600


class CollapseRule(msgspec.Struct, frozen=True):
    """One of ``collapse_spans``."""

    name: str
    service: str | None = None


class AlertAction(msgspec.Struct, frozen=True):
    """``action`` of an alert."""

    type: Literal["log", "webhook", "function"] = "log"
    url: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        """What the action needs is there.

        :raises ValueError: it isn't
        """
        if self.type == "webhook" and not _is_web(self.url or ""):
            said = "" if self.url is None else f", not {self.url!r}"
            raise ValueError(f"a webhook needs a url, http:// or https://{said}")
        if self.type == "function" and not self.path:
            raise ValueError("a function needs a path, which is its id")


class AlertRule(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``alerts``.

    :ivar mode: ``delta``: counters count within the window instead of since the start
    :ivar resolve: an event is sent also when the alert stops firing
    """

    name: str
    metric: str
    threshold: float
    operator: str = ">"
    window_seconds: Count = 60
    cooldown_seconds: Count = 60
    enabled: bool = True
    action: AlertAction = AlertAction()
    mode: Literal["total", "delta"] = "total"
    resolve: bool = False

    def __post_init__(self) -> None:
        """The operator is one.

        :raises ValueError: it isn't
        """
        try:
            operator_called(self.operator)
        except ValueError as error:
            raise ValueError(f"alert {self.name!r}: {error}") from error


class ObservabilityConfig(msgspec.Struct, frozen=True):
    """``config:`` of ``iii-observability``; None: the key is absent."""

    strict_keys: ClassVar[tuple[str, ...]] = ("tls",)

    enabled: bool | None = None
    level: str | None = None
    log_level: str | None = None
    format: str = "default"
    host: str | None = None
    tls: Tls | None = None

    service_name: str | None = None
    service_version: str | None = None
    service_namespace: str | None = None
    service_instance_id: str | None = None
    exporter: Exporter | None = None
    endpoint: str | None = None
    sampling_ratio: Ratio | None = None
    sampling: Sampling | None = None
    memory_max_spans: Count | None = None
    memory_max_bytes: Annotated[int, Meta(ge=MIB)] | None = None
    live_spans: bool | None = None
    collapse_spans: list[CollapseRule] | None = None
    persist: bool | None = None
    trace_storage: TraceStorage | None = None
    redact: list[str] | None = None

    metrics_enabled: bool | None = None
    metrics_exporter: MetricsExporter | None = None
    metrics_retention_seconds: Count | None = None
    metrics_max_count: Count | None = None
    prometheus_port: Port | Literal["any"] | None = None
    worker_metrics: dict[str, Any] | None = None

    logs_enabled: bool | None = None
    logs_exporter: Exporter | None = None
    logs_max_count: Count | None = None
    logs_retention_seconds: Count | None = None
    logs_batch_size: int | None = None
    logs_flush_interval_ms: int | None = None
    logs_sampling_ratio: Ratio | None = None
    logs_console_output: bool | None = None

    alerts: list[AlertRule] = []

    @property
    def directives(self) -> str | None:
        """``level``, or its older name."""
        return self.level if self.level is not None else self.log_level

    def faults(self) -> Iterator[Fault]:
        """Values that nobody knows or that are out of range, and what holds instead."""
        key = "log_level" if self.level is None else "level"
        for directive in Levels(self.directives or "").faults:
            meant = nearest(directive.rpartition("=")[2].strip(), LEVELS)
            yield Fault(f"'{directive}' is no level and is skipped{meant}", (key,), Kind.UNKNOWN)
        if self.format.lower() not in FORMATS:
            meant = nearest(self.format, FORMATS)
            text = f"'{self.format}' is no format, default is used{meant}"
            yield Fault(text, ("format",), Kind.UNKNOWN)
        for index, rule in enumerate(self.alerts):
            if misspelt(rule.metric):
                meant = nearest(rule.metric, ENGINE_NAMES)
                text = f"the engine has no metric '{rule.metric}'{meant}"
                yield Fault(text, ("alerts", index, "metric"), Kind.UNKNOWN)
        for key, legal, default in _RANGES:
            value = getattr(self, key)
            if value is not None and value not in legal:
                text = f"{value} is {_outside(legal, default)}"
                yield Fault(text, (key,), Kind.WARNING)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds: every key with its value.

    :ivar traced: whether spans of the engine and the SDKs are recorded
    :ivar memory_max_bytes: of spans kept in memory
    :ivar prometheus_port: 0: none; ``any``: a free one
    :ivar redact: attribute keys whose values are never stored, lower case
    """

    traced: bool
    host: str | None
    tls: Tls | None
    service_name: str
    service_version: str
    service_namespace: str | None
    service_instance_id: str
    exporter: Exporter
    endpoint: str
    traces_protocol: Protocol
    metrics_protocol: Protocol
    logs_protocol: LogsProtocol
    headers: dict[str, str]
    logs_headers: dict[str, str]
    sampling_ratio: float
    sampling: Sampling
    memory_max_spans: int
    memory_max_bytes: int
    live_spans: bool
    collapse_spans: list[CollapseRule]
    trace_storage: TraceStorage | None
    redact: frozenset[str]
    metrics_enabled: bool
    metrics_exporter: MetricsExporter
    metrics_retention_s: int
    metrics_max_count: int
    prometheus_port: int | Literal["any"]
    logs_enabled: bool
    logs_exporter: Exporter
    logs_max_count: int
    logs_retention_s: int
    logs_batch_size: int
    logs_flush_interval_ms: int
    logs_sampling_ratio: float
    logs_console_output: bool
    alerts: list[AlertRule]
    directives: str | None

    @property
    def resource(self) -> dict[str, str]:
        """The engine's own resource attributes."""
        attributes = {
            "service.name": self.service_name,
            "service.version": self.service_version,
            "service.instance.id": self.service_instance_id,
        }
        if self.service_namespace:
            attributes["service.namespace"] = self.service_namespace
        return attributes


def settings_of(config: ObservabilityConfig, environ: Mapping[str, str]) -> Settings:
    """``config`` completed from the environment and with the defaults."""
    env = _Environment(environ)
    memory: Exporter = "memory"
    in_memory: MetricsExporter = "memory"
    grpc: Protocol = "grpc"
    json: LogsProtocol = "http/json"
    exporter = _or(config.exporter, env.read("OTEL_EXPORTER_TYPE", _traces_exporter, memory))
    protocol = env.read("OTEL_EXPORTER_OTLP_PROTOCOL", _protocol, grpc)
    none: dict[str, str] = {}
    headers = env.read("OTEL_EXPORTER_OTLP_HEADERS", _pairs, none)
    port = config.prometheus_port
    if port is None:
        port = env.read("PROMETHEUS_PORT", _port, None)
    storage = config.trace_storage
    if storage is None and config.persist:
        storage = TraceStorage()
    return Settings(
        traced=_or(config.enabled, env.read("OTEL_ENABLED", _flag, True)),
        host=config.host,
        tls=config.tls,
        service_name=config.service_name or env.read("OTEL_SERVICE_NAME", str, "iii"),
        service_version=config.service_version or env.read("SERVICE_VERSION", str, __version__),
        service_namespace=config.service_namespace
        or env.read("SERVICE_NAMESPACE", str, "")
        or None,
        service_instance_id=config.service_instance_id or uuid4_text(),
        exporter=exporter,
        endpoint=config.endpoint or env.read("OTEL_EXPORTER_OTLP_ENDPOINT", str, DEFAULT_ENDPOINT),
        traces_protocol=env.read("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", _protocol, protocol),
        metrics_protocol=env.read("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", _protocol, protocol),
        # The general variable doesn't count: collectors in the field expect the JSON.
        logs_protocol=env.read("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", _logs_protocol, json),
        headers=headers,
        logs_headers=env.read("OTEL_EXPORTER_OTLP_LOGS_HEADERS", _pairs, headers),
        sampling_ratio=_or(config.sampling_ratio, env.read("OTEL_TRACES_SAMPLER_ARG", _ratio, 1.0)),
        sampling=config.sampling or Sampling(),
        memory_max_spans=_or(
            config.memory_max_spans, env.read("OTEL_MEMORY_MAX_SPANS", _count, 1_000_000)
        ),
        memory_max_bytes=config.memory_max_bytes
        or (64 * MIB if storage is None else storage.memory_max_bytes),
        live_spans=_or(config.live_spans, env.read("OTEL_LIVE_SPANS", _flag, exporter == "memory")),
        collapse_spans=config.collapse_spans or [],
        trace_storage=storage if storage is not None and storage.enabled else None,
        redact=frozenset(
            key.lower() for key in (REDACTED if config.redact is None else config.redact)
        ),
        metrics_enabled=_or(config.metrics_enabled, env.read("OTEL_METRICS_ENABLED", _flag, True)),
        metrics_exporter=_or(
            config.metrics_exporter, env.read("OTEL_METRICS_EXPORTER", _metrics_exporter, in_memory)
        ),
        metrics_retention_s=_or(
            config.metrics_retention_seconds,
            env.read("OTEL_METRICS_RETENTION_SECONDS", _count, 3_600),
        ),
        metrics_max_count=_or(
            config.metrics_max_count, env.read("OTEL_METRICS_MAX_COUNT", _count, 10_000)
        ),
        prometheus_port=DEFAULT_PROMETHEUS_PORT if port is None else port,
        logs_enabled=_or(config.logs_enabled, True),
        logs_exporter=_or(config.logs_exporter, env.read("OTEL_LOGS_EXPORTER", _exporter, memory)),
        logs_max_count=_or(config.logs_max_count, 100_000),
        logs_retention_s=_or(config.logs_retention_seconds, 3_600),
        logs_batch_size=_within(
            config.logs_batch_size, env, "OTEL_LOGS_BATCH_SIZE", BATCH_SIZES, DEFAULT_BATCH_SIZE
        ),
        logs_flush_interval_ms=_within(
            config.logs_flush_interval_ms,
            env,
            "OTEL_LOGS_FLUSH_INTERVAL_MS",
            FLUSH_INTERVALS_MS,
            DEFAULT_FLUSH_INTERVAL_MS,
        ),
        logs_sampling_ratio=_or(config.logs_sampling_ratio, 1.0),
        logs_console_output=_or(config.logs_console_output, True),
        alerts=config.alerts,
        directives=config.directives,
    )


class _Environment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The variable's value; ``default`` when it is absent or makes no sense."""
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            log.warn("{name}={text} makes no sense and is not used", name=name, text=text)
            return default


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _or(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def _within(value: int | None, env: _Environment, name: str, legal: range, default: int) -> int:
    """The value, or else the variable's; ``default`` when that is out of range.

    The configuration's own has been told by ``ObservabilityConfig.faults``.
    """
    if value is None:
        value = env.read(name, int, default)
        if value not in legal:
            log.warn(
                "{name}: {value} is {why}", name=name, value=value, why=_outside(legal, default)
            )
    return value if value in legal else default


def _outside(legal: range, default: int) -> str:
    return f"not between {legal[0]} and {legal[-1]}, {default} is used"


def _flag(text: str) -> bool:
    return text.lower() in ("true", "1")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(text)
    return number


def _ratio(text: str) -> float:
    ratio = float(text)
    if not 0 <= ratio <= 1:
        raise ValueError(text)
    return ratio


def _exporter(text: str) -> Exporter:
    return msgspec.convert(text.lower(), type=Exporter)  # type: ignore[no-any-return]


def _traces_exporter(text: str) -> Exporter:
    """Whatever it is, somebody wanted to send (05 A2)."""
    try:
        return _exporter(text)
    except msgspec.ValidationError:
        log.warn("OTEL_EXPORTER_TYPE={text} is unknown, otlp is used", text=text)
        return "otlp"


def _metrics_exporter(text: str) -> MetricsExporter:
    return msgspec.convert(text.lower(), type=MetricsExporter)  # type: ignore[no-any-return]


def _protocol(text: str) -> Protocol:
    return msgspec.convert(text.lower(), type=Protocol)  # type: ignore[no-any-return]


def _logs_protocol(text: str) -> LogsProtocol:
    return msgspec.convert(text.lower(), type=LogsProtocol)  # type: ignore[no-any-return]


def _pairs(text: str) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in text.split(",") if part.strip())
    return {name.strip(): unquote(value.strip()) for name, value in pairs}
