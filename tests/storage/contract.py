"""What every ``Store`` promises, tried with random operations against dictionaries.

A test case mixes ``StoreContract`` in and says how its store is made.  A run is a seed:
the message of a failure names it, and ``StoreContract.run_of(seed)`` repeats it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.storage.store import Bucket, Change, Page, Store

# Few and much alike, so that operations meet; code points order unlike UTF-16.
BUCKETS: list[Bucket] = [("a", ""), ("a", "b"), ("a:b", ""), ("ab", ""), ("", ""), ("é", "😀"), ("\uffff", "")]  # fmt: skip  # noqa: E501
KEYS = ["k", "K", "", "k:1", "é", "😀", "a\x00b", "x" * 300]
VALUES = [b"null", b"0", b'""', b"{}", b'{"a":[1,2.50,"\\u00e9"]}', "\"é😀\"".encode(), b"9" * 60, b'"%b"' % (b"v" * 5000)]  # fmt: skip  # noqa: E501
HUGE = 10**9


class Refuses(Exception):
    """``compute`` does not want to."""


class Model:
    """A store as a dictionary of dictionaries, in order of the first write."""

    def __init__(self) -> None:
        self.buckets: dict[Bucket, dict[str, bytes]] = {}

    def bucket(self, bucket: Bucket) -> dict[str, bytes]:
        """Its keys and values."""
        return self.buckets.get(bucket, {})

    def put(self, bucket: Bucket, key: str, value: bytes | None) -> tuple[Any, Any]:
        """Keep or take out; what was before and is after."""
        entries = self.buckets.setdefault(bucket, {})
        old = entries.get(key)
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value
        if not entries:
            del self.buckets[bucket]
        return old, value

    def names(self, first: str | None) -> list[Bucket]:
        """Buckets that hold something, sorted."""
        return sorted(b for b in self.buckets if first in (None, b[0]))

    def page(self, bucket: Bucket, start: int, limit: int, max_bytes: int) -> list[Any]:
        """A part of a bucket, beginning with its ``start``-th entry."""
        found: list[Any] = []
        size = 0
        for key, value in list(self.bucket(bucket).items())[start : start + limit]:
            size += len(key.encode()) + len(value)
            if found and size > max_bytes:
                break
            found.append((key, value))
        return found


class Read:
    """A read under way.

    :ivar answer: the store's
    :ivar of: what is compared of it
    :ivar states: what it may show: a store may answer with writes that came after it
    """

    def __init__(self, answer: Any, of: Callable[[Any], Any], expected: Callable[[], Any]) -> None:
        self.answer = answer
        self.of = of
        self._expected = expected
        self.states = [expected()]

    def may_see(self) -> None:
        """Something was written."""
        self.states.append(self._expected())


class StoreContract:
    """A mixin for a trial ``TestCase``.

    :cvar seeds: how many runs
    :cvar steps: how many operations each has
    :cvar in_order: False: keys that are created while nobody waits may have any order
    """

    seeds = 30
    steps = 120
    in_order = True

    assertEqual: Callable[..., None]
    assertRaises: Callable[..., Any]
    assertIn: Callable[..., None]

    def make_store(self) -> Store:
        """An empty store, which the case closes."""
        raise NotImplementedError

    async def reopen(self, store: Store) -> Store:
        """The store after a restart; one that forgets is given back as it is."""
        return store

    async def test_a_store_is_a_dictionary_of_dictionaries(self) -> None:
        """One thing after the other, each answered before the next."""
        for seed in range(self.seeds):
            await self.run_of(seed)

    async def test_nothing_changes_when_nobody_waits(self) -> None:
        """The same with many operations under way at once."""
        for seed in range(self.seeds):
            await self.run_of(seed, waits=False)

    async def test_what_compute_raises_stores_nothing(self) -> None:
        """It is the Deferred that fails, not the call; later writes go on."""
        store = self.make_store()

        def refuse(old: Raw | None) -> Raw:
            raise Refuses

        bucket = BUCKETS[0]
        with self.assertRaises(Refuses):
            await store.update(bucket, "k", refuse)
        self.assertEqual(await store.buckets(), [])
        before = store.set(bucket, "k", Raw(b"1"))
        refused = store.update(bucket, "k", refuse)
        after = store.update(bucket, "k", lambda old: Raw(b"[%b]" % bytes(old or b"")))
        with self.assertRaises(Refuses):
            await refused
        self.assertEqual(shown(await before), (None, b"1"))
        self.assertEqual(shown(await after), (b"1", b"[1]"))

    async def test_answers_come_in_the_order_of_the_writes(self) -> None:
        """Whatever they write, and wherever."""
        store = self.make_store()
        order: list[int] = []
        asked: list[Deferred[Change]] = []
        for number in range(60):
            bucket, key = BUCKETS[number % 3], KEYS[number % 4]
            writing: Deferred[Change]
            if number % 3 == 0:
                writing = store.delete(bucket, key)
            elif number % 3 == 1:
                writing = store.update(bucket, key, lambda old: old or Raw(b"1"))
            else:
                writing = store.set(bucket, key, Raw(b"2"))
            asked.append(writing.addCallback(noted, order, number))
        for each in asked:
            await each
        self.assertEqual(order, list(range(60)))

    async def test_what_was_given_may_change_afterwards(self) -> None:
        """A value is a view of a message whose memory is used again."""
        store = self.make_store()
        memory = bytearray(b'{"a":1}')
        writing = store.set(BUCKETS[0], "k", Raw(memory))
        memory[:] = b'{"z":9}'
        self.assertEqual(shown(await writing), (None, b'{"a":1}'))
        self.assertEqual(await read(store, BUCKETS[0], "k"), b'{"a":1}')

    async def test_a_page_shows_what_is_behind_its_position(self) -> None:
        """Also when the entry at the position has gone meanwhile."""
        store = self.make_store()
        bucket = BUCKETS[0]
        for key in "abcd":
            await store.set(bucket, key, Raw(b"1"))
        first = await store.page(bucket, 0, 2, HUGE)
        self.assertEqual((plain(first), first.done), ([("a", b"1"), ("b", b"1")], False))
        await store.delete(bucket, "b")
        await store.set(bucket, "a", Raw(b"2"))
        await store.set(bucket, "b", Raw(b"3"))
        rest = await store.page(bucket, first.last, 9, HUGE)
        self.assertEqual(plain(rest), [("c", b"1"), ("d", b"1"), ("b", b"3")])
        self.assertEqual((rest.done, rest.total), (True, 4))
        end = await store.page(bucket, rest.last, 9, HUGE)
        self.assertEqual(end, Page([], rest.last, True, 4))

    async def run_of(self, seed: int, *, waits: bool = True) -> None:
        """One run.

        :param waits: every operation is answered before the next is asked
        """
        store, model, dice = self.make_store(), Model(), random.Random(seed)
        exact = waits or self.in_order
        checks: list[Callable[[], Awaitable[None]]] = []
        reads: list[Read] = []
        try:
            for _ in range(self.steps):
                checks.append(self.step(store, model, dice, reads, exact=exact))
                if waits or dice.random() < 0.02:
                    for check in checks:
                        await check()
                    checks.clear()
                    reads.clear()
            for check in checks:
                await check()
            store = await self.reopen(store)
            await self.compare_all(store, model, exact=exact)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, waits={waits}: {error}") from error

    def step(
        self,
        store: Store,
        model: Model,
        dice: random.Random,
        reads: list[Read],
        *,
        exact: bool,
    ) -> Callable[[], Awaitable[None]]:
        """Ask for something; what compares the answer with the model's.

        :param reads: reads under way
        :param exact: the order of keys counts
        """
        bucket, key = dice.choice(BUCKETS), dice.choice(KEYS)
        value = dice.choice(VALUES)
        writing: Deferred[Change]
        match dice.choice(("set", "set", "set", "delete", "update", "read", "read", "read")):
            case "set":
                writing = store.set(bucket, key, Raw(value))
                change = model.put(bucket, key, value)
            case "delete":
                writing = store.delete(bucket, key)
                change = model.put(bucket, key, None)
            case "update":
                writing = store.update(bucket, key, listed)
                old = model.bucket(bucket).get(key)
                change = model.put(bucket, key, b"[%b]" % (old or b""))
            case _:
                reading = self.read(store, model, dice, bucket, key, exact=exact)
                reads.append(reading)
                return lambda: self.check_read(reading)
        for read_under_way in reads:
            read_under_way.may_see()
        return lambda: self.check_write(writing, change)

    def read(
        self,
        store: Store,
        model: Model,
        dice: random.Random,
        bucket: Bucket,
        key: str,
        *,
        exact: bool,
    ) -> Read:
        """Ask for one of the things that can be asked."""
        match dice.choice(("get", "get", "values", "keys", "buckets", "page")):
            case "values" if not exact:
                every = store.values(bucket)
                return Read(
                    every,
                    lambda found: sorted(contents(found)),
                    lambda: sorted(model.bucket(bucket).values()),
                )
            case "keys" if not exact:
                return Read(store.keys(bucket), sorted, lambda: sorted(model.bucket(bucket)))
            case "page" if not exact:
                whole = store.page(bucket, 0, len(KEYS), HUGE)
                return Read(
                    whole,
                    lambda found: sorted(plain(found)),
                    lambda: sorted(model.bucket(bucket).items()),
                )
            case "get":
                return Read(store.get(bucket, key), content, lambda: model.bucket(bucket).get(key))
            case "values":
                values = store.values(bucket)
                return Read(values, contents, lambda: list(model.bucket(bucket).values()))
            case "keys":
                return Read(store.keys(bucket), list, lambda: list(model.bucket(bucket)))
            case "buckets":
                first = dice.choice((None, bucket[0]))
                return Read(store.buckets(first), list, lambda: model.names(first))
        size = dice.randint(1, 4), dice.choice((1, 400, 6000, HUGE))
        page = store.page(bucket, 0, *size)
        return Read(page, plain, lambda: model.page(bucket, 0, *size))

    async def check_write(self, writing: Deferred[Change], change: tuple[Any, Any]) -> None:
        """A write says what was before and is after it."""
        self.assertEqual(shown(await writing), change)

    async def check_read(self, reading: Read) -> None:
        """A read shows what was when it was asked, or became since."""
        answer = reading.answer
        got = reading.of((await answer) if isinstance(answer, Deferred) else answer)
        self.assertIn(got, reading.states)

    async def compare_all(self, store: Store, model: Model, *, exact: bool) -> None:
        """Everything that can be asked is as the model has it."""
        self.assertEqual(await store.buckets(), model.names(None))
        for bucket in BUCKETS:
            entries = model.bucket(bucket)
            self.assertEqual(await store.buckets(bucket[0]), model.names(bucket[0]))
            keys = await store.keys(bucket)
            self.assertEqual(sorted(keys), sorted(entries))
            if exact:
                self.assertEqual(keys, list(entries))
            values = contents(await store.values(bucket))
            self.assertEqual(values, [entries[key] for key in keys])
            for key in KEYS:
                self.assertEqual(await read(store, bucket, key), entries.get(key))
            entries = model.buckets[bucket] = {key: entries[key] for key in keys}
            if not entries:
                del model.buckets[bucket]
            for limit, max_bytes in ((1, HUGE), (3, HUGE), (100, 1), (100, 400), (100, HUGE)):
                await self.compare_pages(store, model, bucket, limit, max_bytes)

    async def compare_pages(
        self, store: Store, model: Model, bucket: Bucket, limit: int, max_bytes: int
    ) -> None:
        """Pages show every entry once, in order, and each is as full as it may be."""
        start, after = 0, 0
        while True:
            page = await store.page(bucket, after, limit, max_bytes)
            self.assertEqual(plain(page), model.page(bucket, start, limit, max_bytes))
            start, after = start + len(page.entries), page.last
            self.assertEqual(page.total, len(model.bucket(bucket)))
            self.assertEqual(page.done, start == page.total)
            if page.done:
                return


def listed(old: Raw | None) -> Raw:
    """A ``Compute`` that shows what it was given."""
    return Raw(b"[%b]" % (b"" if old is None else bytes(old)))


def noted(change: Change, order: list[int], number: int) -> Change:
    """Write down who was answered."""
    order.append(number)
    return change


def content(value: Raw | None) -> bytes | None:
    """The bytes of a value."""
    return None if value is None else bytes(value)


def contents(values: list[Raw]) -> list[bytes]:
    """The bytes of values."""
    return [bytes(value) for value in values]


def shown(change: Change) -> tuple[bytes | None, bytes | None]:
    """The bytes before and after."""
    return content(change.old), content(change.new)


def plain(page: Page) -> list[tuple[str, bytes]]:
    """Keys and bytes."""
    return [(key, bytes(value)) for key, value in page.entries]


async def read(store: Store, bucket: Bucket, key: str) -> bytes | None:
    """The bytes under a key."""
    found = store.get(bucket, key)
    return content(await found if isinstance(found, Deferred) else found)
