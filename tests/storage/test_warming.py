"""Reading ahead: what it finds, and what it must not bring back."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.storage import warming
from iii.storage.cache import UNKNOWN
from iii.storage.warming import PAUSE_S
from tests.storage.cases import BUCKET, StoreCase, raw

SLOT = (*BUCKET, "a")


class Warming(StoreCase):
    """docs/durability.md, "How it works"."""

    def setUp(self) -> None:
        super().setUp()
        self.timers = task.Clock()
        self.engine = Engine(reactor, clock=Clock.virtual(self.timers))
        self.api = ModuleApi(self.engine, "test")

    async def filled(self, **settings: Any) -> Any:
        """A store with three keys that nobody has used since it was opened."""
        store = self.open()
        for key in "abc":
            await self.written(store, key, f'"{key}"')
        await self.close(store)
        return self.open(**settings)

    async def written(self, store: Any, key: str, value: str) -> None:
        """Write something and end the turn."""
        done = store.set(BUCKET, key, raw(value))
        self.timers.advance(0)
        await done

    async def warmed(self, store: Any) -> None:
        """Let one piece be read."""
        self.timers.advance(PAUSE_S)
        await store._database.read_at_length(lambda connection: None)
        await self.turn()

    def turn(self) -> Deferred[None]:
        """What the thread has handed over by now is done."""
        over: Deferred[None] = Deferred()
        reactor.callFromThread(over.callback, None)  # type: ignore[attr-defined]
        return over

    async def test_the_first_miss_brings_the_rest(self) -> None:
        store = await self.filled()
        self.assertIs(store._cache.get(SLOT), UNKNOWN)
        store.get(BUCKET, "c")
        self.timers.advance(0)
        await self.warmed(store)
        self.assertEqual(store._cache.get(SLOT), (1, b'"a"'))

    async def test_it_goes_on_piece_by_piece(self) -> None:
        self.patch(warming, "PIECE_ROWS", 1)
        store = await self.filled()
        store.get(BUCKET, "c")
        self.timers.advance(0)
        for _ in range(3):
            await self.warmed(store)
        self.assertEqual(store._cache.get(SLOT), (1, b'"a"'))

    async def test_what_was_written_meanwhile_is_not_brought_back(self) -> None:
        store = await self.filled()
        store.get(BUCKET, "c")
        self.timers.advance(0)
        rows: list[Any] = []
        fill = store._warming._fill
        store._warming._fill = rows.append
        await self.warmed(store)
        await self.written(store, "a", '"new"')
        store._cache.__init__(1 << 20)  # it has left the cache again
        fill(rows[0])
        self.assertEqual(await self.value(store, "a"), '"new"')
        self.timers.advance(0)

    async def test_nor_what_is_being_written(self) -> None:
        store = await self.filled()
        store.get(BUCKET, "c")
        self.timers.advance(0)
        done = store.set(BUCKET, "a", raw('"new"'))
        await self.warmed(store)
        await done
        self.assertEqual(await self.value(store, "a"), '"new"')

    async def test_without_a_cache_nothing_is_read_ahead(self) -> None:
        store = await self.filled(cache_bytes=0)
        store.get(BUCKET, "c")
        self.timers.advance(0)
        self.assertEqual(self.timers.getDelayedCalls(), [])

    async def test_reads_of_a_turn_do_not_miss_what_is_committed_in_it(self) -> None:
        store = await self.filled(cache_bytes=0)
        self.assertEqual(bytes(store.get(BUCKET, "a")), b'"a"')  # a snapshot is open
        done = store.set(BUCKET, "a", Raw(b"2"))
        store._submit()
        await done
        self.assertEqual(bytes(store.get(BUCKET, "a")), b"2")
        self.timers.advance(0)
