"""What a journal has under way: batches of writes, and reads of rows.

A batch is filled until the writer has room for it, at least for one reactor turn, and left
alone once it is submitted, because the writer's thread then looks at it; only who waits for
it may still be added.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from iii.modules.queue.message import Message
from iii.modules.queue.rows import Changes, Piece, Row, insert

Then = Callable[[list[Message]], None]
"""Takes on messages that are as safe as the durability says."""


class Reading:
    """A read of a row, from the question to the answer.

    :ivar touched: messages that were changed meanwhile
    """

    __slots__ = ("answer", "touched", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], list[Piece]]) -> None:
        self.work = work
        self.touched: set[int] = set()
        self.answer: Deferred[list[Piece]] = Deferred()


class Batch:
    """The writes of one turn, or of several.

    :ivar new: messages that are not on disk yet
    :ivar then: who takes them on once they are, after everybody has been told
    :ivar first: the lowest number of its new messages
    :ivar size: bytes of their data
    :ivar owed: changes of earlier batches that failed
    :ivar readers: reads that want to see it
    """

    __slots__ = (
        "changes",
        "first",
        "new",
        "owed",
        "promises",
        "readers",
        "rows",
        "size",
        "statements",
        "then",
    )

    def __init__(self) -> None:
        self.new: list[Message] = []
        self.rows: list[Row] = []
        self.then: list[tuple[Then, list[Message]]] = []
        self.first: int | None = None
        self.size = 0
        self.changes = Changes()
        self.owed: Changes | None = None
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self.promises: list[Deferred[None]] = []
        self.readers: list[Reading] = []

    def add(self, message: Message) -> None:
        """A new message."""
        self.new.append(message)
        # Now: the writer's thread must not look at a message that is changed meanwhile.
        self.rows.append(message.row())
        self.size += len(message.data)
        if self.first is None:
            self.first = message.seq

    def promise(self) -> Deferred[None]:
        """Fires when it is committed."""
        promise: Deferred[None] = Deferred()
        self.promises.append(promise)
        return promise

    def apply(self, connection: sqlite3.Connection) -> None:
        """Writer thread: write it."""
        if self.rows:
            insert(connection, self.rows)
        (self.changes if self.owed is None else self.owed.then(self.changes)).apply(connection)
        for statement, parameters in self.statements:
            connection.execute(statement, parameters)
