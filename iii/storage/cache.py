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

#: What an entry costs besides its texts and value, measured with CPython 3.11.
OVERHEAD_BYTES: Final = 130
#: Positions are kept in front of their values: two objects less for each row.
_POSITION_BYTES: Final = 8


class Unknown:
    """The cache has no answer."""


UNKNOWN: Final = Unknown()

#: ``(first, second)`` → key → position and value in one, or None.
_Generation = dict[tuple[str, str], dict[str, bytes | None]]


class Cache:
    """Slot → row; None is the knowledge that there is none.

    :param limit_bytes: keys, values and overhead together; 0 keeps nothing
    """

    def __init__(self, limit_bytes: int) -> None:
        self._half = limit_bytes // 2
        self._young: _Generation = {}
        self._old: _Generation = {}
        self._young_bytes = 0

    @property
    def nearly_full(self) -> bool:
        """Whether more would soon push something out."""
        return not self._half or (bool(self._old) and self._young_bytes > self._half * 0.9)

    def get(self, slot: Slot) -> Row | Unknown | None:
        """The row, or ``UNKNOWN``."""
        bucket, key = slot[:2], slot[2]
        rows = self._young.get(bucket)
        packed = UNKNOWN if rows is None else rows.get(key, UNKNOWN)
        if packed is UNKNOWN:
            rows = self._old.get(bucket)
            packed = UNKNOWN if rows is None else rows.get(key, UNKNOWN)
            if not isinstance(packed, Unknown):
                self._put(slot, packed)
        if packed is None or isinstance(packed, Unknown):
            return packed
        position = int.from_bytes(packed[:_POSITION_BYTES], "big")
        return position, packed[_POSITION_BYTES:]

    def put(self, slot: Slot, row: Row | None) -> None:
        """Remember ``row``, unless it alone would fill a generation."""
        self._put(slot, None if row is None else row[0].to_bytes(_POSITION_BYTES, "big") + row[1])

    def _put(self, slot: Slot, packed: bytes | None) -> None:
        bucket, key = slot[:2], slot[2]
        rows = self._young.get(bucket)
        if rows is None:
            rows = self._young[bucket] = {}
            # A bucket's texts and table are there once.
            self._young_bytes += OVERHEAD_BYTES + len(slot[0]) + len(slot[1])
        before = rows.pop(key, UNKNOWN)
        if not isinstance(before, Unknown):
            self._young_bytes -= _size(key, before)
        size = _size(key, packed)
        if size > self._half:
            self._old.get(bucket, {}).pop(key, None)
            return
        rows[key] = packed
        self._young_bytes += size
        if self._young_bytes > self._half:
            self._old = self._young
            self._young = {}
            self._young_bytes = 0


def _size(key: str, packed: bytes | None) -> int:
    # The length of a text is not its bytes; the overhead is generous.
    size = OVERHEAD_BYTES + len(key)
    return size if packed is None else size + len(packed)
