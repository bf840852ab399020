"""The ``iii-observability`` module: what every call did, for people and their tools.

``level`` and ``format`` of the log are applied by the composition root
(``iii/service.py``) before the first module is made, because log lines precede modules.

The parts know the hub and not each other; what one needs of another is handed over here.
They start in an order in which nothing recorded is missed, and stop in the opposite one:
first what brings something in, last what keeps it.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from iii.engine.module import Module, ModuleApi
from iii.modules.observability.archive.archive import Archive
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.export.exports import Exports
from iii.modules.observability.hub import Hub
from iii.modules.observability.ingest import Ingest
from iii.modules.observability.logs.part import Logs
from iii.modules.observability.metrics.part import Metrics
from iii.modules.observability.prometheus.server import PrometheusServer
from iii.modules.observability.spans.part import Spans
from iii.modules.observability.watched import Watched

log = Logger()

#: Keys of the configuration that change while it runs.
LIVE = frozenset(
    {
        "alerts",
        "format",
        "level",
        "log_level",
        "logs_console_output",
        "logs_sampling_ratio",
        "sampling",
        "sampling_ratio",
    }
)


class ObservabilityModule(Module):
    """Traces, metrics, logs, alerts.  Trigger types ``log`` and ``trace``."""

    name = "iii-observability"
    config = ObservabilityConfig
    coerce_strings: ClassVar[bool] = True

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._hub: Hub | None = None
        self._archive: Archive | None = None
        self._logs: Logs | None = None
        self._metrics: Metrics | None = None
        self._prometheus: PrometheusServer | None = None
        self._parts: list[Any] = []

    def start(self, engine: ModuleApi) -> None:
        """Module: begin to record.

        :raises StartError: an alert's rule makes no sense, or the archive can't be opened
        """
        settings = settings_of(self.settings, os.environ)
        hub = self._hub = Hub(engine, settings)
        if settings.trace_storage is not None:
            self._archive = Archive(hub, settings.trace_storage, self.stores)
            self._archive.start()
        spans = Spans(hub, self._archive)
        logs = self._logs = Logs(hub, os.environ)
        metrics = self._metrics = Metrics(
            hub,
            durations=spans.durations_ms,
            stored_logs=lambda: None if logs.store is None else len(logs.store),
            stored_spans=lambda: spans.store.stats.spans if settings.traced else None,
        )
        self._prometheus = PrometheusServer(hub, engine.not_ready)
        self._parts = [
            spans,
            logs,
            metrics,
            Exports(hub),
            self._prometheus,
            Ingest(hub),
            Watched(hub, metrics.history, metrics.alerts),
        ]
        if settings.traced:
            log.info("OpenTelemetry initialized: exporter={exporter}", exporter=settings.exporter)
        else:
            log.info("OpenTelemetry is disabled")
        hub.start()
        for part in self._parts:
            part.start()

    def change(self, settings: ObservabilityConfig) -> bool:
        """Module: level, sampling and alerts change while it runs; nothing recorded is lost."""
        hub, logs, metrics = self._hub, self._logs, self._metrics
        if hub is None or logs is None or metrics is None:
            return False
        before: ObservabilityConfig = self.settings
        changed = {
            name
            for name in ObservabilityConfig.__struct_fields__
            if getattr(before, name) != getattr(settings, name)
        }
        if not changed <= LIVE:
            return False
        # One that nobody chose is another one each time.
        id = hub.settings.service_instance_id
        new = settings_of(settings, os.environ)
        hub.change(msgspec.structs.replace(new, service_instance_id=id))
        logs.change()
        metrics.alerts.change()
        return True

    def renew(self) -> None:
        """Module: read the certificate again."""
        if self._prometheus is not None:
            self._prometheus.renew()

    async def stop(self) -> None:
        """Module: hand on what is left, then let go of everything."""
        parts, self._parts = self._parts, []
        for part in reversed(parts):
            await maybeDeferred(part.stop)
        if self._hub is not None:
            self._hub.stop()
        if self._archive is not None:
            await self._archive.stop()
