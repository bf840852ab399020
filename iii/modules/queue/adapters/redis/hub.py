"""What all parts of the adapter share: Redis, the names of keys, this engine's name, time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from iii.dialling import LONGEST_RETRY_S
from iii.engine.module import ModuleApi
from iii.modules.queue.adapters.redis.config import RedisQueueConfig
from iii.modules.queue.adapters.redis.facts_scripts import (
    CONSUME,
    FORGET,
    REKEY,
    REMEMBER,
    RENEW,
    UNKEYED,
)
from iii.modules.queue.adapters.redis.legacy_scripts import HOLD, LET_GO
from iii.modules.queue.adapters.redis.put_script import PUT
from iii.modules.queue.adapters.redis.shelf_scripts import (
    CANCEL,
    COUNTS,
    DEAD,
    DEAD_BY_ID,
    DISCARD,
    LIST,
    MOVE,
    PURGE,
    REDRIVE,
    RESCHEDULE,
    TRIM,
)
from iii.modules.queue.adapters.redis.work_script import WORK
from iii.redis import Address, Redis, Script

if TYPE_CHECKING:
    from iii.redis.protocol import Part

SCRIPTS = (
    *(PUT, WORK, REMEMBER, FORGET, CONSUME, UNKEYED, REKEY, RENEW, COUNTS, LIST, DEAD),
    *(DEAD_BY_ID, REDRIVE, DISCARD, TRIM, PURGE, MOVE, CANCEL, RESCHEDULE, HOLD, LET_GO),
)


class Hub:
    """The way to Redis.

    :ivar me: this engine, among all that share the queues
    """

    def __init__(self, engine: ModuleApi, address: Address, settings: RedisQueueConfig) -> None:
        self.engine = engine
        self.clock = engine.clock
        self.turn = engine.turn
        self.prefix = settings.key_prefix
        self.lease_ms = settings.lease_ms
        self.me = os.urandom(8).hex()
        self.redis = Redis(
            engine,
            address,
            who="queue",
            without="enqueues are refused, and nothing is handed out",
            scripts=SCRIPTS,
        )

    def run(self, script: Script, *parts: Part) -> Deferred[Any]:
        """Run one of the adapter's scripts."""
        return self.redis.run(script, self.prefix, self.clock.wall_ms(), self.me, *parts)

    @property
    def judges(self) -> bool:
        """Whether leases that ran out count: not while everybody just came back."""
        since = self.redis.up_since
        patience_s = min(LONGEST_RETRY_S + 1.0, self.lease_ms / 6000)
        return since is not None and self.clock.monotonic() - since >= patience_s

    def key(self, *names: str) -> str:
        """A key or channel that belongs to no queue."""
        return ":".join((self.prefix, "q", *names))
