"""The adapter ``redis``: values that all engines on one Redis share.

A scope is the hash ``state:<scope>``, key → value as JSON, as engines of the original
have it.  Triggers are fired by the engine that wrote, as there.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi
from iii.redis import Redis, RedisConfig, parse_url, warn_of_loss
from iii.redis.globs import escaped
from iii.redis.hashes import PLAIN, HashStore
from iii.storage.store import Bucket, Store

HASH, ORDER = "state:", "iii:order:state:"


class StateLayout:
    """The names of the original, and those of the orders, which it does not have."""

    def hash(self, bucket: Bucket) -> str:
        """Layout: a scope's."""
        return HASH + bucket[0]

    def order(self, bucket: Bucket) -> str:
        """Layout: a scope's."""
        return ORDER + bucket[0]

    def pattern(self, first: str | None) -> str:
        """Layout: all, or the one."""
        return HASH + ("*" if first is None else escaped(first))

    def buckets(self, hash: str) -> list[Bucket]:
        """Layout: what follows the prefix is the scope."""
        return [(hash.removeprefix(HASH), "")]


class RedisState:
    """Opens the store."""

    config = RedisConfig

    def __init__(self, settings: RedisConfig) -> None:
        self._address = parse_url(settings.redis_url)

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Deferred[Store]:
        """The store, once Redis is there.

        The Deferred fails with ``StartError``: it is not, or refuses.
        """
        redis = Redis(
            engine,
            self._address,
            who=name,
            without="reads and writes fail",
            scripts=PLAIN.all,
        )
        stores[name] = str(self._address)
        return Deferred.fromCoroutine(self._connected(engine, redis, name))

    async def _connected(self, engine: ModuleApi, redis: Redis, name: str) -> Store:
        try:
            await redis.start()
            await warn_of_loss(engine, redis, name)
        except BaseException:
            await redis.stop()
            raise
        return HashStore(engine, redis, StateLayout())
