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

log = Logger()


class ObservabilityModule(Module):
    """Traces, metrics, logs, alerts.  Trigger types ``log`` and ``trace``."""

    name = "iii-observability"
    config = ObservabilityConfig
    coerce_strings: ClassVar[bool] = True

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._hub: Hub | None = None
        self._archive: Archive | None = None
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
        spans, logs = Spans(hub, self._archive), Logs(hub, os.environ)
        metrics = Metrics(
            hub,
            durations=spans.durations_ms,
            stored_logs=lambda: None if logs.store is None else len(logs.store),
            stored_spans=lambda: spans.store.stats.spans if settings.traced else None,
        )
        self._parts = [
            spans,
            logs,
            metrics,
            Exports(hub),
            PrometheusServer(hub, engine.not_ready),
            Ingest(hub),
        ]
        if settings.traced:
            log.info("OpenTelemetry initialized: exporter={exporter}", exporter=settings.exporter)
        else:
            log.info("OpenTelemetry is disabled")
        hub.start()
        for part in self._parts:
            part.start()

    async def stop(self) -> None:
        """Module: hand on what is left, then let go of everything."""
        parts, self._parts = self._parts, []
        for part in reversed(parts):
            await maybeDeferred(part.stop)
        if self._hub is not None:
            self._hub.stop()
        if self._archive is not None:
            await self._archive.stop()
