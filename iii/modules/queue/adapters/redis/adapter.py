"""The adapter ``redis``: durable queues that several engines share (docs/adapters.md).

Everything that has to be decided in one step is a script: what is put (``put_script``),
what runs next and what became of it (``work_script``), what people change
(``shelf_scripts``).  ``script_parts`` says how a queue lies in Redis.  The engines differ
in nothing: each works off what its workers can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import Executor, LaneFacts, New, Once, QueueName, Receipt
from iii.modules.queue.adapters.redis.config import RedisQueueConfig
from iii.modules.queue.adapters.redis.facts import Facts
from iii.modules.queue.adapters.redis.hub import Hub
from iii.modules.queue.adapters.redis.keys import name_of
from iii.modules.queue.adapters.redis.lane import Lane
from iii.modules.queue.adapters.redis.leases import Held, Leases
from iii.modules.queue.adapters.redis.legacy import Legacy
from iii.modules.queue.adapters.redis.pubsub import PubSubQueues
from iii.modules.queue.adapters.redis.puts import Puts
from iii.modules.queue.adapters.redis.shelf import Shelf
from iii.modules.queue.settings import LaneSettings
from iii.redis import RedisError, parse_url, warn_of_loss

log = Logger()

UPKEEP_S = 60.0


class RedisAdapter(Shelf):
    """Queues in Redis."""

    kind = "redis"
    config = RedisQueueConfig

    def __new__(cls, settings: RedisQueueConfig) -> Any:
        """``mode: pubsub`` is another adapter of the same name."""
        if settings.mode.lower() == "pubsub":
            return PubSubQueues(settings)
        return super().__new__(cls)

    def __init__(self, settings: RedisQueueConfig) -> None:
        self._settings = settings
        self._address = parse_url(settings.redis_url)
        self.topic_settings = settings.topics()
        self.retention_ms = settings.subscriber_retention_ms
        self._hub: Hub
        self._known: Facts
        self._lanes: dict[QueueName, Lane] = {}
        self._by_name: dict[str, Lane] = {}
        self._upkeep: Timer | None = None

    # Life ------------------------------------------------------------------------------

    async def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Adapter: connect.

        :raises StartError: Redis is not there
        """
        stores["queue"] = str(self._address)
        hub = self._hub = Hub(engine, self._address, self._settings)
        redis = hub.redis
        self._known = Facts(hub)
        self._puts = Puts(hub, self._sent)
        self._leases = Leases(hub, self._held)
        self._legacy = Legacy(hub, self._settings, self._put_foreign)
        await redis.start()
        redis.on_back.append(self._back)
        redis.subscribe(hub.key("wake"), self._woken, self._listening)
        await redis.subscribed(hub.key("wake"))
        await self._known.start()
        await warn_of_loss(engine, redis, "queue")
        self._leases.start()
        self._legacy.start()
        self._keep_up()

    def closing(self) -> None:
        """Adapter: nothing more is taken."""
        for lane in self._lanes.values():
            lane.close()

    async def stop(self) -> None:
        """Adapter: give back what runs, disconnect."""
        self.closing()
        if self._upkeep is not None and self._upkeep.active():
            self._upkeep.cancel()
        self._leases.stop()
        await self._legacy.stop()
        await gatherResults([lane.stop() for lane in self._lanes.values()])
        await self._hub.redis.stop()

    def _keep_up(self) -> None:
        """Every minute: what is kept for a time only."""
        self._upkeep = self._hub.clock.call_later(UPKEEP_S, self._keep_up)
        most, ttl_ms = self._settings.dlq_max, self._settings.dlq_ttl_ms
        if self._hub.redis.up and not (most is None and ttl_ms is None):
            trimmed = Deferred.fromCoroutine(self._trim(most, ttl_ms))
            trimmed.addErrback(_later)

    # Putting ---------------------------------------------------------------------------

    def put(self, new: New, once: Once | None = None) -> Deferred[Receipt]:
        """Adapter: keep a message.

        :raises RedisError: through the Deferred; Redis is away, or refused it
        """
        for queue in new.queues:
            self._known.add(queue)
        kept = self._puts.put(new, once)
        return self._legacy.published(new, kept)

    def _put_foreign(self, new: New) -> Deferred[Receipt]:
        """What came over the channel of a topic."""
        self._known.add(new.queues[0])
        return self._puts.put(new, None)

    def _sent(self, queues: list[QueueName]) -> None:
        """Messages are on their way: ask for them behind them."""
        for queue in queues:
            if queue.kind == "named":
                self._poke(queue)
            else:
                # Any group of the topic may have got them.
                for lane in self._lanes_of(queue.name):
                    lane.poke()

    # Queues ----------------------------------------------------------------------------

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Adapter: work ``queue`` off."""
        self._known.add(queue)
        lane = self._lanes.get(queue)
        if lane is None:
            lane = Lane(self._hub, queue, settings, executor)
            self._lanes[queue] = self._by_name[lane.name] = lane
        lane.consume(settings)
        if queue.kind != "named":
            self._legacy.listen(queue.name)

    def look_again(self, queue: QueueName | None = None) -> None:
        """Adapter: functions or triggers came."""
        for name, lane in list(self._lanes.items()):
            if queue is None or name == queue:
                lane.look_again()

    def facts(self) -> dict[QueueName, LaneFacts]:
        """Adapter: every queue, of all engines."""
        return dict(self._known.all)

    def known(self, queue: QueueName) -> LaneFacts | None:
        """Adapter: one queue."""
        return self._known.all.get(queue)

    def remember(self, queue: QueueName, **changes: Any) -> Deferred[None]:
        """Adapter: change facts.

        ``subscribed=False`` has no effect while another engine has triggers for the group;
        ``known`` tells.
        """
        remembered = self._known.remember(queue, changes)
        if changes.get("subscribed") is False and not any(
            facts.subscribed
            for one, facts in self._known.all.items()
            if one.kind != "named" and one.name == queue.name
        ):
            self._legacy.leave(queue.name)
        return remembered

    async def drop(self, queue: QueueName) -> int:
        """Adapter: forget a queue, unless it has dead letters or something runs."""
        gone = await self.purge([queue], None)
        if await self._known.forget(queue):
            lane = self._lanes.pop(queue, None)
            if lane is not None:
                lane.drop()
                del self._by_name[lane.name]
        return gone

    # Redis -----------------------------------------------------------------------------

    def _back(self) -> None:
        """Redis is back: nothing of what it may have forgotten, or we missed, is left out."""
        self._leases.renew()
        self._known.back(list(self._lanes))
        for lane in self._lanes.values():
            lane.back()
        self._legacy.back()

    def _listening(self) -> None:
        """The wake-up channel is there (again): calls of other engines may have been missed."""
        for lane in self._lanes.values():
            lane.poke()

    def _woken(self, channel: bytes, body: bytes) -> None:
        """Another engine, or this one: there is something to do."""
        lane = self._by_name.get(body.decode().partition(" ")[2])
        if lane is not None:
            lane.poke()

    def _held(self) -> Iterator[Held]:
        for lane in self._lanes.values():
            for id, token in lane.running:
                yield lane.name, id, token
        for queue in self._known.subscribed:
            yield name_of(queue), "", ""

    def _lanes_of(self, topic: str) -> list[Lane]:
        return [
            lane
            for queue, lane in self._lanes.items()
            if queue.kind != "named" and queue.name == topic
        ]


def _later(failure: Failure) -> None:
    """Redis is away, which its client tells; the next turn tries again."""
    failure.trap(RedisError)
