"""The observability entry: ``level`` and ``format`` of the engine's log.

Log lines precede modules, so the composition root (``iii/service.py``) applies
both before it creates the first module; nothing is left for ``start``.

The other keys belong to the recording of traces, metrics and logs, which this
release does not have.  They are part of the struct because files of every release
carry them and a right key must not be called unknown; the ones that were written
down are named in one log line.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from twisted.logger import Logger

from iii.engine.module import Module, ModuleApi

log = Logger()


class ObservabilityConfig(msgspec.Struct, frozen=True):
    """``config:`` of ``iii-observability``.

    :ivar enabled: whether calls are traced; the log does not depend on it
    :ivar level: directives, e.g. ``info,iii.wire=debug``; None = ``RUST_LOG`` or ``info``
    :ivar format: ``default`` or ``json``; anything else is ``default``
    """

    enabled: bool = True
    level: str | None = None
    log_level: str | None = None
    format: str = "default"

    service_name: str | None = None
    service_version: str | None = None
    service_namespace: str | None = None
    service_instance_id: str | None = None
    exporter: str | None = None
    endpoint: str | None = None
    sampling_ratio: float | None = None
    sampling: dict[str, Any] | None = None
    memory_max_spans: int | None = None
    metrics_enabled: bool | None = None
    metrics_exporter: str | None = None
    metrics_retention_seconds: int | None = None
    metrics_max_count: int | None = None
    logs_enabled: bool | None = None
    logs_exporter: str | None = None
    logs_max_count: int | None = None
    logs_retention_seconds: int | None = None
    logs_batch_size: int | None = None
    logs_flush_interval_ms: int | None = None
    logs_sampling_ratio: float | None = None
    logs_console_output: bool | None = None
    alerts: list[Any] | None = None
    prometheus_port: int | None = None
    worker_metrics: dict[str, Any] | None = None
    collapse_spans: Any = None

    @property
    def directives(self) -> str | None:
        """``level``, or its older name."""
        return self.level if self.level is not None else self.log_level


_WORKING = frozenset(("enabled", "level", "log_level", "format"))


class ObservabilityModule(Module):
    """The engine's log.  Offers no functions yet."""

    name = "iii-observability"
    config = ObservabilityConfig
    coerce_strings: ClassVar[bool] = True

    def start(self, engine: ModuleApi) -> None:
        """Say which keys were given in vain."""
        given = [
            name
            for name in ObservabilityConfig.__struct_fields__
            if name not in _WORKING and getattr(self.settings, name) is not None
        ]
        if given:
            log.warn(
                "iii-observability: {keys} have no effect: this release writes logs, and records "
                "neither traces nor metrics",
                keys=", ".join(given),
            )
