"""Alert rules: what is compared with what.

A rule reads one number, its *value*, and compares it with the threshold.  The engine's
own metrics are read from its counts and count since the start, whatever the window; that
is how the original does it.  Rules about a rate, and those with ``mode: delta``, look at
the difference to one window ago, for which a ``Window`` remembers a few samples.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from iii.modules.observability.config import AlertRule
from iii.modules.observability.operators import operator_called

#: A window remembers so many samples, however long it is.
MAX_WINDOW_SAMPLES = 360
#: A timer may be late by so much of a window.
_EDGE = 0.02


class Rule:
    """A rule and its comparison."""

    def __init__(self, said: AlertRule) -> None:
        self.said = said
        self.operator = operator_called(said.operator)

    def holds(self, value: float) -> bool:
        """Whether the alert is to fire."""
        return self.operator.compare(value, self.said.threshold)


class Change(NamedTuple):
    """What running totals have grown by, and in how long."""

    seconds: float
    grown: tuple[float, ...]


class Window:
    """Running totals over the last ``seconds``; 0: since they began.

    :param now: monotonic
    :param totals: as they are at the beginning
    """

    def __init__(self, seconds: float, now: float, totals: tuple[float, ...]) -> None:
        self._seconds = seconds
        self._spacing = seconds / MAX_WINDOW_SAMPLES
        self._samples = deque([(now, totals)])

    def add(self, now: float, totals: tuple[float, ...]) -> Change:
        """The totals as they are now; how much they grew within the window."""
        samples = self._samples
        if self._seconds > 0:
            oldest = now - self._seconds * (1 - _EDGE)
            while len(samples) > 1 and samples[1][0] <= oldest:
                samples.popleft()
        began, before = samples[0]
        if self._seconds > 0 and now - samples[-1][0] >= self._spacing:
            samples.append((now, totals))
        pairs = zip(totals, before, strict=True)
        return Change(now - began, tuple(total - then for total, then in pairs))
