"""What was acknowledged is still there after the power went (08 §1).

The files are those that a cut leaves: ``power_disk`` drops what was not synced.
"""

from __future__ import annotations

import os
import sqlite3
from threading import Event
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults

from iii.modules.queue.journal import Journal
from iii.modules.queue.message import Details, Failure, Message, State
from iii.storage.database import SYNC_S, Database
from iii.storage.entries import EntryStore
from tests.durability.power_case import Content, Opened, PowerCase, length

CUTS = 1_000 if os.environ.get("III_SOAK") == "1" else 200
KEYS = 30
LANES = ("mail", "mail::archive", "__fn_queue::ledger")
NOW_MS = 1_760_000_000_000


class Values(PowerCase):
    """State, streams and KV."""

    schema = "entries"

    async def test_a_store_that_syncs_loses_nothing(self) -> None:
        """08 §1: ``fsync``."""
        await self.record(fsync=True)
        self.assert_kept(CUTS, fsync=True)

    async def test_another_one_loses_at_most_the_last_second(self) -> None:
        """08 §1: ``os`` is synced at most 1 s later."""
        await self.record(fsync=False)
        self.assert_kept(CUTS, fsync=False)
        self.assert_cuts_hurt()

    async def test_a_write_that_is_slower_than_the_sync_is_synced_the_next_time(self) -> None:
        """08 §1: a second after its answer, though it was handed over before the sync."""
        file = self.open(fsync=False)
        self.use(file)
        self.recorder.mark(Opened())
        await self.turn()
        held = self.recorder.held = Event()
        slow = self.turn()
        await self.go_round()
        await self.advance(file, SYNC_S)
        held.set()
        await slow
        await self.advance(file, SYNC_S)
        await self.advance(file, SYNC_S)
        self.assertEqual(self.problems(50, fsync=False, last=True), [])
        await self.close()

    def use(self, file: Database) -> None:
        """PowerCase: begin with a file."""
        self.store = EntryStore(self.api, file, cache_bytes=100_000)

    def write(self, content: Content) -> Deferred[Any]:
        """PowerCase: some values change."""
        answers = []
        for _ in range(self.chance.randint(1, 4)):
            bucket = (self.chance.choice(("orders", "users")), "")
            key = f"k{self.chance.randrange(KEYS)}"
            slot = (*bucket, key)
            if self.chance.random() < 0.2:
                content.pop(slot, None)
                answers.append(self.store.delete(bucket, key))
            else:
                value = f'"{self.chance.randbytes(length(self.chance) // 2).hex()}"'.encode()
                content[slot] = value
                answers.append(self.store.set(bucket, key, Raw(value)))
        return gatherResults(answers)

    def close(self) -> Deferred[None]:
        """PowerCase: let go."""
        return self.store.close()

    def read(self, connection: sqlite3.Connection) -> Content:
        """PowerCase: all values."""
        rows = connection.execute("SELECT first, second, key, value FROM entries")
        return {(first, second, key): value for first, second, key, value in rows}


class Messages(PowerCase):
    """Queues: arrivals, ends, failures, dead letters, idempotency keys, pauses."""

    schema = "queue"

    def setUp(self) -> None:
        super().setUp()
        self.messages: dict[int, Message] = {}

    async def test_queues_lose_nothing(self) -> None:
        """08 §1: ``fsync``, their default."""
        await self.record(fsync=True)
        self.assert_kept(CUTS, fsync=True)

    async def test_queues_that_do_not_sync_lose_at_most_the_last_second(self) -> None:
        """08 §1: ``os``, which may be set."""
        await self.record(fsync=False)
        self.assert_kept(CUTS, fsync=False)
        self.assert_cuts_hurt()

    def use(self, file: Database) -> None:
        """PowerCase: begin with a file."""
        self.journal = Journal(self.api, file)

    def write(self, content: Content) -> Deferred[Any]:
        """PowerCase: messages come, fail, die and go."""
        answers: list[Deferred[Any]] = []
        for _ in range(self.chance.randint(1, 4)):
            kind = self.chance.random()
            if kind < 0.5 or not self.messages:
                answers.append(self._add(content))
            elif kind < 0.7:
                _, message = self.messages.popitem()
                del content["message", message.seq]
                self.journal.finish(message)
            elif kind < 0.95:
                self._fail(content)
            else:
                self._pause(content)
        return gatherResults([*answers, self.journal.settled()])

    def _add(self, content: Content) -> Deferred[Any]:
        """One message for some lanes."""
        data = Raw(f'"{self.chance.randbytes(length(self.chance) // 2).hex()}"'.encode())
        id = f"{self.chance.getrandbits(128):032x}"
        delayed = self.chance.random() < 0.2
        copies = [
            Message.new(
                self.journal.next_seq(),
                id,
                self._lane(name, content),
                data,
                Details(),
                created_ms=NOW_MS,
                state=State.DELAYED if delayed else State.WAITING,
                priority=self.chance.randrange(10),
                due_ms=NOW_MS + 5_000 if delayed else 0,
                key=self.chance.choice((None, '"a"', '"b"')),
            )
            for name in self.chance.sample(LANES, self.chance.randint(1, 3))
        ]
        for copy in copies:
            self.messages[copy.seq] = copy
            content["message", copy.seq] = copy.row()
        if self.chance.random() < 0.3:
            content["key", "topic:mail", id] = (id, NOW_MS)
            self.journal.remember("topic:mail", id, id, NOW_MS)
        return self.journal.add(copies)

    def _fail(self, content: Content) -> None:
        message = self.messages[self.chance.choice([*self.messages])]
        was = message.state
        message.details.attempts += 1
        message.details.failures.append(Failure(NOW_MS, "invocation_failed", "boom"))
        message.state = self.chance.choice([*State])
        message.due_ms = NOW_MS + 1
        self.journal.change(message, was=was)
        content["message", message.seq] = message.row()

    def _pause(self, content: Content) -> None:
        name = self.chance.choice(LANES)
        number = self._lane(name, content)
        self.journal.change_facts(number, paused=not self.journal.facts[number].paused)
        content["lane", name] = (number, self.journal.facts[number].paused)

    def _lane(self, name: str, content: Content) -> int:
        number = self.journal.lane(name)
        content["lane", name] = (number, self.journal.facts[number].paused)
        return number

    def close(self) -> Deferred[None]:
        """PowerCase: let go."""
        return self.journal.close()

    def read(self, connection: sqlite3.Connection) -> Content:
        """PowerCase: all messages, keys and lanes."""
        columns = (
            "seq, id, lane, state, urgency, rank, due_ms, expires_ms, key, created_ms, "
            "function_id, details, data"
        )
        content: Content = {}
        for row in connection.execute(f"SELECT {columns} FROM messages"):
            content["message", row[0]] = row
        for scope, key, *rest in connection.execute("SELECT * FROM idempotency"):
            content["key", scope, key] = tuple(rest)
        for number, name, facts in connection.execute("SELECT number, name, facts FROM lanes"):
            content["lane", name] = (number, b'"paused":true' in facts)
        return content
