"""One durable file: read at once, written in groups.

Reads of single rows happen in the reactor thread, on a connection that never writes:
they take microseconds.  Writes are handed to the ``Writer`` thread as batches, one per
reactor turn.  Reads that may be long run in the *keeper*, a third thread with its own
connection.  Nobody else touches the file.

What is in a batch, and what a failed one means for values computed from it, is the
business of whoever writes (``entries``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.storage.failures import store_error
from iii.storage.files import StoreFile
from iii.storage.store import StoreError
from iii.storage.writer import CHECKPOINT_BYTES, Apply, Batch, Done, Writer, sync_log

log = Logger()
T = TypeVar("T")

#: How old an acknowledged write may be that is not on the disk yet (durability ``os``).
SYNC_S = 1.0
READ_CACHE_KIB = 16 * 1024


class Database:
    """A store's file, open.

    :param name: for threads and log lines
    :param schema: which tables it has, see ``StoreFile``
    :param fsync: writes are answered when they are on the disk
    :raises StartError: the file can't be used
    """

    def __init__(
        self,
        engine: ModuleApi,
        path: Path,
        name: str,
        schema: str,
        *,
        fsync: bool = False,
        max_file_bytes: int | None = None,
    ) -> None:
        self._clock = engine.clock
        self._turn = engine.turn
        self._call_reactor = engine.call_from_thread
        self._file = StoreFile(path, schema)
        now = datetime.fromtimestamp(engine.clock.wall(), UTC)
        self._file.claim(f"corrupt-{now:%Y%m%dT%H%M%SZ}")
        self.path = self._file.path
        self.reader = self._connect_reader()
        self._fsync = fsync
        self._writer = Writer(
            self._file,
            name,
            fsync=fsync,
            max_file_bytes=max_file_bytes,
            call_reactor=self._call_reactor,
        )
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix=f"iii-{name}-keeper")
        self._long_reader: sqlite3.Connection | None = None
        self._upkeep: Timer | None = None
        self._unsynced = False
        self._closed = False

    # Writing ---------------------------------------------------------------------------

    def submit(self, apply: Apply, done: Done) -> None:
        """Commit what ``apply`` writes; ``done(None)`` or ``done(error)`` follows.

        After an error, batches are refused with the same error until ``resume``.
        """
        self._unsynced = True
        if self._upkeep is None:
            self._upkeep = self._clock.call_later(SYNC_S, self._keep_up)
        self._writer.submit(Batch(apply, done))

    def resume(self) -> None:
        """Everything computed before the last failure has been dropped."""
        self._writer.resume()

    # Reading ---------------------------------------------------------------------------

    def read_at_length(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Run ``work(connection)`` in the keeper thread.

        :raises StoreError: through the Deferred
        """
        answer: Deferred[T] = Deferred()

        def finished(future: Future[T]) -> None:
            self._call_reactor(_answer, answer, future)

        self._keeper.submit(self._read, work).add_done_callback(finished)
        return answer

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._long_reader is None:
            self._long_reader = self._connect_reader()
        try:
            return _in_snapshot(self._long_reader, work)
        except sqlite3.Error as error:
            raise self.error(error) from error

    def error(self, error: BaseException) -> StoreError:
        """``error`` as callers get it."""
        return store_error(self.path, error)

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._file.connect()
        connection.execute(f"PRAGMA cache_size = -{READ_CACHE_KIB}")
        connection.execute("PRAGMA query_only = ON")
        return connection

    # Upkeep ----------------------------------------------------------------------------

    def _keep_up(self) -> None:
        """Once a second while there are writes."""
        self._upkeep = None
        if self._unsynced and not self._closed:
            self._unsynced = False
            self._upkeep = self._clock.call_later(SYNC_S, self._keep_up)
            self._keeper.submit(self._sync_and_fold)

    def _sync_and_fold(self) -> None:
        try:
            if not self._fsync:
                sync_log(self._file)
            if self._file.wal.stat().st_size >= CHECKPOINT_BYTES:
                if self._long_reader is None:
                    self._long_reader = self._connect_reader()
                # Most of the log, beside the writer; it then has little left to do.
                self._long_reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._writer.fold()
        except (OSError, sqlite3.Error) as error:
            log.error("{path}: syncing its log: {error}", path=str(self.path), error=error)
            self._call_reactor(self._sync_again)

    def _sync_again(self) -> None:
        self._unsynced = True

    # End -------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Commit what was submitted, then close and release the file."""
        self._closed = True
        if self._upkeep is not None:
            self._upkeep.cancel()
            self._upkeep = None
        closed: Deferred[None] = Deferred()
        self._keeper.submit(self._end_keeper)
        self.reader.close()
        self._writer.stop(lambda: self._end(closed))
        return closed

    def _end_keeper(self) -> None:
        if self._long_reader is not None:
            self._long_reader.close()
            self._long_reader = None

    def _end(self, closed: Deferred[None]) -> None:
        self._keeper.shutdown(wait=False)
        self._file.release()
        closed.callback(None)


def _in_snapshot(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """``work(connection)``, with all of its reads between the same two commits."""
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _answer(answer: Deferred[Any], future: Future[Any]) -> None:
    error = future.exception()
    if error is None:
        answer.callback(future.result())
    else:
        answer.errback(Failure(error))
