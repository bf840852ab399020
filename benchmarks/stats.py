"""What is computed from the rounds: ratios, targets, comparisons.  No I/O.

A ratio is taken within one round, where both sides met the same machine, and the
figure reported is the median of the rounds' ratios, not the ratio of two medians:
a slow spell then spoils one round for both sides and the median drops it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value with ``percent`` per cent of all values at or below it."""
    if not values:
        raise ValueError("no values to take a percentile of")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ratios(subject: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Round by round, subject divided by reference."""
    return [a / b for a, b in zip(subject, reference, strict=True)]


@dataclass(frozen=True)
class Target:
    """What a figure must reach: at least or at most ``bound``."""

    bound: float
    sense: Literal["at least", "at most"]
    of: Literal["ratio", "value"]

    def met(self, value: float) -> bool:
        return value >= self.bound if self.sense == "at least" else value <= self.bound


@dataclass
class Rounds:
    """One side's values, in the order they were measured."""

    values: list[float] = field(default_factory=list)
    #: share of one core the engine process used meanwhile, 0 to 1
    cpu: list[float] = field(default_factory=list)

    def add(self, value: float, cpu: float) -> None:
        self.values.append(value)
        self.cpu.append(cpu)


@dataclass
class Figure:
    """One line of the table: a subject, and often a reference measured alternately."""

    name: str
    unit: str
    target: Target | None = None
    subject: Rounds = field(default_factory=Rounds)
    reference: Rounds | None = None

    @property
    def value(self) -> float:
        return median(self.subject.values)

    @property
    def ratio(self) -> float | None:
        if self.reference is None:
            return None
        return median(ratios(self.subject.values, self.reference.values))

    @property
    def ratio_per_cpu(self) -> float | None:
        """The ratio of rates, each per second of processor time: for a busy machine."""
        if self.reference is None or not self.unit.endswith("/s"):
            return None
        sides = (self.subject, self.reference)
        if any(share <= 0 for side in sides for share in side.cpu):
            return None
        return median(ratios(*(ratios(side.values, side.cpu) for side in sides)))

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` without one."""
        if self.target is None:
            return None
        value = self.ratio if self.target.of == "ratio" else self.value
        return None if value is None else self.target.met(value)

    def as_dict(self) -> dict[str, Any]:
        """For the result file; ``compare`` reads it again."""
        reference = self.reference
        return {
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "ratio": self.ratio,
            "ratio_per_cpu": self.ratio_per_cpu,
            "target": vars(self.target) if self.target else None,
            "met": self.met,
            "subject": vars(self.subject),
            "reference": vars(reference) if reference else None,
        }


@dataclass(frozen=True)
class Change:
    """A figure now and in a saved result."""

    name: str
    unit: str
    before: float
    now: float
    ratio_before: float | None
    ratio_now: float | None

    @property
    def factor(self) -> float:
        return self.now / self.before if self.before else math.inf

    @property
    def ratio_factor(self) -> float | None:
        """How the ratio to the reference changed: the machine's own speed is out of it."""
        if not self.ratio_before or self.ratio_now is None:
            return None
        return self.ratio_now / self.ratio_before


def compare(now: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> list[Change]:
    """The figures that both have, in the order of ``now``; both as of ``Figure.as_dict``."""
    saved = {figure["name"]: figure for figure in before}
    return [
        Change(
            figure["name"],
            figure["unit"],
            before=saved[figure["name"]]["value"],
            now=figure["value"],
            ratio_before=saved[figure["name"]]["ratio"],
            ratio_now=figure["ratio"],
        )
        for figure in now
        if figure["name"] in saved
    ]
