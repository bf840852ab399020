"""Reading a store's rows ahead, once it is used.

A single row costs ten times as much from the file as from the cache.  The first read that
misses starts this: piece by piece, newest rows first, with pauses that leave the machine to
others, until the cache is nearly full or everything is in it.

A row that is read here may be older than what the reactor knows.  So it only fills gaps:
a slot that the cache knows, that has a pending write, or that was written since the piece
was asked for (and may have left the cache again) is left alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.storage.cache import Cache, Slot, Unknown
from iii.storage.database import Database

log = Logger()

PIECE_ROWS = 1_000
PAUSE_S = 0.002

_PIECE = (
    "SELECT position, first, second, key, value FROM entries WHERE position < ? "
    "ORDER BY position DESC LIMIT ?"
)


class Warming:
    """Fills ``cache`` from ``database``.

    :param is_pending: whether a slot has a write that is not committed
    """

    def __init__(
        self,
        database: Database,
        cache: Cache,
        clock: Clock,
        is_pending: Callable[[Slot], bool],
    ) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock
        self._is_pending = is_pending
        self._below = 2**62
        self._timer: Timer | None = None
        self._stopped = False
        #: what was committed while a piece is being read; None: none is
        self._written: set[Slot] | None = None

    def start(self) -> None:
        """Begin, soon."""
        self._timer = self._clock.call_later(PAUSE_S, self._read)

    def committed(self, slots: Iterable[Slot]) -> None:
        """Slots were written."""
        if self._written is not None:
            self._written.update(slots)

    def stop(self) -> None:
        """No more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _read(self) -> None:
        below = self._below
        self._written = set()

        def piece(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(_PIECE, (below, PIECE_ROWS)).fetchall()

        self._database.read_at_length(piece).addCallbacks(self._fill, self._failed)

    def _fill(self, rows: list[Any]) -> None:
        cache = self._cache
        written, self._written = self._written or set(), None
        for position, first, second, key, value in rows:
            slot = (first, second, key)
            if slot in written or self._is_pending(slot):
                continue
            if isinstance(cache.get(slot), Unknown):
                cache.put(slot, (position, value))
        if len(rows) == PIECE_ROWS and not self._stopped and not cache.nearly_full:
            self._below = rows[-1][0]
            self._timer = self._clock.call_later(PAUSE_S, self._read)

    def _failed(self, failure: Failure) -> None:
        """Reads go on one by one, and those that matter tell their callers."""
        self._written = None
        if not self._stopped:
            log.warn(
                "{path}: reading ahead: {error}", path=str(self._database.path), error=failure.value
            )
