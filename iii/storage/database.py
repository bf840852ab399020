"""One durable file: read at once, written in groups.

Reads of single rows happen in the reactor thread, on a connection that never writes:
they take microseconds.  Writes are handed to the ``Writer`` thread as batches, one per
reactor turn.  Reads that may be long run in a *reader* thread.  Once a second a *keeper*
thread syncs the write-ahead log (durability ``os``) and moves it into the file when it
has grown; it has a thread of its own because a long read must not put off a sync.
Nobody else touches the file.

What is in a batch, and what a failed one means for values computed from it, is the
business of whoever writes (``entries``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.errors import Code, StartError
from iii.storage.failures import store_error
from iii.storage.files import StoreFile
from iii.storage.store import StoreError
from iii.storage.writer import CHECKPOINT_BYTES, Apply, Batch, Done, Writer, sync_log

log = Logger()
T = TypeVar("T")

#: How old an acknowledged write may be that is not on the disk yet (durability ``os``).
SYNC_S = 1.0
READ_CACHE_KIB = 64 * 1024


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
        self._fsync = fsync
        try:
            self.reader = self._connect_reader()
            self._writer = Writer(
                self._file,
                name,
                fsync=fsync,
                max_file_bytes=max_file_bytes,
                call_reactor=self._call_reactor,
            )
        except sqlite3.Error as error:
            self._file.release()
            raise StartError(Code.STORE_ERROR, self.error(error).message) from error
        self._long = _Thread(f"iii-{name}-reader", self._connect_reader)
        self._keeper = _Thread(f"iii-{name}-keeper", self._connect_reader)
        self._upkeep: Timer | None = None
        self._unsynced = False
        self._syncing = False
        self._closed = False

    # Writing ---------------------------------------------------------------------------

    def submit(self, apply: Apply, done: Done) -> None:
        """Commit what ``apply`` writes; ``done(None)`` or ``done(error)`` follows.

        After an error, batches are refused with the same error until ``resume``.
        """
        self._writer.submit(Batch(apply, partial(self._committed, done)))

    def _committed(self, done: Done, error: BaseException | None) -> None:
        # Not at the submit: a sync that began before the commit doesn't cover it.
        self._unsynced = True
        self._arm()
        done(error)

    def resume(self) -> None:
        """Everything computed before the last failure has been dropped."""
        self._writer.resume()

    # Reading ---------------------------------------------------------------------------

    def read_at_length(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Run ``work(connection)`` in the reader thread; all of it sees the same commits.

        :raises StoreError: through the Deferred
        """
        answer: Deferred[T] = Deferred()

        def finished(future: Future[T]) -> None:
            self._call_reactor(_answer, answer, future)

        self._long.submit(self._read, work).add_done_callback(finished)
        return answer

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return _in_snapshot(self._long.connection(), work)
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

    def _arm(self) -> None:
        if self._upkeep is None and not self._closed:
            self._upkeep = self._clock.call_later(SYNC_S, self._keep_up)

    def _keep_up(self) -> None:
        """Once a second while there is something to sync."""
        self._upkeep = None
        if not self._unsynced:
            return
        self._arm()
        if not self._syncing and not self._closed:
            self._unsynced = False
            self._syncing = True
            self._keeper.submit(self._sync_and_fold)

    def _sync_and_fold(self) -> None:
        done = False
        try:
            if not self._fsync:
                sync_log(self._file)
            if self._file.wal.stat().st_size >= CHECKPOINT_BYTES:
                # Most of the log, beside the writer; it then has little left to do.
                self._keeper.connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._writer.fold()
            done = True
        except (OSError, sqlite3.Error) as error:
            log.error("{path}: syncing its log: {error}", path=str(self.path), error=error)
        finally:
            self._call_reactor(self._kept, done)

    def _kept(self, done: bool) -> None:
        """The sync is over; one that failed is tried again."""
        self._syncing = False
        if not done:
            self._unsynced = True
            self._arm()

    # End -------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Commit what was submitted, then close and release the file."""
        self._closed = True
        if self._upkeep is not None:
            self._upkeep.cancel()
            self._upkeep = None
        self.reader.close()
        closed: Deferred[None] = Deferred()

        def stop_writer(_: object) -> None:
            self._call_reactor(self._writer.stop, lambda: self._end(closed))

        # One after the other: the last connection to close folds the log.
        self._long.close().add_done_callback(
            lambda _: self._keeper.close().add_done_callback(stop_writer)
        )
        return closed

    def _end(self, closed: Deferred[None]) -> None:
        self._file.release()
        closed.callback(None)


class _Thread:
    """A thread that has a connection of its own, made when it is wanted."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    def submit(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Run ``work(*args)`` in the thread, behind what was submitted before."""
        return self._pool.submit(work, *args)

    def connection(self) -> sqlite3.Connection:
        """In the thread: its connection.

        :raises sqlite3.Error: there can't be one
        """
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> Future[None]:
        """Close the connection behind everything submitted, and end."""
        closed = self._pool.submit(self._close)
        self._pool.shutdown(wait=False)
        return closed

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


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
