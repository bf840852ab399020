"""What the archive gives its writer thread: spans to write, or a step of upkeep to do."""

from __future__ import annotations

import sqlite3

from iii.modules.observability.archive import rows
from iii.modules.observability.archive.rows import Row
from iii.modules.observability.archive.upkeep import Did, Due, Upkeep


class Chunk:
    """Spans that wait together.

    :ivar size: about how many bytes of memory they take
    """

    __slots__ = ("rows", "size")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.size = 0


class Write:
    """A batch for the writer thread.

    :ivar forgotten: it is not to be tried again
    """

    def __init__(self, chunks: list[Chunk], dropped: int, upkeep: Upkeep) -> None:
        self.chunks = chunks
        self.last_us: int = chunks[-1].rows[-1][0]
        self.dropped = dropped
        self._upkeep = upkeep
        self.upkeep_wanted = False
        self.forgotten = False

    def apply(self, connection: sqlite3.Connection) -> None:
        """Writer thread: write it."""
        for chunk in self.chunks:
            rows.write(connection, chunk.rows)
        if self.dropped:
            rows.add_dropped(connection, self.dropped)
        self.upkeep_wanted = self._upkeep.wanted(connection)


class Step:
    """A step of upkeep for the writer thread."""

    def __init__(self, due: Due, upkeep: Upkeep) -> None:
        self._due = due
        self._upkeep = upkeep
        self.did: Did = "nothing"

    def apply(self, connection: sqlite3.Connection) -> None:
        """Writer thread: do it."""
        self.did = self._upkeep.step(connection, self._due)
