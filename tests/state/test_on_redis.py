"""The same with the values in Redis (04 §3.4): results are those of the embedded store."""

from __future__ import annotations

from iii.engine.module import ModuleApi
from iii.modules.state.adapters.redis import StateLayout
from iii.redis import Redis, parse_url
from iii.redis.hashes import PLAIN, HashStore
from iii.storage.store import Store
from tests.state import test_functions, test_triggers, test_updates
from tests.state.cases import StateCase
from tests.support.shared_redis import empty_redis


class OnRedis(StateCase):
    """The state module over the store of the adapter ``redis``."""

    async def setUp(self) -> None:
        self.server = empty_redis()
        await super().setUp()
        await self.redis.start()

    def make_store(self) -> Store:
        """StateCase: connected by ``setUp``."""
        api = ModuleApi(self.engine, "iii-state")
        self.redis = Redis(
            api,
            parse_url(self.server.url),
            who="state",
            without="nothing works",
            scripts=PLAIN.all,
        )
        return HashStore(api, self.redis, StateLayout())


class ValuesOnRedis(OnRedis, test_functions.Values):
    """04 §3.1."""


class ListsOnRedis(OnRedis, test_functions.Lists):
    """04 §3.1."""


class PagesOnRedis(OnRedis, test_functions.Pages):
    """04 §13."""


class SizesOnRedis(OnRedis, test_functions.Sizes):
    """04 §14.26."""


class UpdatingOnRedis(OnRedis, test_updates.Updating):
    """04 §4."""


class EventsOnRedis(OnRedis, test_triggers.Events):
    """04 §3.3."""


class BindingsOnRedis(OnRedis, test_triggers.Bindings):
    """04 §3.3."""
