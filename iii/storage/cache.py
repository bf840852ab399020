"""Rows that were read or written lately, within a limit in bytes.

Two generations: what is used moves to the young one; when the young one has half of
the bytes, it becomes the old one and the old one is forgotten.  That keeps what is in
use for the price of a dictionary, without an order to maintain on every read.
"""

from __future__ import annotations

from typing import Final

#: ``(first, second, key)``
Slot = tuple[str, str, str]
#: Position and value.
Row = tuple[int, bytes]

#: What an entry costs besides its bytes, measured with CPython 3.11.
OVERHEAD_BYTES: Final = 350


class Unknown:
    """The cache has no answer."""


UNKNOWN: Final = Unknown()


class Cache:
    """Slot → row; None is the knowledge that there is none.

    :param limit_bytes: keys, values and overhead together; 0 keeps nothing
    """

    def __init__(self, limit_bytes: int) -> None:
        self._half = limit_bytes // 2
        self._young: dict[Slot, Row | None] = {}
        self._old: dict[Slot, Row | None] = {}
        self._young_bytes = 0

    def get(self, slot: Slot) -> Row | Unknown | None:
        """The row, or ``UNKNOWN``."""
        row = self._young.get(slot, UNKNOWN)
        if row is not UNKNOWN:
            return row
        row = self._old.get(slot, UNKNOWN)
        if not isinstance(row, Unknown):
            self.put(slot, row)
        return row

    def put(self, slot: Slot, row: Row | None) -> None:
        """Remember ``row``, unless it alone would fill a generation."""
        young = self._young
        before = young.pop(slot, UNKNOWN)
        if not isinstance(before, Unknown):
            self._young_bytes -= _size(slot, before)
        size = _size(slot, row)
        if size > self._half:
            self._old.pop(slot, None)
            return
        young[slot] = row
        self._young_bytes += size
        if self._young_bytes > self._half:
            self._old = young
            self._young = {}
            self._young_bytes = 0


def _size(slot: Slot, row: Row | None) -> int:
    # The length of a text is not its bytes; the overhead is generous.
    # Every slot has texts of its own, also of a bucket that others are in.
    size = OVERHEAD_BYTES + len(slot[0]) + len(slot[1]) + len(slot[2])
    return size if row is None else size + len(row[1])
