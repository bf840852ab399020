"""What keeps the archive within its size and its age.

It happens in the writer thread, one small step per commit, so that spans are written in
between.  Too large: the oldest traces go, whole, until there is some room again; new spans
then take the places that became free.  Too old: the same.  When more of the file is free
than will soon be used, it is given back to the disk (incremental vacuum).

A trace is as old as its first span here.  Its spans go from the newest to the oldest: what
one step leaves of a long trace is still the oldest thing in the file, and the next step
goes on there.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from iii.storage.writer import CHECKPOINT_BYTES

#: A step ends when so many bytes have become free: more than a batch needs …
STEP_BYTES = 16 * 1024 * 1024
#: … or so many spans have gone …
STEP_ROWS = 16_000
#: … a part at a time.
PART_ROWS = 1_000
#: A step gives so many pages back to the disk.
SHRINK_PAGES = 256
#: Trimming goes on until so much of the budget is used.
TRIMMED_RATIO = 0.95
#: The file is made smaller when this share of it is free, and more than a step's worth.
FREE_RATIO = 0.25
#: However large a burst has made the log, traces may have this share of the limit.
MIN_RATIO = 0.25

Did = Literal["nothing", "removed", "shrunk"]

_OLDEST = "SELECT trace_id FROM spans WHERE received_us < ? ORDER BY received_us LIMIT ?"
_REMOVE = (
    "DELETE FROM spans WHERE received_us IN (SELECT received_us FROM spans "
    "WHERE trace_id IN (SELECT value FROM json_each(?)) ORDER BY received_us DESC LIMIT ?)"
)
_STALE = (
    "SELECT received_us, trace_id, span_id FROM spans "
    "WHERE end_ns = 0 AND received_us < ? ORDER BY received_us LIMIT ?"
)
_REMOVE_STALE = "DELETE FROM spans WHERE received_us IN (SELECT value ->> 0 FROM json_each(?))"
_NOW_ROOTS = (
    "UPDATE spans SET root = 1 WHERE received_us IN (SELECT s.received_us FROM json_each(?) AS j "
    "CROSS JOIN spans AS s ON s.trace_id = j.value ->> 1 AND s.parent = j.value ->> 2)"
)
_EVER = 2**63 - 1


class Due(NamedTuple):
    """What is too old, in microseconds since the epoch.

    :ivar traces: those that began before
    :ivar pending: spans that are under way since before
    """

    traces: int
    pending: int


class Upkeep:
    """Looks after one file, in its writer thread.

    :param max_bytes: the file and its write-ahead log together
    :param log: the write-ahead log
    """

    def __init__(self, max_bytes: int, log: Path) -> None:
        self._max_bytes = max_bytes
        self._log = log
        self._trimming = False

    def wanted(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is too large, or too empty."""
        used, free, page_bytes = _measure(connection)
        return used > self._budget() or self._too_empty(used, free, page_bytes)

    def step(self, connection: sqlite3.Connection, due: Due) -> Did:
        """Do a little of what is most urgent."""
        used, free, page_bytes = _measure(connection)
        budget = self._budget()
        self._trimming = used > (budget * TRIMMED_RATIO if self._trimming else budget)
        if self._trimming:
            return "removed" if _remove(connection, _EVER) else "nothing"
        if _remove(connection, due.traces) or _forget_pending(connection, due.pending):
            return "removed"
        if self._too_empty(used, free, page_bytes):
            _shrink(connection)
            return "shrunk"
        return "nothing"

    def _budget(self) -> int:
        """What the file may have without the log, which doesn't shrink while it is in use."""
        log_bytes = self._log.stat().st_size if self._log.exists() else 0
        beside = max(CHECKPOINT_BYTES, log_bytes)
        return max(self._max_bytes - beside, int(self._max_bytes * MIN_RATIO))

    def _too_empty(self, used: int, free: int, page_bytes: int) -> bool:
        if free <= SHRINK_PAGES * page_bytes:
            return False
        return free > FREE_RATIO * (used + free) or used + free > self._budget()


def make_shrinkable(connection: sqlite3.Connection) -> None:
    """Let free pages be given back; a file that was just made is written anew for it."""
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")


def _measure(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Bytes used, bytes free, bytes of a page."""
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return (pages - free) * page_bytes, free * page_bytes, page_bytes


def _remove(connection: sqlite3.Connection, before_us: int) -> bool:
    """Remove some of the oldest traces that began before a time; whether there were any."""
    used, _, _ = _measure(connection)
    removed = 0
    while removed < STEP_ROWS:
        oldest = connection.execute(_OLDEST, (before_us, PART_ROWS)).fetchall()
        if not oldest:
            break
        ids = msgspec.json.encode(list({trace_id for (trace_id,) in oldest})).decode()
        removed += connection.execute(_REMOVE, (ids, PART_ROWS)).rowcount
        if used - _measure(connection)[0] >= STEP_BYTES:
            break
    return removed > 0


def _forget_pending(connection: sqlite3.Connection, before_us: int) -> bool:
    """Remove spans whose end nobody will tell any more; whether there were any."""
    stale = connection.execute(_STALE, (before_us, PART_ROWS)).fetchall()
    if stale:
        ids = msgspec.json.encode(stale).decode()
        connection.execute(_REMOVE_STALE, (ids,))
        connection.execute(_NOW_ROOTS, (ids,))
    return bool(stale)


def _shrink(connection: sqlite3.Connection) -> None:
    for _ in range(SHRINK_PAGES):
        # However many pages it is asked for, Python's sqlite3 goes on after the first only.
        connection.execute("PRAGMA incremental_vacuum(1)")
