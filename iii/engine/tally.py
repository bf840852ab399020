"""Counting by names that come from outside.

There are as many topics and functions as somebody likes to try, so the first label of a
``Tally`` is bounded: beyond ``MAX_NAMES`` all others are counted as one.
"""

from __future__ import annotations

from collections.abc import Iterator

from iii.engine.callcounts import OTHER

MAX_NAMES = 10_000


class Tally:
    """How often something happened, by the values of its labels.

    It iterates as the samples of an instrument (``iii.engine.instruments``).
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self._names: set[str] = set()

    def add(self, name: str, *labels: str) -> None:
        """Once more.

        :param name: one of any number of names
        :param labels: each one of a few
        """
        counts = self._counts
        key = (name, *labels)
        if key not in counts:
            names = self._names
            if name not in names and len(names) >= MAX_NAMES:
                key = (OTHER, *labels)
            else:
                names.add(name)
        counts[key] = counts.get(key, 0) + 1

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], int]]:
        return iter(list(self._counts.items()))
