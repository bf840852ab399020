"""How many messages a topic had lately.

Ten seconds are counted together, and six such counts are kept, so a rate is that of the
last minute.  Topics come from outside: of the first ``MAX_RATED_TOPICS`` in a minute.
"""

from __future__ import annotations

from iii.engine.clock import Clock

SLICE_S = 10.0
SLICES = 6
MAX_RATED_TOPICS = 10_000


class Rates:
    """Counts messages by topic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        #: number of a slice → topic → messages, the oldest first
        self._slices: dict[int, dict[str, int]] = {}

    def add(self, topic: str) -> None:
        """One more."""
        number = int(self._clock.monotonic() // SLICE_S)
        counts = self._slices.get(number)
        if counts is None:
            self._forget(number)
            counts = self._slices[number] = {}
        if topic in counts or len(counts) < MAX_RATED_TOPICS:
            counts[topic] = counts.get(topic, 0) + 1

    def per_second(self, topic: str) -> float:
        """The rate over the last minute, or since the start when that is shorter ago."""
        now = self._clock.monotonic()
        self._forget(int(now // SLICE_S))
        count = sum(counts.get(topic, 0) for counts in self._slices.values())
        # The running slice is not over: the others are whole.
        covered_s = (SLICES - 1) * SLICE_S + now % SLICE_S
        return count / max(1.0, min(covered_s, now - self._started))

    def _forget(self, number: int) -> None:
        for old in [known for known in self._slices if known <= number - SLICES]:
            del self._slices[old]
