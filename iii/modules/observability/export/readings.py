"""The engine's own instruments, read once a minute.

What only the reactor's thread may look at (how much there is of everything, the modules'
instruments) is read there.  The counts of calls may be thousands: they are read in the
courier's thread, from copies that are made in one step each, so a reading may miss what
happens during it, but is never torn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from twisted.logger import Logger

from iii._version import __version__
from iii.engine.callcounts import BOUNDS_S, Durations
from iii.engine.instruments import Instrument
from iii.engine.module import Census
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import HistogramPoint, Metric, NumberPoint, Pairs

log = Logger()

METER = "iii"
#: Points of one metric that travel together; more become several metrics of the same name.
POINTS_PER_METRIC = 1_000

Sample = tuple[tuple[tuple[str, str], ...], float | Durations]
"""Labels and value."""

Type = Literal["gauge", "counter", "histogram"]


class Readings:
    """Reads the instruments.

    :param hub: whose engine's
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._clock = hub.engine.clock
        self._start_ns = self._now_ns()
        self._told: set[str] = set()

    async def modules(self) -> list[Metric]:
        """What modules measure, and how much there is of everything."""
        metrics = self._of_census(self._hub.engine.census())
        lost: list[Sample] = [((("what", what),), n) for what, n in self._hub.dropped.items()]
        if lost:
            help = "What the telemetry could not keep or send"
            metrics += self._metrics("iii.telemetry.dropped.total", "counter", "items", lost, help)
        for instrument in self._hub.engine.instruments:
            metrics += await self._of_instrument(instrument)
        return metrics

    def calls(self) -> list[Metric]:
        """The counts of calls; in any thread."""
        totals: list[Sample] = []
        durations: list[Sample] = []
        errors: list[Sample] = []
        for id, counts in self._hub.engine.counts:
            function = ("function_id", id)
            for status, ended in (("ok", counts.succeeded), ("error", counts.failed)):
                if count := ended.count:
                    labels = (function, ("status", status))
                    totals.append((labels, count))
                    durations.append((labels, ended))
            if counts.dispatched:
                totals.append(((function, ("status", "deferred")), counts.dispatched))
            for code, count in list(counts.errors.items()):
                errors.append(((function, ("error_code", code)), count))
        return [
            *self._metrics("iii.invocations.total", "counter", "invocations", totals),
            *self._metrics("iii.invocation.duration", "histogram", "s", durations),
            *self._metrics("iii.invocation.errors.total", "counter", "errors", errors),
        ]

    # Inside ----------------------------------------------------------------------------

    def _of_census(self, census: Census) -> list[Metric]:
        by_status: list[Sample] = [
            ((("status", status),), count)
            for status, count in (
                ("connected", census.workers),
                ("available", census.workers - census.workers_busy),
                ("busy", census.workers_busy),
                ("disconnected", census.workers_gone_total),
            )
        ]
        triggers: list[Sample] = [((("type", type),), n) for type, n in census.triggers.items()]
        figures: tuple[tuple[str, Type, str, Sequence[Sample]], ...] = (
            ("iii.workers.active", "gauge", "workers", [((), census.workers)]),
            (
                "iii.workers.spawns.total",
                "counter",
                "workers",
                [((), census.workers_spawned_total)],
            ),
            ("iii.workers.deaths.total", "counter", "workers", [((), census.workers_gone_total)]),
            ("iii.workers.by_status", "gauge", "workers", by_status),
            ("iii.functions", "gauge", "functions", [((), census.functions)]),
            (
                "iii.functions.registered.total",
                "counter",
                "functions",
                [((), census.functions_registered_total)],
            ),
            ("iii.triggers", "gauge", "triggers", triggers),
        )
        return [
            metric
            for name, type, unit, samples in figures
            for metric in self._metrics(name, type, unit, samples)
        ]

    async def _of_instrument(self, instrument: Instrument) -> list[Metric]:
        try:
            read: list[Sample] = [
                (tuple(zip(instrument.labels, values, strict=True)), value)
                for values, value in await instrument.samples()
            ]
        except Exception:
            if instrument.name not in self._told:
                self._told.add(instrument.name)
                log.failure("{name} could not be read and is not exported", name=instrument.name)
            return []
        return self._metrics(instrument.name, instrument.kind, "", read, instrument.help)

    def _metrics(
        self, name: str, type: Type, unit: str, samples: Sequence[Sample], help: str = ""
    ) -> list[Metric]:
        """A metric, or several for very many samples."""
        now_ns = self._now_ns()
        settings = self._hub.settings
        start_ns = 0 if type == "gauge" else self._start_ns
        return [
            Metric(
                name=name,
                type=type,
                points=_points(samples[first : first + POINTS_PER_METRIC], start_ns, now_ns),
                service_name=settings.service_name,
                received_ns=now_ns,
                description=help,
                unit=unit,
                scope_name=METER,
                scope_version=__version__,
                resource=settings.resource,
            )
            for first in range(0, len(samples), POINTS_PER_METRIC)
        ]

    def _now_ns(self) -> int:
        return int(self._clock.wall() * 1e9)


def _points(
    samples: Sequence[Sample],
    start_ns: int,
    now_ns: int,
) -> list[NumberPoint] | list[HistogramPoint]:
    numbers: list[NumberPoint] = []
    histograms: list[HistogramPoint] = []
    for labels, value in samples:
        attributes: Pairs = list(labels)
        if isinstance(value, Durations):
            histograms.append(_histogram(value, attributes, start_ns, now_ns))
        else:
            numbers.append(NumberPoint(value, attributes, now_ns, start_ns))
    return histograms or numbers


def _histogram(
    durations: Durations, attributes: Pairs, start_ns: int, now_ns: int
) -> HistogramPoint:
    buckets = list(durations.buckets)
    return HistogramPoint(
        count=sum(buckets),
        sum=durations.seconds,
        bucket_counts=buckets,
        explicit_bounds=list(BOUNDS_S),
        attributes=attributes,
        timestamp_ns=now_ns,
        start_ns=start_ns,
    )
