"""Values in a durable file (``Store``): what is pending, what is cached, what is on disk.

A value is looked for in that order.  *Pending* is what was computed and handed to the
writer but is not committed: the next write of the same key builds on it, yet nobody is
told of it before its commit; a read of such a key waits.  So an answer never speaks of
something that a crash or a full disk could still take back.

Writes of one reactor turn are one batch.  When a commit fails, that batch and all that
were computed after it are refused and forgotten; what the file holds is the truth again.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.storage.cache import Cache, Row, Slot, Unknown
from iii.storage.database import Database
from iii.storage.store import Bucket, Change, Compute, Page, StoreError
from iii.storage.warming import Warming

log = Logger()
T = TypeVar("T")

SCHEMA = "entries"
#: Writes that wait for the disk may hold so much; more are refused with ``overloaded``.
MAX_PENDING_BYTES = 256 * 1024 * 1024

_READ = "SELECT position, value FROM entries WHERE first = ? AND second = ? AND key = ?"
_PUT = (
    "INSERT INTO entries (position, first, second, key, value) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (position) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM entries WHERE position = ?"
_IN_BUCKET = "FROM entries WHERE first = ? AND second = ?"
_VALUES = f"SELECT value {_IN_BUCKET} ORDER BY position"
_KEYS = f"SELECT key {_IN_BUCKET} ORDER BY position"
_COUNT = f"SELECT count(*) {_IN_BUCKET}"
_PAGE = f"SELECT position, key, value {_IN_BUCKET} AND position > ? ORDER BY position"
# From one bucket to the next through the index, however many keys each has.
_NEXT_BUCKET = (
    "SELECT first, second FROM entries WHERE (first, second) > (?, ?) "
    "ORDER BY first, second LIMIT 1"
)
_FIRST_BUCKET = "SELECT first, second FROM entries ORDER BY first, second LIMIT 1"
_FIRST_WITH = "SELECT first, second FROM entries WHERE first = ? ORDER BY second LIMIT 1"


class _Batch:
    """The writes of one turn, and who waits for them."""

    __slots__ = ("after", "deletes", "refused", "rows", "size", "written")

    def __init__(self) -> None:
        #: what every written slot holds in the end
        self.rows: dict[Slot, Row | None] = {}
        #: positions to be removed first
        self.deletes: list[tuple[int]] = []
        self.written: list[tuple[Deferred[Change], Change]] = []
        #: readers: told when it is over, either way
        self.after: list[Deferred[None]] = []
        self.size = 0
        self.refused = False

    def apply(self, connection: sqlite3.Connection) -> None:
        """Writer thread: write it."""
        if self.deletes:
            connection.executemany(_DELETE, self.deletes)
        puts = [(row[0], *slot, row[1]) for slot, row in self.rows.items() if row is not None]
        if puts:
            connection.executemany(_PUT, puts)

    def promise(self, change: Change) -> Deferred[Change]:
        """Fires with ``change`` when it is committed."""
        promised: Deferred[Change] = Deferred()
        self.written.append((promised, change))
        return promised

    def fulfil(self) -> None:
        """It is committed."""
        for promised, change in self.written:
            promised.callback(change)
        self.release_readers()

    def refuse(self, error: StoreError) -> None:
        """It is not, and won't be."""
        self.refused = True
        for promised, _ in self.written:
            promised.errback(Failure(error))
        self.release_readers()

    def release_readers(self) -> None:
        """What the file holds is known again."""
        for waiting in self.after:
            waiting.callback(None)


class EntryStore:
    """A ``Store`` in a ``Database``.

    :param cache_bytes: what reads may keep in memory
    """

    def __init__(self, engine: ModuleApi, database: Database, *, cache_bytes: int) -> None:
        self._turn = engine.turn
        self._database = database
        self._read_row = database.reader.cursor()
        self._cache = Cache(cache_bytes)
        self._warming: Warming | None = None
        self._clock = engine.clock
        self._pending: dict[Slot, tuple[_Batch, Row | None]] = {}
        self._pending_bytes = 0
        self._open: _Batch | None = None
        self._failing = False
        self._closed = False
        self._submitted: deque[_Batch] = deque()
        last = database.reader.execute("SELECT max(position) FROM entries").fetchone()[0]
        self._last_position: int = last or 0

    # Single values ---------------------------------------------------------------------

    def get(self, bucket: Bucket, key: str) -> Raw | Deferred[Raw | None] | None:
        """Store: the value, at once unless it is being written."""
        slot = (bucket[0], bucket[1], key)
        pending = self._pending.get(slot) if self._pending else None
        if pending is None:
            return self._value(slot)
        # For that batch, not for those behind it: a key that is written without a pause
        # would never be read.
        return self._after(pending[0]).addCallback(lambda _: self._value(slot))

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store: keep ``value``."""
        slot = (bucket[0], bucket[1], key)
        try:
            current = self._newest(slot)
            return self._write(slot, current, bytes(value))
        except StoreError:
            return fail()

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Store: take the value out."""
        slot = (bucket[0], bucket[1], key)
        try:
            current = self._newest(slot)
        except StoreError:
            return fail()
        batch = self._batch()
        if current is None:
            return batch.promise(Change(None, None))
        batch.deletes.append((current[0],))
        batch.rows[slot] = None
        self._pending[slot] = (batch, None)
        return batch.promise(Change(Raw(current[1]), None))

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Store: replace the value."""
        slot = (bucket[0], bucket[1], key)
        try:
            current = self._newest(slot)
            value = compute(None if current is None else Raw(current[1]))
            return self._write(slot, current, bytes(value))
        except Exception:
            return fail()

    # Many values -----------------------------------------------------------------------

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store: all values."""
        return self._at_length(lambda c: [Raw(value) for (value,) in c.execute(_VALUES, bucket)])

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """Store: all keys."""
        return self._at_length(lambda c: [key for (key,) in c.execute(_KEYS, bucket)])

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store: a part of a bucket."""
        return self._at_length(lambda c: _page(c, bucket, after, limit, max_bytes))

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store: buckets that hold something."""
        return self._at_length(lambda c: _buckets(c, first))

    def close(self) -> Deferred[None]:
        """Store: finish all writes and let go of the file."""
        self._end_snapshot()
        self._closed = True
        if self._warming is not None:
            self._warming.stop()
        self._submit()
        return self._database.close()

    # Inside ----------------------------------------------------------------------------

    def _value(self, slot: Slot) -> Raw | None:
        row = self._committed(slot)
        return None if row is None else Raw(row[1])

    def _committed(self, slot: Slot) -> Row | None:
        """What the file holds.

        :raises StoreError: it can't be read, or the store is closed
        """
        if self._closed:
            raise self._gone()
        row = self._cache.get(slot)
        if isinstance(row, Unknown):
            try:
                self._open_snapshot()
                row = self._read_row.execute(_READ, slot).fetchone()
            except sqlite3.Error as error:
                raise self._database.error(error) from error
            self._cache.put(slot, row)
            if self._warming is None:
                self._warm()
        return row

    def _open_snapshot(self) -> None:
        """The reads of one turn share a transaction: each of its own would cost half more."""
        reader = self._database.reader
        if not reader.in_transaction:
            reader.execute("BEGIN")
            self._turn.begin()
            self._turn.later(self._end_snapshot)

    def _end_snapshot(self) -> None:
        # SQLite itself may have ended it, after an error of the disk.
        if not self._closed and self._database.reader.in_transaction:
            self._database.reader.execute("COMMIT")

    def _warm(self) -> None:
        """The store is used: read ahead what fits into the cache."""
        self._warming = Warming(
            self._database, self._cache, self._clock, self._pending.__contains__
        )
        if not self._cache.nearly_full:
            self._warming.start()

    def _newest(self, slot: Slot) -> Row | None:
        """What the next write builds on."""
        pending = self._pending.get(slot)
        if pending is None:
            return self._committed(slot)
        if self._closed:
            raise self._gone()
        return pending[1]

    def _write(self, slot: Slot, current: Row | None, value: bytes) -> Deferred[Change]:
        size = len(value) + len(slot[0]) + len(slot[1]) + len(slot[2])
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            text = f"{self._database.path}: {self._pending_bytes} bytes wait for the disk"
            raise StoreError(Code.OVERLOADED, text)
        if current is None:
            self._last_position += 1
            row = (self._last_position, value)
            old = None
        else:
            row = (current[0], value)
            old = Raw(current[1])
        batch = self._batch()
        batch.rows[slot] = row
        batch.size += size
        self._pending_bytes += size
        self._pending[slot] = (batch, row)
        return batch.promise(Change(old, Raw(value)))

    def _batch(self) -> _Batch:
        """The batch of this turn."""
        batch = self._open
        if batch is None:
            batch = self._open = _Batch()
            self._turn.begin()
            self._turn.later(self._submit)
        return batch

    def _submit(self) -> None:
        batch, self._open = self._open, None
        if batch is not None:
            self._submitted.append(batch)
            self._database.submit(batch.apply, self._done)

    def _done(self, failure: BaseException | None) -> None:
        """The oldest submitted batch was committed, or not."""
        self._end_snapshot()  # it doesn't have what was committed since
        batch = self._submitted.popleft()
        if batch.refused:
            return
        if failure is not None:
            self._refuse_all(batch, self._database.error(failure))
            return
        pending, cache = self._pending, self._cache
        if self._warming is not None:
            self._warming.committed(batch.rows)
        for slot, row in batch.rows.items():
            cache.put(slot, row)
            if pending[slot][0] is batch:
                del pending[slot]
        self._pending_bytes -= batch.size
        # A batch that wrote nothing (deletes of what is not there) proves nothing.
        if self._failing and batch.rows:
            self._failing = False
            log.info("{path}: writes succeed again", path=str(self._database.path))
        self._turn.run(_Batch.fulfil, batch)

    def _refuse_all(self, batch: _Batch, error: StoreError) -> None:
        """``batch`` failed, and what was computed from its values is void as well."""
        if not self._failing:
            self._failing = True
            log.error("writes are refused: {reason}", reason=error.message)
        refused = [batch, *(later for later in self._submitted if not later.refused)]
        if self._open is not None:
            refused.append(self._open)
            self._open = None
        self._pending.clear()
        self._pending_bytes = 0
        self._database.resume()
        for each in refused:
            self._turn.run(each.refuse, error)

    def _gone(self) -> StoreError:
        return StoreError(Code.SHUTTING_DOWN, f"{self._database.path}: the store is closed")

    def _after(self, batch: _Batch) -> Deferred[None]:
        """Fires when ``batch`` is committed or refused."""
        over: Deferred[None] = Deferred()
        batch.after.append(over)
        return over

    def _at_length(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Read in the reader thread, behind every write so far."""
        newest = self._open or (self._submitted[-1] if self._submitted else None)
        if newest is None:
            return self._in_reader(work)
        return self._after(newest).addCallback(lambda _: self._in_reader(work))

    def _in_reader(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        # Again: the batch it waited for may have been the last.
        return fail(self._gone()) if self._closed else self._database.read_at_length(work)


def _page(
    connection: sqlite3.Connection, bucket: Bucket, after: int, limit: int, max_bytes: int
) -> Page:
    total: int = connection.execute(_COUNT, bucket).fetchone()[0]
    entries: list[tuple[str, Raw]] = []
    size, last, done = 0, after, True
    for position, key, value in connection.execute(_PAGE, (*bucket, after)):
        size += len(key.encode()) + len(value)
        if entries and (len(entries) == limit or size > max_bytes):
            done = False
            break
        entries.append((key, Raw(value)))
        last = position
    return Page(entries, last, done, total)


def _buckets(connection: sqlite3.Connection, first: str | None) -> list[Bucket]:
    """Every bucket, or those of ``first``, in order of code points."""
    found: list[Bucket] = []
    if first is None:
        bucket = connection.execute(_FIRST_BUCKET).fetchone()
    else:
        bucket = connection.execute(_FIRST_WITH, (first,)).fetchone()
    while bucket is not None and (first is None or bucket[0] == first):
        found.append(bucket)
        bucket = connection.execute(_NEXT_BUCKET, bucket).fetchone()
    return sorted(found)
