"""The one thread that writes a store's file.

The reactor thread computes what is to be written and reads; it never commits.  Each
turn hands over one *batch* of work; this thread takes all batches that wait and puts
them into one transaction (group commit), so under load a commit costs a fraction of a
write.  When the commit is done, every batch is told in the reactor thread, in order.

A transaction that fails takes all its batches with it, and every batch that was handed
over before the reactor heard of it: what they contain was computed from values that
never became real.  ``resume`` marks the point in the queue from which on the reactor
knew.

Two more threads per file never write values, so that neither waits for the other.  The
*reader* runs reads that may be long.  The *keeper* syncs the write-ahead log once a second
(durability ``os``) and moves it into the file when it has grown; only the last step of
that, which needs a moment without writes, is the writer's.  ``database`` owns all three.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from twisted.logger import Logger

from iii.storage.files import StoreFile

log = Logger()

#: The write-ahead log is moved into the file when it has grown to this.
CHECKPOINT_BYTES = 32 * 1024 * 1024
#: So many batches share a transaction at most: a caller waits for all of them.
MAX_MERGED_BATCHES = 256

Apply = Callable[[sqlite3.Connection], None]
"""Writes one batch; runs in the writer thread, inside a transaction."""

Done = Callable[[BaseException | None], None]
"""Told in the reactor thread how the commit went."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Work to be committed as one."""

    apply: Apply
    done: Done


class _Resume:
    """The reactor knows of the failure; what follows was computed afterwards."""


class _Stop:
    """The last item."""


class Writer:
    """Commits batches in a thread of its own.

    :param fsync: a commit is synced to the disk
    :param max_file_bytes: the file grows to this and not beyond
    :param call_reactor: runs a function in the reactor thread
    """

    def __init__(
        self,
        file: StoreFile,
        name: str,
        *,
        fsync: bool,
        max_file_bytes: int | None,
        call_reactor: Callable[..., Any],
    ) -> None:
        self._file = file
        self._fsync = fsync
        self._max_file_bytes = max_file_bytes
        self._call_reactor = call_reactor
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._failure: BaseException | None = None
        self._connection = self._connect()
        self._thread = threading.Thread(target=self._run, name=f"iii-{name}-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        """Commit ``batch`` after all before it."""
        self._queue.put(batch)

    def resume(self) -> None:
        """The reactor has dropped everything computed before the failure."""
        self._queue.put(_Resume)

    def fold(self) -> None:
        """Finish moving the log into the file."""
        self._queue.put(self._fold)

    def stop(self, stopped: Callable[[], None]) -> None:
        """Commit what waits, close, and tell ``stopped`` in the reactor thread."""
        self._queue.put((_Stop, stopped))

    # In the thread ---------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = self._file.connect()
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._fsync else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA cache_size = -16384")
        if self._max_file_bytes is not None:
            page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
            pages = max(1, self._max_file_bytes // page_bytes)
            connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    def _run(self) -> None:
        take = self._queue.get
        while True:
            item = take()
            batches: list[Batch] = []
            while isinstance(item, Batch):
                batches.append(item)
                if len(batches) == MAX_MERGED_BATCHES or self._queue.empty():
                    item = None
                    break
                item = take()
            if batches:
                self._commit(batches)
            if item is _Resume:
                self._failure = None
            elif isinstance(item, tuple):
                self._close(item[1])
                return
            elif item is not None:
                item()

    def _commit(self, batches: list[Batch]) -> None:
        connection = self._connection
        if self._failure is None:
            try:
                connection.execute("BEGIN IMMEDIATE")
                for batch in batches:
                    batch.apply(connection)
                connection.execute("COMMIT")
            except Exception as error:
                # Whatever it is, callers hear it: the thread has to live.
                self._failure = error
                self._roll_back()
        self._call_reactor(_tell, batches, self._failure)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                log.failure("{path}: rolling back", path=str(self._file.path))

    def _fold(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.error("{path}: folding its log: {error}", path=str(self._file.path), error=error)

    def _close(self, stopped: Callable[[], None]) -> None:
        try:
            # The last connection to close folds the log and removes it.
            self._connection.close()
        except sqlite3.Error as error:
            log.error("{path}: closing it: {error}", path=str(self._file.path), error=error)
        self._call_reactor(stopped)


def _tell(batches: list[Batch], failure: BaseException | None) -> None:
    for batch in batches:
        batch.done(failure)


def sync_log(file: StoreFile) -> None:
    """Sync the write-ahead log to the disk.

    :raises OSError: the disk refuses
    """
    descriptor = os.open(file.wal, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
