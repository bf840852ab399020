"""``engine::sampling::rules`` and ``engine::health::check``: settings, and what is kept."""

from __future__ import annotations

from collections.abc import Callable

from iii._version import __version__
from iii.engine.native import Empty
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics import shapes
from iii.modules.observability.metrics.store import MetricStore

Count = Callable[[], int | None]
"""How many are stored; None: there is no store."""

HEALTHY = "healthy"
DEGRADED = "degraded"
DISABLED = "disabled"


class Status:
    """Answers what holds and how much there is.

    :param logs: how many log records are stored
    :param spans: how many spans are stored
    """

    def __init__(self, hub: Hub, store: MetricStore, logs: Count, spans: Count) -> None:
        self._hub = hub
        self._wall_ms = hub.engine.clock.wall_ms
        self._troubles = hub.engine.troubles
        self._store = store
        self._logs = logs
        self._spans = spans

    def sampling(self, _: Empty) -> shapes.SamplingRules:
        """``engine::sampling::rules``."""
        settings = self._hub.settings
        sampling = settings.sampling
        traces = shapes.TraceSampling(
            settings.sampling_ratio if sampling.default is None else sampling.default,
            [
                shapes.SamplingRuleRow(rule.operation, rule.service, rule.rate)
                for rule in sampling.rules
            ],
            sampling.parent_based is not False,
        )
        logs = shapes.LogSampling(settings.logs_sampling_ratio)
        return shapes.SamplingRules(traces, logs, self._wall_ms())

    def health(self, _: Empty) -> shapes.Health:
        """``engine::health::check``."""
        settings = self._hub.settings
        otel = shapes.Component(
            HEALTHY if settings.traced else DISABLED,
            {
                "enabled": settings.traced,
                "service_name": settings.service_name,
                "exporter": settings.exporter,
            },
        )
        components = {
            "otel": otel,
            "metrics": _component("stored_metrics", self._store.count),
            "logs": _component("stored_logs", self._logs()),
            "spans": _component("stored_spans", self._spans()),
        }
        troubles = self._troubles()
        for where, reason in troubles.items():
            components[where] = shapes.Component(DEGRADED, {"reason": reason})
        overall = DEGRADED if troubles else HEALTHY
        return shapes.Health(overall, components, self._wall_ms(), __version__)


def _component(name: str, stored: int | None) -> shapes.Component:
    if stored is None:
        return shapes.Component(DISABLED)
    return shapes.Component(HEALTHY, {name: stored})
