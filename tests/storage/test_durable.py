"""A durable store: what is told when, what a refusal takes with it, what a restart finds."""

from __future__ import annotations

import sqlite3
import struct
import threading

from msgspec import Raw
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent

from iii.errors import Code, StartError
from iii.storage import entries, writer
from iii.storage.cache import OVERHEAD_BYTES, UNKNOWN, Cache
from iii.storage.memory import MemoryStore
from iii.storage.store import Change, StoreError
from tests.storage.cases import BUCKET, StoreCase, raw, shown

LITTLE_BYTES = 96 * 1024
TOO_MUCH = Raw(b'"' + b"x" * 2 * LITTLE_BYTES + b'"')


class Committing(StoreCase):
    """docs/durability.md: an answer follows the commit."""

    async def test_a_write_is_not_answered_before_its_commit(self) -> None:
        store = self.open()
        written = store.set(BUCKET, "a", raw("1"))
        self.assertNoResult(written)
        await written
        self.assertEqual(self.rows(), [("orders", "", "a", b"1")])

    async def test_a_read_of_a_key_that_is_being_written_waits(self) -> None:
        store = self.open()
        written = store.set(BUCKET, "a", raw("1"))
        read = store.get(BUCKET, "a")
        assert isinstance(read, Deferred)
        self.assertNoResult(read)
        await written
        self.assertEqual(bytes(await read), b"1")  # type: ignore[arg-type]

    async def test_a_key_that_is_written_without_a_pause_can_be_read(self) -> None:
        store = self.open()
        written: list[Change] = []
        over: Deferred[None] = Deferred()

        def go_on(change: Change) -> None:
            written.append(change)
            if len(written) == 20:
                over.callback(None)
            else:
                store.set(BUCKET, "a", raw(str(len(written)))).addCallback(go_on)

        store.set(BUCKET, "a", raw("0")).addCallback(go_on)
        self.assertEqual(await self.value(store, "a"), "0")
        self.assertEqual(len(written), 1)
        await over

    async def test_a_read_of_another_key_does_not(self) -> None:
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        written = store.set(BUCKET, "b", raw("2"))
        self.assertIsInstance(store.get(BUCKET, "a"), Raw)
        await written

    async def test_writes_build_on_what_is_pending(self) -> None:
        store = self.open()
        first = store.set(BUCKET, "a", raw("1"))
        second = store.update(BUCKET, "a", lambda old: Raw(bytes(old or b"") + b"0"))
        third = store.delete(BUCKET, "a")
        fourth = store.set(BUCKET, "a", raw("7"))
        changes = [shown(change) for change in await gatherResults([first, second, third, fourth])]
        self.assertEqual(changes, [(None, "1"), ("1", "10"), ("10", None), (None, "7")])
        self.assertEqual(await self.value(store, "a"), "7")

    async def test_what_is_newer_stays_pending_when_the_older_is_answered(self) -> None:
        store = self.open()
        first = store.set(BUCKET, "a", raw("1"))
        await self.turn()
        second = store.set(BUCKET, "a", raw("2"))
        await first
        third = store.update(BUCKET, "a", lambda old: Raw(bytes(old or b"") + b"0"))
        self.assertEqual(shown(await third), ("2", "20"))
        await second

    async def test_answers_come_in_the_order_of_the_writes(self) -> None:
        store = self.open()
        order: list[int] = []
        writes = [
            store.set(BUCKET, f"k{n % 3}", raw(str(n))).addCallback(lambda _, n=n: order.append(n))
            for n in range(50)
        ]
        await gatherResults(writes)
        self.assertEqual(order, list(range(50)))

    async def test_a_list_shows_every_write_before_it(self) -> None:
        store = self.open()
        written = store.set(BUCKET, "a", raw("1"))
        self.assertEqual(await store.keys(BUCKET), ["a"])
        await written

    async def test_what_compute_raises_changes_nothing(self) -> None:
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))

        def compute(old: Raw | None) -> Raw:
            raise StoreError(Code.VALUE_TOO_LARGE, "no")

        await self.assertFailure(store.update(BUCKET, "a", compute), StoreError)
        self.assertEqual(await self.value(store, "a"), "1")

    async def test_everything_is_there_after_a_restart_in_the_same_order(self) -> None:
        store = self.open()
        for key in "cab":
            await store.set(BUCKET, key, raw(f'"{key}"'))
        await store.set(BUCKET, "c", raw("9"))
        await store.delete(BUCKET, "a")
        await self.close(store)

        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        self.assertEqual(await store.keys(BUCKET), ["c", "b", "a"])
        self.assertEqual(await store.buckets(), [BUCKET])

    async def test_closing_commits_what_is_pending(self) -> None:
        store = self.open()
        written = store.set(BUCKET, "a", raw("1"))
        await self.close(store)
        await written
        self.assertEqual(self.rows(), [("orders", "", "a", b"1")])

    async def test_a_list_that_waits_when_it_closes_opens_nothing_again(self) -> None:
        store = self.open()
        written = store.set(BUCKET, "a", raw("1"))
        listed = self.assertFailure(store.keys(BUCKET), StoreError)
        await self.close(store)
        await written
        self.assertEqual((await listed).code, Code.SHUTTING_DOWN)
        names = sorted(path.name for path in self.directory.iterdir())
        self.assertEqual(names, ["state.sqlite", "state.sqlite.lock"])

    async def test_a_closed_store_refuses_everything(self) -> None:
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        written = store.set(BUCKET, "b", raw("1"))
        closing = self.close(store)
        refused = Deferred.fromCoroutine(closing)
        for call in (
            lambda: store.set(BUCKET, "a", raw("2")),
            lambda: store.set(BUCKET, "b", raw("2")),
            lambda: store.delete(BUCKET, "a"),
            lambda: store.update(BUCKET, "a", lambda old: raw("2")),
            lambda: store.keys(BUCKET),
        ):
            error = await self.assertFailure(call(), StoreError)
            self.assertEqual(error.code, Code.SHUTTING_DOWN)
        self.assertRaises(StoreError, store.get, BUCKET, "a")
        await written
        await refused

    async def test_nothing_is_read_from_the_file_twice(self) -> None:
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        with sqlite3.connect(self.file) as other:
            other.execute("UPDATE entries SET value = x'32'")
        other.close()
        self.assertEqual(await self.value(store, "a"), "1")

    async def test_without_a_cache_everything_is(self) -> None:
        store = self.open(cache_bytes=0)
        await store.set(BUCKET, "a", raw("1"))
        with sqlite3.connect(self.file) as other:
            other.execute("UPDATE entries SET value = x'32'")
        other.close()
        self.assertEqual(await self.value(store, "a"), "2")

    def rows(self) -> list[tuple[str, str, str, bytes]]:
        """What another program finds in the file."""
        with sqlite3.connect(self.file) as other:
            found = other.execute("SELECT first, second, key, value FROM entries").fetchall()
        other.close()
        return found


class Refusing(StoreCase):
    """docs/durability.md, "Refused writes": an error, and nothing of it is kept."""

    async def test_a_full_store_says_so_and_goes_on(self) -> None:
        store = self.open(max_file_bytes=LITTLE_BYTES)
        await store.set(BUCKET, "a", raw("1"))
        error = await self.assertFailure(store.set(BUCKET, "b", TOO_MUCH), StoreError)
        self.assertEqual(error.code, Code.STORE_FULL)
        self.assertIn(str(self.file), error.message)
        self.assertEqual(await store.keys(BUCKET), ["a"])
        await store.set(BUCKET, "a", raw("2"))
        self.assertEqual(await self.value(store, "a"), "2")

    async def test_what_was_computed_from_a_refused_value_is_refused(self) -> None:
        store = self.open(max_file_bytes=LITTLE_BYTES)
        await store.set(BUCKET, "a", raw("1"))
        refused = store.set(BUCKET, "a", TOO_MUCH)
        await self.turn()
        later = store.update(BUCKET, "a", lambda old: Raw(b"[%d]" % len(bytes(old or b""))))
        read = store.get(BUCKET, "a")
        assert isinstance(read, Deferred)
        await self.assertFailure(refused, StoreError)
        await self.assertFailure(later, StoreError)
        self.assertEqual(bytes(await read), b"1")  # type: ignore[arg-type]
        change = await store.update(BUCKET, "a", lambda old: Raw(bytes(old or b"") + b"0"))
        self.assertEqual(shown(change), ("1", "10"))

    async def test_so_is_what_was_computed_in_the_turn_that_hears_of_it(self) -> None:
        store = self.open(max_file_bytes=LITTLE_BYTES)
        await store.set(BUCKET, "a", raw("1"))
        late: list[Deferred[Change]] = []
        real = writer._tell

        def tell(batches: list[writer.Batch], failure: BaseException | None) -> None:
            late.append(store.update(BUCKET, "a", lambda old: Raw(b"%b" % bytes(old or b""))))
            real(batches, failure)

        self.patch(writer, "_tell", tell)
        await self.assertFailure(store.set(BUCKET, "a", TOO_MUCH), StoreError)
        self.patch(writer, "_tell", real)
        await self.assertFailure(late[0], StoreError)
        self.assertEqual(await self.value(store, "a"), "1")

    async def test_nothing_is_kept_of_what_follows_before_the_failure_is_known(self) -> None:
        store = self.open(max_file_bytes=LITTLE_BYTES)
        await store.set(BUCKET, "a", raw("1"))
        failed = threading.Event()
        real = writer.Writer._roll_back

        def roll_back(self: writer.Writer) -> None:
            real(self)
            failed.set()

        self.patch(writer.Writer, "_roll_back", roll_back)
        first = store.set(BUCKET, "a", TOO_MUCH)
        self.api.turn.end()
        self.assertTrue(failed.wait(10))
        second = store.set(BUCKET, "b", raw("2"))
        self.api.turn.end()
        for write in (first, second):
            await self.assertFailure(write, StoreError)
        self.assertEqual(await store.keys(BUCKET), ["a"])
        await store.set(BUCKET, "b", raw("3"))
        self.assertEqual(await store.keys(BUCKET), ["a", "b"])

    async def test_a_delete_of_nothing_does_not_end_the_trouble(self) -> None:
        store = self.open(max_file_bytes=LITTLE_BYTES)
        with capturedLogs() as events:
            for _ in range(3):
                await self.assertFailure(store.set(BUCKET, "a", TOO_MUCH), StoreError)
                await store.delete(BUCKET, "b")
            await store.set(BUCKET, "a", raw("1"))
        told = [text for text in map(formatEvent, events) if "writes" in text]
        self.assertEqual(len(told), 2)
        self.assertEqual(told[1], f"{self.file}: writes succeed again")

    async def test_what_was_refused_does_not_wait_any_more(self) -> None:
        self.patch(entries, "MAX_PENDING_BYTES", 3 * LITTLE_BYTES)
        store = self.open(max_file_bytes=LITTLE_BYTES)
        for _ in range(3):
            error = await self.assertFailure(store.set(BUCKET, "a", TOO_MUCH), StoreError)
            self.assertEqual(error.code, Code.STORE_FULL)

    async def test_what_waits_for_the_disk_is_bounded(self) -> None:
        self.patch(entries, "MAX_PENDING_BYTES", 100)
        store = self.open()
        first = store.set(BUCKET, "a", raw('"' + "x" * 80 + '"'))
        error = await self.assertFailure(
            store.set(BUCKET, "b", raw('"' + "y" * 80 + '"')), StoreError
        )
        self.assertEqual(error.code, Code.OVERLOADED)
        await first
        await store.set(BUCKET, "b", raw('"' + "y" * 80 + '"'))


class Opening(StoreCase):
    """08 §1: what a start finds, and what it does about it."""

    async def test_a_second_engine_is_told_who_has_the_file(self) -> None:
        self.open()
        error = self.assertRaises(StartError, self.open)
        self.assertEqual(error.code, Code.STORE_LOCKED)
        self.assertIn(f"process {__import__('os').getpid()}", error.message)

    async def test_a_closed_store_can_be_opened_again(self) -> None:
        await self.close(self.open())
        self.open()

    async def test_garbage_is_moved_aside(self) -> None:
        await self.moved_aside(b"not a database at all" * 1000)

    async def test_so_is_a_header_alone(self) -> None:
        await self.moved_aside((await self.content())[:100])

    async def test_so_is_half_a_file(self) -> None:
        content = await self.content()
        await self.moved_aside(content[: len(content) // 2])

    async def test_so_is_a_file_with_a_damaged_page(self) -> None:
        content = bytearray(await self.content())
        content[4096:4106] = b"\xff" * 10
        await self.moved_aside(bytes(content))

    async def test_so_is_another_programs_database(self) -> None:
        self.directory.mkdir(parents=True)
        other = sqlite3.connect(self.file)
        other.execute("CREATE TABLE mine (x)")
        other.commit()
        other.close()
        await self.moved_aside(self.file.read_bytes())

    async def test_an_empty_file_with_a_log_is_moved_aside_with_it(self) -> None:
        self.directory.mkdir(parents=True)
        self.file.touch()
        self.file.with_name("state.sqlite-wal").write_bytes(b"x" * 5000)
        self.open()
        names = sorted(path.name for path in self.directory.glob("*corrupt*"))
        self.assertEqual([name.endswith("-wal") for name in names], [False, True])
        self.flushLoggedErrors()

    async def test_an_empty_file_is_a_new_store(self) -> None:
        self.directory.mkdir(parents=True)
        self.file.touch()
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        self.assertEqual(list(self.directory.glob("*corrupt*")), [])

    async def test_so_is_one_whose_first_start_was_killed(self) -> None:
        # The file has its first page, and beside it the journal that takes it back.
        page = (await self.content())[:4096]
        self.file.write_bytes(page)
        magic = bytes.fromhex("d9d505f920a163d7")
        journal = magic + struct.pack(">5I", 0, 0, 0, 512, 4096)
        self.file.with_name("state.sqlite-journal").write_bytes(journal.ljust(512, b"\0"))
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        await self.close(store)
        self.assertEqual(await self.open().keys(BUCKET), ["a"])

    async def test_a_file_of_a_newer_release_stops_the_start(self) -> None:
        await self.content()
        with sqlite3.connect(self.file) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
        error = self.assertRaises(StartError, self.open)
        self.assertIn("newer release", error.message)
        self.assertTrue(self.file.exists())

    async def test_a_directory_that_cannot_be_made_stops_the_start(self) -> None:
        self.directory.write_text("a file")
        error = self.assertRaises(StartError, self.open)
        self.assertIn(str(self.directory.absolute()), error.message)

    async def test_its_path_is_told(self) -> None:
        self.open()
        self.assertEqual(self.stores, {"state": str(self.file)})

    async def test_the_path_is_a_directory_whatever_it_is_called(self) -> None:
        self.open(file_path=str(self.directory / "state_store.db"))
        self.assertTrue((self.directory / "state_store.db").is_dir())

    async def test_only_in_memory_is_volatile(self) -> None:
        self.assertIsInstance(self.open(store_method="in_memory"), MemoryStore)
        self.assertIsInstance(self.open(durability="memory"), MemoryStore)
        self.assertNotIsInstance(self.open(store_method="in-memory"), MemoryStore)
        self.assertFalse(self.flushLoggedErrors())

    async def content(self) -> bytes:
        """A sound file's content; the file stays."""
        store = self.open()
        for n in range(200):
            await store.set(BUCKET, f"key-{n}", raw(f'"{"v" * 100}"'))
        await self.close(store)
        return self.file.read_bytes()

    async def moved_aside(self, content: bytes) -> None:
        """``content`` is found again under another name, and the store works."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        store = self.open()
        await store.set(BUCKET, "a", raw("1"))
        self.assertEqual(await store.keys(BUCKET), ["a"])
        (aside,) = self.directory.glob("state.sqlite.corrupt-*Z")
        self.assertEqual(aside.read_bytes()[:4096], content[:4096])
        self.assertEqual(len(aside.read_bytes()), len(content))


class Caching(StoreCase):
    """docs/limits.md: reads keep no more than their limit."""

    def test_what_is_used_stays_and_the_rest_goes(self) -> None:
        cache = Cache(20 * (OVERHEAD_BYTES + 10))
        for n in range(100):
            cache.put(("s", "", f"k{n}"), (n, b"12345678"))
            cache.get(("s", "", "k0"))
        self.assertEqual(cache.get(("s", "", "k0")), (0, b"12345678"))
        self.assertIs(cache.get(("s", "", "k50")), UNKNOWN)
        kept = sum(cache.get(("s", "", f"k{n}")) is not UNKNOWN for n in range(100))
        self.assertLessEqual(kept, 21)

    def test_long_names_of_buckets_count(self) -> None:
        cache = Cache(20 * (OVERHEAD_BYTES + 1000))
        for n in range(100):
            cache.put((f"{n}".ljust(500), "g" * 500, "k"), None)
        kept = sum(cache.get((f"{n}".ljust(500), "g" * 500, "k")) is None for n in range(100))
        self.assertLessEqual(kept, 21)

    def test_what_is_too_large_leaves_nothing_stale(self) -> None:
        cache = Cache(20 * (OVERHEAD_BYTES + 10))
        cache.put(("s", "", "k"), (0, b"old"))
        for n in range(12):  # until it is in the old generation
            cache.put(("s", "", f"k{n}"), None)
        cache.put(("s", "", "k"), (0, b"x" * 10_000))
        self.assertIs(cache.get(("s", "", "k")), UNKNOWN)

    def test_it_knows_what_is_not_there(self) -> None:
        cache = Cache(1 << 20)
        cache.put(("s", "", "k"), None)
        self.assertIsNone(cache.get(("s", "", "k")))
