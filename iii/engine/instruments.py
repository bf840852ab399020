"""What modules measure about themselves, for whoever shows it.

A module names an instrument and how to read it; nothing is recorded by this file, and
nothing is read until somebody asks.  So a module counts in whatever way is cheapest for
it, and does not know who shows its figures.

Modules that are loaded twice name the same instruments.  They are one to whoever shows
them: their samples together, and where two have the same labels, their sum.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Literal

from iii.engine.callcounts import Durations

Kind = Literal["gauge", "counter", "histogram"]
Value = float | Durations
Sample = tuple[tuple[str, ...], Value]
"""The values of the labels, and what was measured; ``Durations`` for histograms."""

Read = Callable[[], Iterable[Sample] | Awaitable[Iterable[Sample]]]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One figure of a module, or one per label set.

    :ivar name: by the conventions of Prometheus, e.g. ``iii_queue_depth``
    :ivar help: what it says, in a sentence
    :ivar labels: their names
    :ivar read: the present values
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Read

    async def samples(self) -> list[Sample]:
        """The present values, however long the module takes to say them."""
        read = self.read()
        return list(await read if isawaitable(read) else read)


class Instruments:
    """All instruments of an engine, in the order in which they were named, each name once."""

    def __init__(self) -> None:
        self._instruments: dict[str, list[Instrument]] = {}

    def add(self, instrument: Instrument) -> None:
        """Show ``instrument``, together with those of the same name, kind and labels.

        Those of the same name and another kind or other labels are not shown beside it.
        """
        self._instruments.setdefault(instrument.name, []).append(instrument)

    def remove(self, instrument: Instrument) -> None:
        """Show ``instrument`` no more."""
        alike = [known for known in self._instruments[instrument.name] if known is not instrument]
        if alike:
            self._instruments[instrument.name] = alike
        else:
            del self._instruments[instrument.name]

    def __iter__(self) -> Iterator[Instrument]:
        return iter([_joined(alike) for alike in self._instruments.values()])


def _joined(named: list[Instrument]) -> Instrument:
    """What instruments of one name show together."""
    last = named[-1]
    alike = [each for each in named if (each.kind, each.labels) == (last.kind, last.labels)]
    if len(alike) == 1:
        return last

    async def read() -> Iterable[Sample]:
        together: dict[tuple[str, ...], Value] = {}
        for instrument in alike:
            for labels, value in await instrument.samples():
                before = together.get(labels)
                together[labels] = value if before is None else _sum(before, value)
        return together.items()

    return replace(last, read=read)


def _sum(one: Value, other: Value) -> Value:
    if isinstance(one, Durations) and isinstance(other, Durations):
        return one + other
    if isinstance(one, Durations) or isinstance(other, Durations):
        raise TypeError("a histogram and a number can't be added")
    return one + other
