"""What the keeper does once a second: sync the log, fold it into the file."""

from __future__ import annotations

import threading
from typing import Any

from msgspec import Raw
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.storage import database, writer
from iii.storage.database import SYNC_S
from iii.storage.files import StoreFile
from tests.storage.cases import BUCKET, StoreCase, raw

SMALL_LOG_BYTES = 64 * 1024


class Upkeep(StoreCase):
    """docs/durability.md, "How it works"."""

    def setUp(self) -> None:
        super().setUp()
        self.timers = task.Clock()
        self.engine = Engine(reactor, clock=Clock.virtual(self.timers))
        self.api = ModuleApi(self.engine, "test")
        self.synced: list[str] = []
        self.did_sync: Deferred[None] = Deferred()
        real = writer.sync_log

        def sync(file: StoreFile) -> None:
            real(file)
            self.synced.append(threading.current_thread().name)
            reactor.callFromThread(self._tell)  # type: ignore[attr-defined]

        self.patch(database, "sync_log", sync)

    def _tell(self) -> None:
        did_sync, self.did_sync = self.did_sync, Deferred()
        did_sync.callback(None)

    async def written(self, store: Any, size: int = 1) -> None:
        """Write something and end the turn."""
        done = store.set(BUCKET, "a", Raw(b'"' + b"x" * size + b'"'))
        self.timers.advance(0)
        await done

    async def kept(self, store: Any) -> None:
        """Wait until the keeper has done what it was told."""
        done: Deferred[None] = Deferred()
        call = reactor.callFromThread  # type: ignore[attr-defined]
        store._database._keeper.submit(call, done.callback, None)
        await done

    async def test_the_log_is_synced_within_a_second_of_a_write(self) -> None:
        store = self.open()
        await self.written(store)
        self.assertEqual(self.synced, [])
        synced = self.did_sync
        self.timers.advance(SYNC_S)
        await synced
        self.assertEqual(self.synced, ["iii-state-keeper_0"])

    async def test_nothing_is_synced_without_writes(self) -> None:
        store = self.open()
        await self.written(store)
        synced = self.did_sync
        self.timers.advance(SYNC_S)
        await synced
        self.timers.advance(SYNC_S)
        self.assertEqual(self.timers.getDelayedCalls(), [])

    async def test_with_fsync_every_commit_is_synced_by_sqlite(self) -> None:
        store = self.open(durability="fsync")
        await self.written(store)
        self.timers.advance(SYNC_S)
        await self.kept(store)
        self.assertEqual(self.synced, [])

    async def test_a_long_log_is_folded_and_begun_anew(self) -> None:
        self.patch(database, "CHECKPOINT_BYTES", SMALL_LOG_BYTES)
        store = self.open()
        log = self.file.with_name("state.sqlite-wal")
        for _ in range(5):
            for _ in range(5):
                await self.written(store, SMALL_LOG_BYTES // 4)
            self.timers.advance(SYNC_S)
            await self.kept(store)
            await self.written(store)  # behind the writer's part of it
        self.assertLess(log.stat().st_size, 4 * SMALL_LOG_BYTES)

    async def test_a_sync_that_fails_is_logged_and_tried_again(self) -> None:
        calls: list[None] = []

        def fails(file: StoreFile) -> None:
            calls.append(None)
            raise OSError(5, "Input/output error")

        self.patch(database, "sync_log", fails)
        store = self.open()
        await self.written(store)
        for attempt in (1, 2):
            self.timers.advance(SYNC_S)
            await self.kept(store)
            self.assertEqual(len(calls), attempt)

    async def test_a_slow_sync_that_fails_is_tried_again_as_well(self) -> None:
        fail = threading.Event()
        calls: list[None] = []

        def fails(file: StoreFile) -> None:
            calls.append(None)
            fail.wait(10)
            raise OSError(5, "Input/output error")

        self.patch(database, "sync_log", fails)
        store = self.open()
        await self.written(store)
        self.timers.advance(SYNC_S)
        self.timers.advance(SYNC_S)  # nothing new: no second one meanwhile
        fail.set()
        await self.kept(store)
        self.assertEqual(len(calls), 1)
        self.timers.advance(SYNC_S)
        await self.kept(store)
        self.assertEqual(len(calls), 2)

    async def test_a_long_read_does_not_put_off_a_sync(self) -> None:
        store = self.open()
        await self.written(store)
        go_on = threading.Event()
        reading = store._database.read_at_length(lambda c: go_on.wait(10))  # type: ignore[attr-defined]
        synced = self.did_sync
        self.timers.advance(SYNC_S)
        await synced
        go_on.set()
        await reading

    async def test_a_batch_is_one_transaction(self) -> None:
        store = self.open()
        commits: list[int] = []
        real = writer._tell

        def tell(batches: list[Any], failure: BaseException | None) -> None:
            commits.append(len(batches))
            real(batches, failure)

        self.patch(writer, "_tell", tell)
        writes = [store.set(BUCKET, f"k{n}", raw("1")) for n in range(100)]
        self.timers.advance(0)
        for write in writes:
            await write
        self.assertEqual(commits, [1])
