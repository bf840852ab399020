"""Numbers put together: over intervals for ``engine::metrics::list``, and percentiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import UNSET

from iii.modules.observability.metrics.shapes import Aggregated, Percentiles, Performance

#: Fewer values have no percentiles.
MIN_FOR_PERCENTILES = 5


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value below which ``percent`` of ``ordered`` lie; it is not empty."""
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def performance_of(durations_ms: Sequence[float]) -> Performance:
    """What durations look like, the shortest first; zeros when there are none."""
    if not durations_ms:
        return Performance()
    return Performance(
        sum(durations_ms) / len(durations_ms),
        percentile(durations_ms, 50),
        percentile(durations_ms, 95),
        percentile(durations_ms, 99),
        durations_ms[0],
        durations_ms[-1],
    )


class Aggregation:
    """Values gathered by name and interval."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._values: dict[tuple[str, int], list[float]] = {}

    def add(self, name: str, at_ns: int, value: float) -> None:
        """One more."""
        start_ns = at_ns - at_ns % self._interval_ns
        self._values.setdefault((name, start_ns), []).append(value)

    def rows(self) -> Iterator[Aggregated]:
        """By name, then time; the values are used up."""
        for key in sorted(self._values):
            yield self._row(*key, self._values.pop(key))

    def _row(self, name: str, start_ns: int, values: list[float]) -> Aggregated:
        values.sort()
        total = sum(values)
        enough = len(values) >= MIN_FOR_PERCENTILES
        return Aggregated(
            name,
            start_ns,
            start_ns + self._interval_ns,
            len(values),
            total,
            values[0],
            values[-1],
            total / len(values),
            Percentiles(*(percentile(values, p) for p in (50, 75, 90, 95, 99)))
            if enough
            else UNSET,
        )
