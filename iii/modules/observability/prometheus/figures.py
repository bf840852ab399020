"""Figures: a name, a kind, and a value for each set of labels.

The engine's counts, the modules' instruments and what workers send all become figures;
``metrics_of`` makes them the ``Metric`` objects of ``prometheus_client``, in pieces: ten
thousand functions have a quarter of a million samples, and nobody should have to hold
them all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from iii.engine.callcounts import BOUNDS_S, OTHER, Durations
from iii.engine.instruments import Kind
from iii.modules.observability.prometheus.names import series_names

#: Label sets of one figure; those beyond are shown as one.
MAX_LABEL_SETS = 10_000
#: Samples of one piece.
PIECE_SAMPLES = 500

Labels = dict[str, str]


class Distribution(NamedTuple):
    """A histogram's values.

    :ivar buckets: how many lie between a bound and the one before; one more for the rest
    """

    bounds: tuple[float, ...]
    buckets: Sequence[int]
    sum: float


Value = float | Distribution
Row = tuple[Labels, Value]


class Figure(NamedTuple):
    """Something measured.

    :ivar name: that of a counter ends with ``_total``
    """

    name: str
    kind: Kind
    help: str
    rows: Iterable[Row]

    @property
    def family(self) -> str:
        """The name without ``_total``."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    @property
    def series_names(self) -> set[str]:
        """All names it needs."""
        return series_names(self.family, self.kind)


def distribution(durations: Durations) -> Distribution:
    """What the engine measured of calls and requests."""
    return Distribution(BOUNDS_S, list(durations.buckets), durations.seconds)


def capped(rows: Iterable[Row], limit: int = MAX_LABEL_SETS) -> Iterator[Row]:
    """``rows``, those beyond ``limit`` added up in one whose labels say ``__other__``."""
    other: Row | None = None
    for number, row in enumerate(rows):
        if number < limit:
            yield row
        elif other is None:
            other = (dict.fromkeys(row[0], OTHER), row[1])
        else:
            other = (other[0], added(other[1], row[1]))
    if other is not None:
        yield other


def added(one: Value, another: Value) -> Value:
    """The sum; of histograms with other bounds nothing can be added."""
    if isinstance(one, Distribution):
        if not isinstance(another, Distribution) or one.bounds != another.bounds:
            return one
        buckets = [a + b for a, b in zip(one.buckets, another.buckets, strict=True)]
        return Distribution(one.bounds, buckets, one.sum + another.sum)
    return one if isinstance(another, Distribution) else one + another


def metrics_of(figure: Figure) -> Iterator[Metric]:
    """``figure`` in pieces of about ``PIECE_SAMPLES`` samples; one at least."""
    add = _ADD[figure.kind]
    piece = Metric(figure.family, figure.help, figure.kind)
    begun = True
    for labels, value in figure.rows:
        if len(piece.samples) >= PIECE_SAMPLES:
            yield piece
            piece = Metric(figure.family, figure.help, figure.kind)
            begun = False
        add(piece, labels, value)
    if piece.samples or begun:
        yield piece


def _add_gauge(metric: Metric, labels: Labels, value: Value) -> None:
    assert not isinstance(value, Distribution)
    metric.samples.append(Sample(metric.name, labels, value))


def _add_counter(metric: Metric, labels: Labels, value: Value) -> None:
    assert not isinstance(value, Distribution)
    metric.samples.append(Sample(f"{metric.name}_total", labels, value))


def _add_histogram(metric: Metric, labels: Labels, value: Value) -> None:
    assert isinstance(value, Distribution)
    samples = metric.samples
    name = f"{metric.name}_bucket"
    count = 0
    bounds = _bound_texts(value.bounds)
    for bound, count in zip(bounds, accumulate(value.buckets), strict=True):
        samples.append(Sample(name, {**labels, "le": bound}, count))
    samples.append(Sample(f"{metric.name}_count", labels, count))
    if not value.bounds or value.bounds[0] >= 0:  # else the sum is no counter
        samples.append(Sample(f"{metric.name}_sum", labels, value.sum))


_ADD = {"gauge": _add_gauge, "counter": _add_counter, "histogram": _add_histogram}


def _bound_texts(bounds: tuple[float, ...]) -> tuple[str, ...]:
    if bounds == BOUNDS_S:
        return _BOUND_TEXTS
    return (*map(floatToGoString, bounds), "+Inf")


_BOUND_TEXTS = (*map(floatToGoString, BOUNDS_S), "+Inf")
