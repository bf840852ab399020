"""``mode: pubsub``: the original's form of queues on Redis, for fleets that still need it.

A message is ``PUBLISH <topic>``, every engine with a trigger runs it once for each of its
groups, and nothing is kept, tried again or counted.  A named queue is the channel
``__queue::<name>``, which nobody reads.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from iii.engine.clock import Clock
from iii.engine.ids import next_id
from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import (
    Counts,
    Details,
    Executor,
    Message,
    New,
    NotSupported,
    Once,
    Outcome,
    QueueAdapter,
    QueueName,
    Receipt,
    Status,
)
from iii.modules.queue.adapters.redis.config import RedisQueueConfig
from iii.modules.queue.adapters.redis.envelope import Trace, opened, sealed
from iii.modules.queue.message import DEFAULT_PRIORITY
from iii.modules.queue.settings import LaneSettings
from iii.redis import Redis, parse_url

log = Logger()


class _Call(msgspec.Struct):
    """A message of a named queue, as the original publishes it."""

    trace: Trace = msgspec.field(name="__trace")
    function_id: str | None
    message_id: str
    data: Raw


class PubSubQueues(QueueAdapter):
    """Topics as channels."""

    kind = "redis"
    config = RedisQueueConfig

    def __init__(self, settings: RedisQueueConfig) -> None:
        self._address = parse_url(settings.redis_url)
        self.topic_settings = settings.topics()
        self.retention_ms = settings.subscriber_retention_ms
        self._groups: dict[str, dict[QueueName, tuple[LaneSettings, Executor]]] = {}
        self._redis: Redis
        self._clock: Clock
        self._closing = False

    async def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Adapter: connect.

        :raises StartError: Redis is not there
        """
        stores["queue"] = f"{self._address} (nothing is kept)"
        self._clock = engine.clock
        self._redis = Redis(
            engine,
            self._address,
            who="queue",
            without="enqueues are refused, and what others publish is missed",
        )
        await self._redis.start()
        log.warn("queue: mode pubsub: messages are not kept, and not tried again")

    def closing(self) -> None:
        """Adapter: nothing more is run."""
        self._closing = True

    def stop(self) -> Deferred[None]:
        """Adapter: disconnect."""
        return self._redis.stop()

    def put(self, new: New, once: Once | None = None) -> Deferred[Receipt]:
        """Adapter: publish a message.

        :raises IIIError: through the Deferred; Redis is away, or it can't be said here
        """
        first = new.queues[0]
        if once is not None:
            return fail(NotSupported(self, "idempotency keys in mode pubsub"))
        if new.due_ms or new.ttl_ms is not None or new.priority != DEFAULT_PRIORITY:
            return fail(NotSupported(self, "delays, lifetimes and priorities in mode pubsub"))
        if first.kind == "named":
            trace = Trace(new.traceparent, new.baggage)
            body = msgspec.json.encode(_Call(trace, new.function_id, new.id, new.data))
            sent = self._redis.call("PUBLISH", f"__queue::{first.name}", body)
        else:
            # Who subscribes and then publishes here must hear it: the two take different ways.
            ready: Deferred[Any] = self._redis.subscribed(first.name)
            sent = ready.addCallback(lambda _: self._redis.call("PUBLISH", first.name, sealed(new)))
        return sent.addCallback(lambda _: Receipt(new.id))

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Adapter: run what is published on the topic of ``queue``."""
        if queue.kind == "named":
            return
        groups = self._groups.setdefault(queue.name, {})
        if not groups:
            self._redis.subscribe(queue.name, self._heard)
        groups[queue] = (settings, executor)

    def drop(self, queue: QueueName) -> Any:
        """Adapter: hear no more of it."""
        groups = self._groups.get(queue.name, {})
        if groups.pop(queue, None) is not None and not groups:
            self._redis.unsubscribe(queue.name)
        return super().drop(queue)

    async def counts(self, queue: QueueName) -> Counts:
        """Adapter: there is nothing."""
        return Counts()

    async def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> list[tuple[QueueName, Status, Message]]:
        """Adapter: there is nothing."""
        return []

    async def purge(self, queues: list[QueueName], state: Status | None) -> int:
        """Adapter: there is nothing."""
        return 0

    async def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> int:
        """Adapter: there is nothing."""
        return 0

    def _heard(self, channel: bytes, body: bytes) -> None:
        """Somebody published; it may be anybody, and anything."""
        name = channel.decode()
        try:
            found = opened(body)
        except ValueError as error:
            log.warn("queue {queue}: dropped a message: {reason}", queue=name, reason=error)
            return
        id, now_ms = next_id(), self._clock.wall_ms()
        details = Details(None, found.trace.traceparent, found.trace.baggage)
        for settings, executor in list(self._groups.get(name, {}).values()):
            message = Message.new(0, id, 0, found.data, details, created_ms=now_ms)
            if not self._closing and executor.ready(message):
                executor.run(message, settings.dispatch_timeout_ms, partial(_ended, name))


def _ended(name: str, outcome: Outcome) -> None:
    if outcome.failure is not None:
        log.warn(
            "queue {queue}: a message failed and is dropped: {reason}",
            queue=name,
            reason=outcome.failure.text,
        )
