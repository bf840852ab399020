"""How often functions were called, how long that took, how it ended.

Counted for every call and kept as long as the engine runs, whether anybody reads them
(docs/observability.md, "Metrics").  Function ids come from outside: beyond
``MAX_COUNTED_FUNCTIONS`` all others are counted as one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

#: Upper bounds of the histogram's buckets, in seconds.
BOUNDS_S = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
MAX_COUNTED_FUNCTIONS = 10_000
MAX_ERROR_CODES = 100
MAX_CODE_CHARS = 128
OTHER = "__other__"


class Durations:
    """A histogram.

    :ivar buckets: how many lie between a bound and the one before; one more for the rest
    """

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)

    def add(self, seconds: float) -> None:
        """One more."""
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1

    def __add__(self, other: Durations) -> Durations:
        """Both together."""
        both = Durations()
        both.seconds = self.seconds + other.seconds
        both.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        return both

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.buckets)


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """The seconds below which ``share`` (0 to 1) of the durations in ``buckets`` lie.

    Within a bucket they are taken to be evenly spread; those beyond the last bound count as
    that bound.  None: there are no durations.
    """
    total = sum(buckets)
    if not total:
        return None
    left = share * total
    lower = 0.0
    for bound, count in zip(BOUNDS_S, buckets, strict=False):
        if count and left <= count:
            return lower + (bound - lower) * left / count
        left -= count
        lower = bound
    return lower


class FunctionCounts:
    """One function.

    :ivar started: calls, also those that nobody took
    :ivar dispatched: those of them that went to a worker
    :ivar succeeded: durations, from the call to its outcome
    :ivar errors: code → how many
    """

    __slots__ = ("dispatched", "errors", "failed", "started", "succeeded")

    def __init__(self) -> None:
        self.started = 0
        self.dispatched = 0
        self.succeeded = Durations()
        self.failed = Durations()
        self.errors: dict[str, int] = {}

    def ended(self, seconds: float, code: str | None) -> None:
        """A call is over; ``code`` when it failed."""
        if code is None:
            durations = self.succeeded
            durations.seconds += seconds
            durations.buckets[bisect_left(BOUNDS_S, seconds)] += 1
            return
        self.failed.add(seconds)
        code = code[:MAX_CODE_CHARS]  # it comes from a worker
        if code not in self.errors and len(self.errors) >= MAX_ERROR_CODES:
            code = OTHER
        self.errors[code] = self.errors.get(code, 0) + 1


class CallCounts:
    """All functions that were ever called."""

    def __init__(self) -> None:
        self._functions: dict[str, FunctionCounts] = {}

    def of(self, function_id: str) -> FunctionCounts:
        """The counts of one."""
        counts = self._functions.get(function_id)
        if counts is None:
            if len(self._functions) >= MAX_COUNTED_FUNCTIONS:
                function_id = OTHER
            counts = self._functions.setdefault(function_id, FunctionCounts())
        return counts

    def of_unowned(self, function_id: str) -> FunctionCounts:
        """The counts of an id that nobody owns: its own if it was called before.

        Any text may be tried, so ids that never were functions are counted as one.
        """
        return self._functions.get(function_id) or self.of(OTHER)

    def known(self, function_id: str) -> FunctionCounts | None:
        """The counts of one, if it was ever called."""
        return self._functions.get(function_id)

    def __iter__(self) -> Iterator[tuple[str, FunctionCounts]]:
        return iter(list(self._functions.items()))
