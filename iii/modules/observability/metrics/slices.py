"""Long lists become JSON in slices, between which the reactor does other things."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.engine.clock import Clock

#: How much is done at once: a point, a row.
SLICE_ITEMS = 1_000

_encode = msgspec.json.encode


class JsonList:
    """A JSON list that is written bit by bit."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: list[bytes] = []
        self._rows: list[msgspec.Struct] = []
        self._weight = 0

    def __len__(self) -> int:
        return len(self._rows) + len(self._parts)

    def add(self, row: msgspec.Struct, weight: int = 1) -> bool:
        """One more row; true when ``others_first`` is due.

        :param weight: how many items of work it was
        """
        self._rows.append(row)
        return self.did(weight)

    def did(self, items: int) -> bool:
        """Other work was done; true when ``others_first`` is due."""
        self._weight += items
        return self._weight >= SLICE_ITEMS

    def others_first(self) -> Deferred[None]:
        """Fires when the reactor has had a turn."""
        self._write()
        return self._clock.pause()

    async def extend(self, rows: Iterable[msgspec.Struct]) -> None:
        """All of ``rows``."""
        for row in rows:
            if self.add(row):
                await self.others_first()

    def json(self) -> Raw:
        """The list."""
        self._write()
        return Raw(b"[" + b",".join(self._parts) + b"]")

    def _write(self) -> None:
        if self._rows:
            self._parts.append(_encode(self._rows)[1:-1])
        self._rows = []
        self._weight = 0
