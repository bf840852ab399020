"""Finding the triggers that an event concerns, by what they filter for.

A *filter* is a tuple: for each property of an event the value it must have, or None for
any.  Bindings are kept under their filter, so an event with *n* properties costs 2ⁿ
look-ups, however many triggers there are, and nothing at all while there are none.
"""

from __future__ import annotations

from itertools import product

from iii.engine.bindings import Binding

Filter = tuple[str | None, ...]
Concerned = list[tuple[Binding, str | None]]
"""Bindings, each with its condition function."""


class Filters:
    """Bindings under their filters."""

    def __init__(self) -> None:
        self._bindings: dict[Filter, dict[Binding, str | None]] = {}
        self._filters: dict[Binding, Filter] = {}

    def add(self, binding: Binding, wanted: Filter, condition: str | None) -> None:
        """``binding`` wants events that ``wanted`` fits."""
        self._filters[binding] = wanted
        self._bindings.setdefault(wanted, {})[binding] = condition or None

    def remove(self, binding: Binding) -> None:
        """It doesn't any more; one that was refused is fine."""
        wanted = self._filters.pop(binding, None)
        if wanted is not None:
            del self._bindings[wanted][binding]
            if not self._bindings[wanted]:
                del self._bindings[wanted]

    def concerned(self, *properties: str | None) -> Concerned:
        """Who wants an event with these properties."""
        known = self._bindings
        if not known:
            return []
        # A property that is None has no value to ask for.
        asked = product(*((p, None) if p is not None else (None,) for p in properties))
        return [item for wanted in asked if wanted in known for item in known[wanted].items()]
