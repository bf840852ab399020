"""Brokers that are killed and started again, and how an engine is told of them."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest import SkipTest, TestCase

from iii.modules.queue.module import QueueModule
from tests.durability.queue_account import MAX_ATTEMPTS
from tests.support.rabbitmq import RabbitServer
from tests.support.redis import RedisServer

#: Messages of a killed engine come again after this.
LEASE_MS = 1_000


class Broker:
    """One broker of a test's own, which keeps what it acknowledged.

    :cvar name: the adapter
    :cvar max_retries: of a named queue whose messages are tried ``MAX_ATTEMPTS`` times
    :cvar ordered: groups of a FIFO queue keep their order whatever dies
    :cvar back_s: how long after its start an engine may need to go on
    """

    name: ClassVar[str]
    max_retries: ClassVar[int] = MAX_ATTEMPTS
    ordered: ClassVar[bool] = True
    delays: ClassVar[bool] = True
    keys: ClassVar[bool] = True
    back_s: ClassVar[float] = 10.0

    def __init__(self, case: TestCase) -> None:
        if self.name not in QueueModule.adapters:
            raise SkipTest(f"the queue module has no adapter '{self.name}' yet")
        self.server = self.launch(case)

    def launch(self, case: TestCase) -> Any:
        """Start it."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """The adapter's ``config:``, without the common keys."""
        raise NotImplementedError


class DurableRedis(Broker):
    """Redis with ``appendfsync always``."""

    name = "redis"

    def launch(self, case: TestCase) -> RedisServer:
        """Broker."""
        return RedisServer(case, "--appendonly", "yes", "--appendfsync", "always")

    @property
    def settings(self) -> dict[str, Any]:
        """Broker: leases that end soon."""
        return {"redis_url": self.server.url, "lease_ms": LEASE_MS}


class RabbitMQ(Broker):
    """RabbitMQ."""

    name = "rabbitmq"
    max_retries = MAX_ATTEMPTS - 1
    ordered = False
    keys = False
    back_s = 40.0

    def launch(self, case: TestCase) -> RabbitServer:
        """Broker."""
        server = RabbitServer()
        case.addCleanup(server.close)
        return server

    @property
    def settings(self) -> dict[str, Any]:
        """Broker."""
        return {"amqp_url": self.server.url}
