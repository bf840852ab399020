"""The same with the items in Redis (04 §9): results are those of the embedded store.

Events come by way of Redis, those of one's own writes as well.
"""

from __future__ import annotations

from iii.engine.module import ModuleApi
from iii.modules.stream.adapters.redis import SCRIPTS, RedisStreamStore
from iii.redis import Redis, parse_url
from iii.storage.store import Store
from tests.stream import test_events, test_functions, test_providers, test_triggers
from tests.stream.cases import StreamCase
from tests.support.shared_redis import empty_redis


class OnRedis(StreamCase):
    """The stream module over the store of the adapter ``redis``."""

    store: RedisStreamStore

    async def setUp(self) -> None:
        self.server = empty_redis()
        await super().setUp()
        await self.redis.start()
        await self.store.subscribe()

    def make_store(self) -> Store:
        """StreamCase: connected by ``setUp``."""
        api = ModuleApi(self.engine, "iii-stream")
        self.redis = Redis(
            api,
            parse_url(self.server.url),
            who="stream",
            without="nothing works",
            scripts=SCRIPTS.all,
        )
        return RedisStreamStore(api, self.redis)


class ValuesOnRedis(OnRedis, test_functions.Values):
    """04 §5."""

    async def test_names_with_colons_are_names(self) -> None:
        """As far as the original's layout allows: items of alike groups share a hash."""
        await self.set("i", 1, group="b:c", stream="a")
        await self.set("j", 2, group="c", stream="a:b")
        await self.set("", 3, group="", stream="")
        self.assertEqual(await self.get("i", "b:c", "a"), 1)
        self.assertEqual(await self.get("j", "c", "a:b"), 2)
        everything = await self.caller.call("stream::list_all", {})
        self.assertEqual(
            everything["stream"],
            [
                {"id": "", "groups": [""]},
                {"id": "a", "groups": ["b:c"]},
                {"id": "a:b", "groups": ["c"]},
            ],
        )


class ListsOnRedis(OnRedis, test_functions.Lists):
    """04 §5."""


class UpdatesOnRedis(OnRedis, test_functions.Updates):
    """04 §4, §5."""


class SendingOnRedis(OnRedis, test_functions.Sending):
    """04 §5."""


class SubscribedOnRedis(OnRedis, test_functions.Subscribed):
    """04 §5.1, §6.4."""

    async def test_a_write_nobody_wants_takes_no_timestamp(self) -> None:
        """Every engine is told of every write: somebody elsewhere may want it."""
        client = await self.subscriber("other")
        await self.set("i", 1)
        await self.set("i", 2, "other")
        self.assertEqual((await client.next())["event"], {"type": "create", "data": 2})


class LimitedOnRedis(OnRedis, test_functions.Limited):
    """04 §14.26."""


class ReadsOnRedis(OnRedis, test_functions.Reads):
    """What the sockets ask."""


class TimestampsOnRedis(OnRedis, test_events.OnTheWire):
    """04 §5.1."""


class FiltersOnRedis(OnRedis, test_triggers.Filters):
    """04 §7.1."""


class DeliveryOnRedis(OnRedis, test_triggers.Delivery):
    """04 §7.1."""


class ProvidersOnRedis(OnRedis, test_providers.Provided):
    """04 §8: what a provider writes is told to all engines as well."""


class UpdatingProvidersOnRedis(OnRedis, test_providers.Updating):
    """04 §8."""
