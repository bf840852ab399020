"""Everything about metrics, put together."""

from __future__ import annotations

from iii.engine.module import FunctionRow
from iii.engine.native import Empty
from iii.modules.observability.hub import Hub
from iii.modules.observability.metrics import lately, shapes
from iii.modules.observability.metrics.alerts import Alerts
from iii.modules.observability.metrics.history import History
from iii.modules.observability.metrics.listing import Listing, Measure
from iii.modules.observability.metrics.rollups import Rollups
from iii.modules.observability.metrics.status import Count, Status
from iii.modules.observability.metrics.store import MetricStore
from iii.modules.observability.metrics.workers import WorkerMetrics


class Metrics:
    """Stored metrics, roll-ups, alerts, and the functions about them.

    :param durations: of all stored spans in milliseconds, the shortest first
    :param stored_logs: how many log records are stored; None: there is no store
    :param stored_spans: the same for spans
    """

    def __init__(
        self, hub: Hub, *, durations: Measure, stored_logs: Count, stored_spans: Count
    ) -> None:
        self._hub = hub
        self.store = MetricStore(hub)
        self.alerts = Alerts(hub, self.store)
        self.rollups = Rollups(hub)
        self.history = History(hub)
        self._workers = WorkerMetrics(hub)
        self._listing = Listing(hub, self.store, durations)
        self._status = Status(hub, self.store, stored_logs, stored_spans)

    def start(self) -> None:
        """Part: listen, and offer the functions."""
        self.store.start()
        self._workers.start()
        self.rollups.start()
        self.alerts.start()
        self.history.start()
        self._hub.engine.functions(self._table(), {})

    def stop(self) -> None:
        """Part: listen no more."""
        self.history.stop()
        self.alerts.stop()
        self.rollups.stop()
        self._workers.stop()
        self.store.stop()

    def _table(self) -> tuple[FunctionRow, ...]:
        return (
            (
                "engine::metrics::list",
                self._listing.listed,
                shapes.MetricsInput,
                None,
                "List the metrics of the engine and its workers",
            ),
            (
                "engine::rollups::list",
                self.rollups.listed,
                shapes.RollupsInput,
                None,
                "List metrics summed up per minute, five minutes or hour",
            ),
            (
                "engine::sampling::rules",
                self._status.sampling,
                Empty,
                shapes.SamplingRules,
                "How new traces and logs are sampled",
            ),
            (
                "engine::health::check",
                self._status.health,
                Empty,
                shapes.Health,
                "Whether the engine's observability works, and how much it keeps",
            ),
            (
                "engine::alerts::list",
                self.alerts.listed,
                Empty,
                shapes.AlertsList,
                "List alerts and how they stand",
            ),
            (
                "engine::alerts::evaluate",
                self.alerts.evaluate,
                Empty,
                shapes.AlertsEvaluated,
                "Evaluate all alert rules now",
            ),
            (
                "engine::alerts::silence",
                self.alerts.silence,
                shapes.SilenceInput,
                shapes.Silenced,
                "Keep an alert from acting for a while",
            ),
            (
                "engine::metrics::snapshot",
                self.history.snapshot,
                Empty,
                lately.Snapshot,
                "How the engine does right now",
            ),
            (
                "engine::metrics::history",
                self.history.listed,
                lately.HistoryInput,
                lately.HistoryList,
                "How the engine did in the last hour",
            ),
            (
                "engine::functions::stats",
                self.history.stats,
                lately.StatsInput,
                None,
                "How functions did in the last hour",
            ),
        )
