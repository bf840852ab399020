"""What the instruments of modules show right now.

A module may need a moment for its figures (a queue asks its store).  Whoever doesn't
answer within ``READ_LIMIT_S``, or fails, is left out of this scrape, and told of once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger

from iii.engine.callcounts import Durations
from iii.engine.instruments import Instrument, Sample
from iii.engine.module import ModuleApi
from iii.modules.observability.prometheus.figures import Figure, Row, capped, distribution
from iii.modules.observability.prometheus.names import (
    help_text,
    label_name,
    label_value,
    metric_name,
)

log = Logger()

READ_LIMIT_S = 5.0


class Readings:
    """Reads them all."""

    def __init__(self, engine: ModuleApi) -> None:
        self._engine = engine
        self._failing: set[str] = set()

    async def read(self) -> list[Figure]:
        """The figures of all instruments that could be read."""
        reads = {
            instrument: Deferred.fromCoroutine(self._figure(instrument))
            for instrument in self._engine.instruments
        }
        timer = self._engine.clock.call_later(READ_LIMIT_S, self._give_up, reads)
        figures = await gatherResults(list(reads.values()))
        if timer.active():
            timer.cancel()
        return [figure for figure in figures if figure is not None]

    async def _figure(self, instrument: Instrument) -> Figure | None:
        try:
            read = await instrument.samples()
        except CancelledError:
            return None  # too late, or nobody asks any more
        except Exception as error:
            self._say(instrument, f"{type(error).__name__}: {error}")
        else:
            name = metric_name(instrument.name)
            if instrument.kind == "counter":
                name = name.removesuffix("_total") + "_total"
            rows = self._rows(instrument, read)
            return Figure(name, instrument.kind, help_text(instrument.help), rows)
        return None

    def _rows(self, instrument: Instrument, samples: list[Sample]) -> Iterator[Row]:
        """Made while the scrape is sent: there may be ten thousand."""
        try:
            yield from capped(_row(instrument, sample) for sample in samples)
        except (AttributeError, TypeError, ValueError) as error:
            self._say(instrument, f"{type(error).__name__}: {error}")
        else:
            self._failing.discard(instrument.name)

    def _give_up(self, reads: dict[Instrument, Deferred[Figure | None]]) -> None:
        for instrument, read in reads.items():
            if not read.called:
                self._say(instrument, f"it took longer than {READ_LIMIT_S:g} s")
                read.cancel()

    def _say(self, instrument: Instrument, reason: str) -> None:
        if instrument.name not in self._failing:
            self._failing.add(instrument.name)
            log.warn(
                "metric {metric} could not be read and is left out until it can: {reason}",
                metric=instrument.name,
                reason=reason,
            )


def _row(instrument: Instrument, sample: Sample) -> Row:
    texts, value = sample
    labels = {
        label_name(name): label_value(text)
        for name, text in zip(instrument.labels, texts, strict=True)
    }
    if instrument.kind == "histogram":
        return labels, distribution(cast(Durations, value))
    return labels, float(cast(float, value))
