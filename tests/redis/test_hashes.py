"""Values in hashes of Redis: the contract of stores, and what only Redis can do to it."""

from __future__ import annotations

from itertools import count

from msgspec import Raw
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.state.adapters.redis import StateLayout
from iii.modules.stream.adapters.redis import SCRIPTS as STREAM_SCRIPTS
from iii.modules.stream.adapters.redis import RedisStreamStore
from iii.modules.stream.adapters.redis_names import StreamLayout
from iii.redis import Redis, hashes, lanes, parse_url
from iii.redis.hashes import PLAIN, HashStore
from iii.storage.store import Store, StoreError
from tests.storage.contract import HUGE, StoreContract, content, read, shown
from tests.support.shared_redis import empty_redis


class HashCase(TestCase):
    """Stores of two engines on one Redis, which is empty at first."""

    timeout = 60

    async def setUp(self) -> None:
        self.server = empty_redis()
        self.redis = await self.connected()

    async def tearDown(self) -> None:
        await self.redis.stop()

    async def connected(self) -> Redis:
        """One more client."""
        self.api = ModuleApi(Engine(reactor), "iii-state")
        redis = Redis(
            self.api,
            parse_url(self.server.url),
            who="state",
            without="nothing works",
            scripts=(*PLAIN.all, *STREAM_SCRIPTS.all),
        )
        await redis.start()
        return redis

    async def other(self) -> HashStore:
        """The state's store of another engine."""
        redis = await self.connected()
        self.addCleanup(redis.stop)
        return HashStore(self.api, redis, StateLayout())

    def state(self) -> HashStore:
        """The state's store."""
        return HashStore(self.api, self.redis, StateLayout())


class Contract(StoreContract, HashCase):
    """What every store promises, with the names of streams, which have both parts."""

    seeds = 6
    in_order = False

    def make_store(self) -> Store:
        """StoreContract."""
        self.server.ask("FLUSHALL")
        return HashStore(self.api, self.redis, StreamLayout())


class TellingContract(Contract):
    """The same with writes that tell."""

    seeds = 3

    def make_store(self) -> Store:
        """StoreContract."""
        self.server.ask("FLUSHALL")
        return RedisStreamStore(self.api, self.redis)


class Updates(HashCase):
    """04 §4, §14.7: computed here, written only on what they were computed from."""

    bucket = ("s", "")

    def put(self, value: str) -> None:
        """Another engine writes, right now."""
        self.server.ask("HSET", "state:s", "k", value)

    async def test_it_is_computed_again_on_what_came_between(self) -> None:
        """And told what it changed in the end."""
        store = self.state()
        await store.set(self.bucket, "k", Raw(b"1"))
        seen: list[bytes | None] = []

        def compute(old: Raw | None) -> Raw:
            seen.append(content(old))
            if len(seen) == 1:
                self.put("5")
            return Raw(b"[%b]" % (content(old) or b""))

        change = await store.update(self.bucket, "k", compute)
        self.assertEqual((seen, shown(change)), ([b"1", b"5"], (b"5", b"[5]")))
        self.assertEqual(await read(store, self.bucket, "k"), b"[5]")

    async def test_somebody_who_never_stops_ends_it(self) -> None:
        """With an error; what comes behind is done."""
        self.patch(hashes, "MAX_TRIES", 3)
        store = self.state()
        numbers = count()

        def compute(old: Raw | None) -> Raw:
            self.put(str(next(numbers)))
            return Raw(b"0")

        refused = store.update(self.bucket, "k", compute)
        with self.assertRaises(StoreError) as caught:
            await refused
        self.assertEqual(caught.exception.code, Code.OVERLOADED)
        self.assertEqual(next(numbers), 3)
        self.assertEqual(shown(await store.set(self.bucket, "k", Raw(b"7"))), (b"2", b"7"))

    async def test_many_of_one_value_cost_few_commands(self) -> None:
        """Those that wait are written together, with what else waits for the value."""
        store = self.state()
        self.server.ask("CONFIG", "RESETSTAT")
        asked = [store.update(self.bucket, "k", counted) for _ in range(500)]
        asked.append(store.set(self.bucket, "k", Raw(b"9")))
        asked.append(store.delete(self.bucket, "k"))
        asked.append(store.update(self.bucket, "k", counted))
        changes = [shown(await each) for each in asked]
        self.assertEqual(changes[0], (None, b"1"))
        self.assertEqual(changes[499:], [(b"499", b"500"), (b"500", b"9"), (b"9", None), (None, b"1")])  # fmt: skip  # noqa: E501
        self.assertLess(self.scripts(), 8)

    async def test_large_ones_are_not_all_written_together(self) -> None:
        """What is told of them is one command with them."""
        self.patch(lanes, "MAX_TOGETHER_BYTES", 3000)
        store = self.state()
        large = b'"' + b"x" * 1000 + b'"'
        self.server.ask("CONFIG", "RESETSTAT")
        asked = [store.update(self.bucket, "k", lambda old: Raw(large)) for _ in range(20)]
        changes = [shown(await each) for each in asked]
        self.assertEqual(changes, [(None, large), *[(large, large)] * 19])
        self.assertEqual(self.scripts(), 20 // 3 + 1)

    def scripts(self) -> int:
        """How many ran since the statistics were reset."""
        statistics: str = self.server.ask("INFO", "commandstats")
        [scripts] = [line for line in statistics.splitlines() if "evalsha" in line]
        return int(scripts.partition("calls=")[2].partition(",")[0])

    async def test_a_read_behind_an_update_sees_it(self) -> None:
        """Of the value, and of everything."""
        store = self.state()
        store.update(self.bucket, "k", counted)
        self.assertEqual(await read(store, self.bucket, "k"), b"1")
        store.update(self.bucket, "k", counted)
        self.assertEqual([bytes(v) for v in await store.values(self.bucket)], [b"2"])
        store.update(("t", ""), "k", counted)
        self.assertEqual(await store.buckets(), [("s", ""), ("t", "")])

    async def test_a_close_finishes_what_was_asked_for(self) -> None:
        """Then nothing works any more."""
        store = self.state()
        asked = [store.update(self.bucket, "k", counted) for _ in range(3)]
        asked.append(store.set(self.bucket, "other", Raw(b"1")))
        await store.close()
        self.assertEqual([shown(self.successResultOf(each))[1] for each in asked], [b"1", b"2", b"3", b"1"])  # fmt: skip  # noqa: E501
        with self.assertRaises(StoreError) as caught:
            await store.set(self.bucket, "k", Raw(b"1"))
        self.assertEqual(caught.exception.code, Code.REDIS_UNAVAILABLE)


class Foreign(HashCase):
    """What other programs leave in the hashes."""

    async def test_names_that_are_no_text(self) -> None:
        """Are shown, so that somebody can look after them."""
        await self.redis.call("HSET", b"state:\xff", b"\xfe", b"1")
        store = self.state()
        self.assertEqual(await store.buckets(), [("\\xff", "")])
        await self.redis.call("HSET", b"state:s", b"\xfe", b"1")
        self.assertEqual(await store.keys(("s", "")), ["\\xfe"])

    async def test_what_two_engines_make_of_a_hash_of_the_original(self) -> None:
        """The one that lists it first gives its keys an order, for both."""
        for number in range(50):
            self.server.ask("HSET", "state:s", f"k{number}", str(number))
        stores = self.state(), await self.other()
        keys = [await store.keys(("s", "")) for store in stores]
        self.assertEqual(keys[0], keys[1])
        self.assertEqual(len(keys[0]), 50)
        page = await stores[1].page(("s", ""), 0, 30, HUGE)
        rest = await stores[0].page(("s", ""), page.last, 30, HUGE)
        self.assertEqual([key for key, _ in page.entries + rest.entries], keys[0])


class Names(TestCase):
    """04 §9: the names of the original."""

    def test_a_group_s(self) -> None:
        """Read back, it may be several; the likeliest is what the original shows."""
        layout = StreamLayout()
        self.assertEqual(layout.hash(("a", "b:c")), "stream:a:b:c")
        self.assertEqual(layout.hash(("a:b", "c")), "stream:a:b:c")
        self.assertEqual(layout.buckets("stream:a:b:c"), [("a", "b:c"), ("a:b", "c")])
        self.assertNotEqual(layout.order(("a", "b:c")), layout.order(("a:b", "c")))
        self.assertEqual(layout.pattern("a*[b]?\\"), r"stream:a\*\[b\]\?\\:*")

    def test_a_scope_s(self) -> None:
        """Whatever is in it."""
        layout = StateLayout()
        for scope in ("", "a", "a:b", "state:"):
            self.assertEqual(layout.buckets(layout.hash((scope, ""))), [(scope, "")])
        self.assertEqual(layout.pattern(None), "state:*")
        self.assertEqual(layout.pattern("a*"), r"state:a\*")


def counted(old: Raw | None) -> Raw:
    """One more."""
    return Raw(b"%d" % (int(content(old) or 0) + 1))
