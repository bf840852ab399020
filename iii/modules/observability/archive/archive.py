"""Traces that outlive the engine: ``trace_storage``, also ``persist: true``.

Every span goes to a file, beside the memory, and lists and trees of traces are made from
it (``beyond``).  Who makes spans never waits for a commit, only who reads does: spans
gather in a backlog, one batch at a time is with the writer thread, and what doesn't fit
into the backlog is dropped and counted, also across restarts.

A disk that is full or a file that is broken is told once, and tried again every second;
calls never notice.  Steps of upkeep take turns with batches (``upkeep``).
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from iii.engine.clock import Timer
from iii.errors import Code, IIIError, StartError
from iii.modules.observability.archive import reading, rows
from iii.modules.observability.archive.batches import Chunk, Step, Write
from iii.modules.observability.archive.rows import Row
from iii.modules.observability.archive.upkeep import Due, Upkeep, make_shrinkable
from iii.modules.observability.beyond import Found, Query, Storage
from iii.modules.observability.config import TraceStorage
from iii.modules.observability.hub import Hub
from iii.modules.observability.model import Span
from iii.storage.database import Database
from iii.storage.kvstore import StoreConfig, open_database
from iii.storage.store import StoreError

log = Logger()
T = TypeVar("T")

#: File, threads and log lines are called so; the schema too.
NAME = "traces"

#: Spans that wait for the disk may hold so much; more are dropped.
MAX_BACKLOG_BYTES = 32 * 1024 * 1024
#: One commit has about so much …
BATCH_BYTES = 8 * 1024 * 1024
#: … and so many chunks of so many spans.
BATCH_CHUNKS = 8
CHUNK_ROWS = 1_000
#: How long the first span of a batch waits for others, unless somebody wants to read it: trace
#: ids are random, so every commit writes most pages of their index again.
GATHER_S = 1.0
RETRY_S = 1.0
UPKEEP_S = 60.0
#: Between two steps that make the file smaller.
SHRINK_PAUSE_S = 0.05

#: Full, locked, read-only, broken: it may be mended.  Other errors are the batch's own.
_OF_THE_DISK = (sqlite3.OperationalError, sqlite3.DatabaseError)


class Archive:
    """All spans in one file.

    :param stores: the file's path is entered here, for the start-up summary
    """

    def __init__(self, hub: Hub, storage: TraceStorage, stores: dict[str, str]) -> None:
        self._hub = hub
        self._clock = hub.engine.clock
        self._storage = storage
        self._stores = stores
        self._database: Database
        self._upkeep: Upkeep
        self._backlog: deque[Chunk] = deque()
        self._backlog_bytes = 0
        self._last_us = 0
        #: what is with the writer, when it is spans
        self._writing: Write | None = None
        self._busy = False
        #: the backlog has gathered long enough
        self._ripe = False
        self._wrote = False
        self._upkeep_due = False
        #: readers, and the last span they want to see
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._timers: dict[Callable[[], None], Timer] = {}
        self._dropped = 0
        self._dropped_unrecorded = 0
        self._dropping = False
        self._failing = False
        self._last_error: str | None = None
        self._closed = True

    def start(self) -> None:
        """Open the file and listen.

        :raises StartError: the directory or file can't be used
        """
        settings = StoreConfig(file_path=self._storage.directory)
        database = open_database(self._hub.engine, settings, NAME, NAME, self._stores)
        try:
            with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
                make_shrinkable(connection)
            self._last_us, self._dropped = rows.recall(database.reader)
        except sqlite3.Error as error:
            database.close()
            raise StartError(Code.STORE_ERROR, database.error(error).message) from error
        self._database = database
        self._upkeep = Upkeep(self._storage.max_disk_bytes, self._log)
        self._closed = False
        self._hub.on_spans(self._received)
        self._look_after()

    def stop(self) -> Deferred[None]:
        """Write what there is, then let go of the file; after the hub's ``stop``."""
        if self._closed:
            return succeed(None)
        self._hub.flush()
        self._hub.forget(self._received)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._closed = True
        self._tell_waiting(self._last_us)
        while self._backlog:
            self._submit_batch()
        return self._database.close()

    # Asking ----------------------------------------------------------------------------

    def status(self) -> Storage:
        """How it is."""
        files = (self._database.path, self._log)
        return Storage(
            archive="failing" if self._failing else "ready",
            completeness="partial" if self._dropped else "complete",
            known_dropped_spans=self._dropped,
            physical_bytes=sum(file.stat().st_size for file in files if file.exists()),
            max_disk_bytes=self._storage.max_disk_bytes,
            last_error=self._last_error,
        )

    async def spans_of(self, trace_id: str, limit: int = reading.MAX_READ_SPANS) -> list[Span]:
        """The spans of a trace, earliest first.

        :raises StoreError: the file can't be read
        """
        return await self._read(lambda connection: reading.spans_of(connection, trace_id, limit))

    async def find(self, query: Query) -> Found:
        """A page of roots, or of all spans.

        :raises StoreError: the file can't be read
        """
        return await self._read(lambda connection: reading.find(connection, query))

    async def clear(self) -> None:
        """Forget everything up to now.

        :raises IIIError: ``trace_storage_clear_failed``
        """
        if self._closed:
            raise IIIError(Code.TRACE_STORAGE_CLEAR_FAILED, self._gone().message)
        self._hub.flush()
        self._backlog.clear()
        self._backlog_bytes = 0
        if self._writing is not None:
            self._writing.forgotten = True
        dropped, unrecorded = self._dropped, self._dropped_unrecorded
        self._dropped_unrecorded = 0
        cleared: Deferred[BaseException | None] = Deferred()
        self._database.submit(rows.clear, cleared.callback)
        failure = await cleared
        self._tell_waiting(self._last_us)
        if failure is not None:
            self._database.resume()
            self._dropped_unrecorded += unrecorded
            self._last_error = self._database.error(failure).message
            raise IIIError(
                Code.TRACE_STORAGE_CLEAR_FAILED,
                f"the stored traces are still there: {self._last_error}",
            )
        self._dropped -= dropped
        self._upkeep_due = True
        self._next()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        return self._settled().addCallback(lambda _: self._in_reader(work))

    def _in_reader(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        if self._closed:
            return fail(self._gone())
        return self._database.read_at_length(work)

    def _settled(self) -> Deferred[None]:
        """Fires when every span so far is written, or the disk doesn't take it."""
        if self._closed:
            return fail(self._gone())
        self._hub.flush()
        if self._failing or not (self._backlog or self._writing):
            return succeed(None)
        settled: Deferred[None] = Deferred()
        self._waiting.append((self._last_us, settled))
        self._next()
        return settled

    @property
    def _log(self) -> Path:
        """The write-ahead log."""
        return Path(f"{self._database.path}-wal")

    def _gone(self) -> StoreError:
        return StoreError(Code.SHUTTING_DOWN, "the archive of traces is closed")

    # Receiving -------------------------------------------------------------------------

    def _received(self, spans: list[Span]) -> None:
        now_us = self._now_us()
        dropped = 0
        live = self._hub.settings.live_spans
        for span in spans:
            if span.pending and not live:
                continue
            try:
                row = rows.row_of(span, max(self._last_us + 1, now_us))
            except ValueError:
                dropped += 1
                continue
            size = rows.weight(row)
            if self._backlog_bytes + size > MAX_BACKLOG_BYTES:
                dropped += 1
                continue
            self._last_us = row[0]
            self._keep(row, size)
        if dropped:
            self._drop(dropped)
            if not self._dropping:
                self._dropping = True
                log.warn(
                    "{path}: too many spans wait to be stored: new ones are dropped and counted",
                    path=str(self._database.path),
                )
        if self._backlog:
            self._later(GATHER_S, self._gathered)
            self._next()

    def _keep(self, row: Row, size: int) -> None:
        backlog = self._backlog
        if not backlog or len(backlog[-1].rows) >= CHUNK_ROWS:
            backlog.append(Chunk())
        chunk = backlog[-1]
        chunk.rows.append(row)
        chunk.size += size
        self._backlog_bytes += size

    def _gathered(self) -> None:
        self._ripe = bool(self._backlog)
        self._next()

    def _drop(self, count: int) -> None:
        self._hub.drop("archive.spans", count)
        self._dropped += count
        self._dropped_unrecorded += count

    # Writing ---------------------------------------------------------------------------

    def _next(self) -> None:
        """Give the writer something to do, if there is something and it is idle."""
        if self._busy or self._closed or self._retry in self._timers:
            return
        full = self._backlog_bytes >= BATCH_BYTES
        ready = bool(self._backlog) and (full or self._ripe or bool(self._waiting))
        if self._upkeep_due and (self._wrote or not ready):
            self._wrote = self._upkeep_due = False
            self._submit_step()
        elif ready:
            self._wrote = True
            self._submit_batch()

    def _submit_batch(self) -> None:
        chunks: list[Chunk] = []
        size = 0
        while self._backlog and size < BATCH_BYTES and len(chunks) < BATCH_CHUNKS:
            chunk = self._backlog.popleft()
            size += chunk.size
            chunks.append(chunk)
        self._backlog_bytes -= size
        self._ripe = self._ripe and bool(self._backlog)
        write = Write(chunks, self._dropped_unrecorded, self._upkeep)
        self._dropped_unrecorded = 0
        self._writing = write
        self._busy = True
        self._database.submit(write.apply, partial(self._written, write))

    def _submit_step(self) -> None:
        now_us = self._now_us()
        retention_s = self._storage.retention_seconds
        step = Step(
            Due(
                traces=now_us - retention_s * 1_000_000 if retention_s else 0,
                pending=now_us - self._storage.pending_max_age_seconds * 1_000_000,
            ),
            self._upkeep,
        )
        self._busy = True
        self._database.submit(step.apply, partial(self._stepped, step))

    def _written(self, write: Write, failure: BaseException | None) -> None:
        self._busy = False
        self._writing = None
        if failure is not None:
            self._dropped_unrecorded += write.dropped
            self._refused([] if write.forgotten else write.chunks, failure)
            return
        self._upkeep_due |= write.upkeep_wanted
        self._succeeded()
        self._tell_waiting(write.last_us)
        self._next()

    def _stepped(self, step: Step, failure: BaseException | None) -> None:
        self._busy = False
        if failure is not None:
            self._upkeep_due = type(failure) in _OF_THE_DISK
            self._refused([], failure)
            return
        self._succeeded()
        if step.did == "removed":
            self._upkeep_due = True
        elif step.did == "shrunk":
            self._later(SHRINK_PAUSE_S, self._upkeep_now)
        self._next()

    def _upkeep_now(self) -> None:
        self._upkeep_due = True
        self._next()

    def _look_after(self) -> None:
        self._later(UPKEEP_S, self._look_after)
        self._upkeep_now()

    # Trouble ---------------------------------------------------------------------------

    def _refused(self, chunks: list[Chunk], failure: BaseException) -> None:
        """The file could not be written; ``chunks`` wait, unless they are to blame."""
        self._database.resume()
        error = self._database.error(failure).message
        self._last_error = error
        if self._closed or type(failure) not in _OF_THE_DISK:
            count = sum(len(chunk.rows) for chunk in chunks)
            self._drop(count)
            log.error("{count} spans are not stored: {reason}", count=count, reason=error)
        else:
            self._backlog.extendleft(reversed(chunks))
            self._backlog_bytes += sum(chunk.size for chunk in chunks)
            if not self._failing:
                self._failing = True
                log.error("traces are not stored until it is mended: {reason}", reason=error)
        self._tell_waiting(self._last_us)
        if not self._closed:
            self._later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._gathered()

    def _succeeded(self) -> None:
        if not self._backlog:
            self._dropping = False
        if self._failing:
            self._failing = False
            log.info("{path}: traces are stored again", path=str(self._database.path))

    def _tell_waiting(self, up_to_us: int) -> None:
        ready = [settled for last, settled in self._waiting if last <= up_to_us]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > up_to_us]
        for settled in ready:
            settled.callback(None)

    # Time ------------------------------------------------------------------------------

    def _now_us(self) -> int:
        return int(self._clock.wall() * 1e6)

    def _later(self, delay_s: float, then: Callable[[], None]) -> None:
        """Call ``then`` in a while, unless that is planned already."""
        if then not in self._timers:
            self._timers[then] = self._clock.call_later(delay_s, self._fire, then)

    def _fire(self, then: Callable[[], None]) -> None:
        del self._timers[then]
        then()
