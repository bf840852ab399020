"""Everything one scrape shows, as a collector of ``prometheus_client``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from twisted.logger import Logger

from iii.modules.observability.hub import Hub
from iii.modules.observability.prometheus.enginefigures import engine_figures
from iii.modules.observability.prometheus.figures import Figure, metrics_of
from iii.modules.observability.prometheus.names import (
    help_text,
    label_name,
    label_value,
    series_names,
)
from iii.modules.observability.prometheus.sdkseries import SdkSeries

log = Logger()

MAX_TOLD = 100


class Snapshots:
    """Makes the registries from which scrapes are answered."""

    def __init__(self, hub: Hub, workers: SdkSeries) -> None:
        self._hub = hub
        self._workers = workers
        self._process = ProcessCollector(registry=None)
        self._target = {
            label_name(key): label_value(value) for key, value in hub.settings.resource.items()
        }
        self._told: set[str] = set()

    def registry(self, modules: list[Figure]) -> CollectorRegistry:
        """A registry for one scrape.

        :param modules: what the instruments of modules showed
        """
        registry = CollectorRegistry(target_info=self._target)
        registry.register(_Snapshot(self, modules))
        return registry

    def collect(self, modules: list[Figure]) -> Iterator[Metric]:
        """The metrics: each name once, the engine's come first."""
        taken = series_names("target", "info")
        for metric in self._process.collect():
            taken |= series_names(metric.name, metric.type)
            yield metric
        engine = engine_figures(self._hub.engine, self._hub.dropped)
        for figure in chain(engine, modules, self._workers.figures()):
            names = figure.series_names
            if taken & names:
                self._leave_out(figure)
                continue
            taken |= names
            yield from metrics_of(figure)

    def _leave_out(self, figure: Figure) -> None:
        self._hub.drop("prometheus.name_taken")
        if figure.name not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(figure.name)
            log.warn(
                "prometheus: {metric} ({about}) is not shown: another metric has its name",
                metric=figure.name,
                about=help_text(figure.help),
            )


class _Snapshot:
    def __init__(self, snapshots: Snapshots, modules: list[Figure]) -> None:
        self._snapshots = snapshots
        self._modules = modules

    def collect(self) -> Iterable[Metric]:
        return self._snapshots.collect(self._modules)
