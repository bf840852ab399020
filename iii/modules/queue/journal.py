"""What the queues have on disk.

A message is one row from the moment its receipt is sent until it has been handled or
discarded.  Writes of one reactor turn, or of several while the writer is busy, are one batch
of one commit: an enqueue is answered after it, everything else nobody waits for, and alone
it may be gathered for two milliseconds.

A *change* that can't be recorded (the disk is full) is not forgotten: it is owed, and
handed in again with the next batch, at the latest a second later.  So a crash may bring
a message back that was handled, but never loses one that was not.

Rows are read on in the reader thread while the reactor goes on changing them.  A read
sees everything that was changed before it was asked for, and its answer leaves out what
was changed since, and what is being added: whoever does either offers the message to its
row himself.  Nothing here knows functions, triggers or slots; ``lane`` decides what runs.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.queue import rows
from iii.modules.queue.batch import Batch, Reading, Then
from iii.modules.queue.message import Message, State, of_json
from iii.modules.queue.rows import Changes, KeyOf, Piece, Place, Target
from iii.storage.database import Database
from iii.storage.store import StoreError

log = Logger()
T = TypeVar("T")

RETRY_S = 1.0
#: What nobody waits for is gathered so long: an acknowledgement each would be a commit each.
GATHER_S = 0.002
#: The writer has one batch at work and one ready; a third is filled meanwhile.
BATCHES_UNDER_WAY = 2
#: New messages that wait for the disk may hold so much; more are refused.
MAX_PENDING_BYTES = 256 * 1024 * 1024


class LaneFacts(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What has to survive a restart about a lane.

    :ivar paused: nothing is taken from it
    :ivar subscribed: it is a group: published messages are copied to it
    :ivar left_ms: since when a durable group has had no trigger
    :ivar settings: of ``queue::define``, as they were given
    :ivar key_field: what the keys of its messages were made from
    """

    paused: bool = False
    subscribed: bool = False
    left_ms: int | None = None
    settings: dict[str, Any] | None = None
    key_field: str | None = None


class _Recorded:
    """There is no change that is not recorded."""


_RECORDED = _Recorded()


class Journal:
    """The queue's file.

    :ivar counts: ``(lane, state)`` → how many messages; kept, never counted again
    """

    def __init__(self, engine: ModuleApi, database: Database) -> None:
        self._clock = engine.clock
        self._turn = engine.turn
        self._database = database
        self._open: Batch | None = None
        #: the open batch is handed in at the end of the turn
        self._hurried = False
        #: it is not, because the writer has enough to do
        self._overdue = False
        self._gathering: Timer | None = None
        self._submitted: deque[Batch] = deque()
        self._pending_bytes = 0
        #: what failed commits left to be recorded, and the reads that wait for that
        self._owed = Changes()
        self._waiting: list[Reading] = []
        self._readings: set[Reading] = set()
        self._again: Timer | None = None
        self._failing = False
        self._closing = False
        self._closed = False
        self._lanes: dict[str, int] = {}
        self.facts: dict[int, LaneFacts] = {}
        self.counts: dict[tuple[int, State], int] = {}
        self._last_seq = 0
        self._recall(database.reader)

    def _recall(self, reader: sqlite3.Connection) -> None:
        for number, name, facts in reader.execute(rows.LANES):
            self._lanes[name] = number
            self.facts[number] = msgspec.json.decode(facts, type=LaneFacts)
        last_rank = 0
        for lane, state, count, highest in reader.execute(rows.COUNTS):
            self.counts[lane, State(state)] = count
            last_rank = max(last_rank, highest)
        last = reader.execute(rows.LAST).fetchone()[0]
        # Redriven messages have ranks that were given out like numbers.
        self._last_seq = max(last or 0, last_rank)

    # Lanes -----------------------------------------------------------------------------

    @property
    def lanes(self) -> dict[str, int]:
        """Name → number of every lane that was ever used and not dropped."""
        return self._lanes

    def lane(self, name: str) -> int:
        """The number of the lane ``name``, which is made when it is new."""
        number = self._lanes.get(name)
        if number is None:
            number = max(self._lanes.values(), default=0) + 1
            self._lanes[name] = number
            self.facts[number] = LaneFacts()
            self._write_facts(name, number)
        return number

    def change_facts(self, number: int, **changes: Any) -> Deferred[None]:
        """Change what is kept about a lane; fires when it is recorded."""
        facts = msgspec.structs.replace(self.facts[number], **changes)
        self.facts[number] = facts
        self._write_facts(self._name(number), number)
        return self._promise()

    def drop_lane(self, number: int) -> None:
        """Forget an empty lane."""
        del self._lanes[self._name(number)], self.facts[number]
        for state in State:
            self.counts.pop((number, state), None)
        self._batch().changes.lanes[number] = None

    def _name(self, number: int) -> str:
        return next(name for name, known in self._lanes.items() if known == number)

    def _write_facts(self, name: str, number: int) -> None:
        row = (number, name, msgspec.json.encode(self.facts[number]))
        self._batch().changes.lanes[number] = row

    # Messages --------------------------------------------------------------------------

    def next_seq(self) -> int:
        """The number of the next message, which is added in this turn."""
        self._last_seq += 1
        return self._last_seq

    def add(self, messages: Iterable[Message], then: Then | None = None) -> Deferred[None]:
        """Keep new messages; fires when they are as safe as the durability says.

        :param then: gets them after that, when whoever waits for this batch has been told
        :raises StoreError: through the Deferred; none of them is kept
        """
        new = list(messages)
        size = sum(len(message.data) for message in new)
        if self._pending_bytes + size > MAX_PENDING_BYTES:
            text = f"{self._database.path}: {self._pending_bytes} bytes wait for the disk"
            return fail(StoreError(Code.OVERLOADED, text))
        batch = self._batch()
        for message in new:
            batch.add(message)
            self._count(message.lane, message.state, +1)
        self._pending_bytes += size
        if then is not None:
            batch.then.append((then, new))
        return self._promise()

    def remember(self, scope: str, key: str, id: str, expires_ms: int) -> None:
        """Keep an idempotency key in the commit of this turn's messages."""
        self._batch().statements.append((rows.REMEMBER, (scope, key, id, expires_ms)))

    def forget_keys(self, now_ms: int) -> None:
        """Idempotency keys whose time is over go."""
        self._batch().statements.append((rows.FORGET_KEYS, (now_ms,)))

    def rekey(self, lane: int, key_of: KeyOf) -> Deferred[None]:
        """Give every message of ``lane`` the key that ``key_of`` finds in its data."""
        self._batch().changes.keys[lane] = key_of
        return self._promise()

    def finish(self, message: Message) -> None:
        """``message`` was handled, or is to go."""
        self._count(message.lane, message.state, -1)
        self._change(message.seq, None)

    def change(self, message: Message, *, was: State, lane: int | None = None) -> None:
        """Record what changed in ``message``.

        :param was: its state before
        :param lane: its lane before, when it moved
        """
        self._count(message.lane if lane is None else lane, was, -1)
        self._count(message.lane, message.state, +1)
        self._change(message.seq, message.row())

    def settled(self) -> Deferred[None]:
        """Fires when everything so far is recorded.

        :raises StoreError: through the Deferred
        """
        if self._open is None and not self._owed:
            if not self._submitted:
                return succeed(None)
            return self._submitted[-1].promise()
        return self._promise()

    def pending(self, seq: int) -> bool:
        """Whether a change of this message is on its way to the disk."""
        return self._unrecorded(seq) is not _RECORDED

    # Reading ---------------------------------------------------------------------------

    def known_key(self, scope: str, key: str, now_ms: int) -> str | None:
        """The receipt that was given for an idempotency key.

        :raises StoreError: the file can't be read
        """
        found = self._read_now(rows.KNOWN_KEY, (scope, key, now_ms))
        return str(found[0][0]) if found else None

    def read_now(
        self, where: str, parameters: tuple[Any, ...], *, order: str, limit: int
    ) -> list[Message]:
        """A few committed messages, at once; whether they still are so, ``pending`` says.

        :raises StoreError: the file can't be read
        """
        statement = f"{rows.SELECT} WHERE {where} ORDER BY {order} LIMIT ?"
        return [of_json(text) for (text,) in self._read_now(statement, (*parameters, limit))]

    def window(
        self,
        lane: int,
        after: Place,
        limit: int,
        max_bytes: int,
        *,
        without: Iterable[Target] = (),
    ) -> Deferred[Piece]:
        """The waiting messages of ``lane`` behind ``after``, in order.

        :param without: whose messages are left out
        """
        targets = list(without)
        return self._piece(lambda c: rows.piece_of_lane(c, lane, after, limit, max_bytes, targets))

    def of_key(
        self,
        lane: int,
        key: str,
        after: Place,
        limit: int,
        max_bytes: int,
        *,
        without: Iterable[Target] = (),
    ) -> Deferred[Piece]:
        """The waiting messages of one key behind ``after``, in order."""
        targets = list(without)
        return self._piece(
            lambda c: rows.piece_of_key(c, lane, key, after, limit, max_bytes, targets)
        )

    def heads(
        self,
        lane: int,
        after: str,
        keys: int,
        limit: int,
        max_bytes: int,
        *,
        known: Collection[str] = (),
        without: Iterable[Target] = (),
    ) -> Deferred[list[Piece]]:
        """The first messages of each of the keys behind ``after``, in the order of their text.

        :param keys: so many keys; fewer are answered when there are no more
        :param known: keys of which nothing is read
        """
        targets = list(without)
        return self._read_rows(
            lambda c: rows.heads(c, lane, after, keys, limit, max_bytes, known, targets)
        )

    def delayed(self, after: Place, limit: int, max_bytes: int) -> Deferred[Piece]:
        """The delayed messages of all lanes that are due next behind ``after``."""
        return self._piece(lambda c: rows.piece_of_delayed(c, after, limit, max_bytes))

    def next_expiry(self, now_ms: int) -> Deferred[int | None]:
        """When the next message expires, of all lanes."""

        def read(connection: sqlite3.Connection) -> int | None:
            found: int | None = connection.execute(rows.NEXT_EXPIRY, (now_ms,)).fetchone()[0]
            return found

        return self._read_committed(read)

    def select(
        self, where: str, parameters: tuple[Any, ...], *, order: str, limit: int, offset: int = 0
    ) -> Deferred[list[Message]]:
        """Messages for people: any condition on the table's columns."""
        statement = f"{rows.SELECT} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        given = (*parameters, limit, offset)
        return self._read_committed(
            lambda c: [of_json(text) for (text,) in c.execute(statement, given)]
        )

    # End -------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Record everything, then let go of the file.  What comes later is dropped."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._owed:
            self._batch()
        self._closing = True
        self._submit()
        self._closed = True
        return self._database.close()

    # Writing ---------------------------------------------------------------------------

    def _count(self, lane: int, state: State, by: int) -> None:
        counts, place = self.counts, (lane, state)
        counts[place] = counts.get(place, 0) + by

    def _change(self, seq: int, row: rows.Row | None) -> None:
        self._gathered().changes.messages[seq] = row
        for reading in self._readings:
            reading.touched.add(seq)

    def _unrecorded(self, seq: int) -> rows.Row | _Recorded | None:
        """The newest change of a message that is not recorded."""
        batches = [] if self._open is None else [self._open]
        for batch in (*batches, *reversed(self._submitted)):
            if seq in batch.changes.messages:
                return batch.changes.messages[seq]
        if seq in self._owed.messages:
            return self._owed.messages[seq]
        for batch in reversed(self._submitted):
            if batch.owed is not None and seq in batch.owed.messages:
                return batch.owed.messages[seq]
        return _RECORDED

    def _not_added(self, message: Message) -> None:
        # It may have been finished before it was on disk.
        if self._unrecorded(message.seq) is not None:
            self._count(message.lane, message.state, -1)

    def _promise(self) -> Deferred[None]:
        return self._batch().promise()

    def _batch(self) -> Batch:
        """The open batch, which is handed in at the end of this turn: somebody waits for it."""
        batch = self._gathered()
        if not self._hurried:
            self._hurried = True
            self._turn.begin()
            self._turn.later(self._submit)
        return batch

    def _gathered(self) -> Batch:
        """The open batch.  One that nobody waits for is handed in within ``GATHER_S``."""
        batch = self._open
        if batch is None:
            batch = self._open = Batch()
            if self._gathering is None:
                self._gathering = self._clock.call_later(GATHER_S, self._gather_no_more)
        return batch

    def _gather_no_more(self) -> None:
        self._gathering = None
        self._submit()

    def _submit(self) -> None:
        """Hand the open batch in, or leave it open until the writer has room for it."""
        if self._open is None:
            return
        if len(self._submitted) >= BATCHES_UNDER_WAY and not self._closing:
            self._overdue = True
            return
        batch, self._open = self._open, None
        self._hurried = self._overdue = False
        if self._closed:
            error = StoreError(Code.SHUTTING_DOWN, f"{self._database.path}: it is closed")
            self._refuse(batch, error)
            return
        if self._owed:
            batch.owed, self._owed = self._owed, Changes()
        batch.readers += self._waiting
        self._waiting = []
        self._submitted.append(batch)
        self._database.submit(batch.apply, self._done)

    def _done(self, failure: BaseException | None) -> None:
        """The oldest submitted batch was committed, or not."""
        batch = self._submitted.popleft()
        if failure is None:
            if self._failing:
                self._failing = False
                log.info("{path}: writes succeed again", path=str(self._database.path))
            self._pending_bytes -= batch.size
            self._turn.run(self._fulfil, batch)
        else:
            self._failed(batch, failure)
        if self._overdue:
            self._submit()

    def _failed(self, batch: Batch, failure: BaseException) -> None:
        error = self._database.error(failure)
        if not self._failing:
            self._failing = True
            log.error("enqueues are refused: {reason}", reason=error.message)
        # No batch is computed from another one's values, so the next may be tried at once.
        self._database.resume()
        # What failed before this batch was submitted is older than what failed since.
        older = self._owed if batch.owed is None else batch.owed.then(self._owed)
        self._owed = older.then(batch.changes)
        self._waiting += batch.readers
        self._try_again()
        self._refuse(batch, error)

    def _fulfil(self, batch: Batch) -> None:
        # Messages are offered to their rows before these are read.
        for promise in batch.promises:
            promise.callback(None)
        for then, messages in batch.then:
            then(messages)
        for reading in batch.readers:
            self._begin(reading)

    def _refuse(self, batch: Batch, error: StoreError) -> None:
        self._pending_bytes -= batch.size
        for message in batch.new:
            self._not_added(message)
        for promise in batch.promises:
            promise.errback(Failure(error))

    def _try_again(self) -> None:
        """In a second, if nothing else is written before."""
        if self._again is None and not self._closed:
            self._again = self._clock.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._again = None
        if self._owed or self._waiting:
            self._batch()

    # Reading ---------------------------------------------------------------------------

    def _read_now(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        try:
            return self._database.reader.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._database.error(error) from error

    def _read_committed(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Read in the reader thread, behind every write so far; what is owed is not waited for."""
        if self._closed:
            error = StoreError(Code.SHUTTING_DOWN, f"{self._database.path}: it is closed")
            return fail(error)
        recorded = self.settled()
        # A refused write changes nothing about what can be read.
        recorded.addErrback(lambda failure: failure.trap(StoreError) and None)
        return recorded.addCallback(lambda _: self._database.read_at_length(work))

    def _piece(self, work: Callable[[sqlite3.Connection], Piece]) -> Deferred[Piece]:
        pieces = self._read_rows(lambda connection: [work(connection)])
        return pieces.addCallback(lambda answer: answer[0])

    def _read_rows(
        self, work: Callable[[sqlite3.Connection], list[Piece]]
    ) -> Deferred[list[Piece]]:
        """Read parts of rows once everything so far is recorded, however long that takes."""
        reading = Reading(work)
        self._readings.add(reading)
        if self._open is not None:
            self._batch().readers.append(reading)
        elif self._owed or self._waiting:
            self._waiting.append(reading)
            self._try_again()
        elif self._submitted:
            self._submitted[-1].readers.append(reading)
        else:
            self._begin(reading)
        return reading.answer

    def _begin(self, reading: Reading) -> None:
        if not self._closed:
            self._database.read_at_length(reading.work).addCallbacks(
                self._read, self._not_read, callbackArgs=(reading,), errbackArgs=(reading,)
            )

    def _read(self, pieces: list[Piece], reading: Reading) -> None:
        self._readings.discard(reading)
        if self._closed:
            return
        touched = reading.touched
        adding = min(
            (batch.first for batch in self._submitted if batch.first is not None),
            default=self._last_seq + 1,
        )
        for piece in pieces:
            piece.messages[:] = [
                message
                for message in piece.messages
                if message.seq not in touched and message.seq < adding
            ]
        self._turn.run(reading.answer.callback, pieces)

    def _not_read(self, failure: Failure, reading: Reading) -> None:
        if not self._closed:
            log.error("{path}: reading on: {error}", path=self._database.path, error=failure.value)
            self._waiting.append(reading)
            self._try_again()
