"""The adapter ``bridge``: topics and named queues that another engine keeps.

The other engine keeps the messages, decides whose turn it is, and has the dead letters; how
safe they are is its business.  What it hands to this engine is run here (``lane``).  A
named queue is worked off over there, by functions over there.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar

from msgspec import Raw
from twisted.internet.defer import Deferred, succeed

from iii.bridge import BridgeAdapterConfig, Link
from iii.bridge.circles import adapter_link
from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import (
    Counts,
    DeadFilter,
    Executor,
    LaneFacts,
    Message,
    New,
    Once,
    QueueAdapter,
    QueueName,
    Receipt,
    Status,
)
from iii.modules.queue.adapters.bridge.admin import Remote
from iii.modules.queue.adapters.bridge.lane import BridgeLane
from iii.modules.queue.adapters.bridge.puts import Puts
from iii.modules.queue.names import topic
from iii.modules.queue.settings import LaneSettings

#: What the other engine's lists show.
NAME = "iii-queue-bridge"


class BridgeAdapter(QueueAdapter):
    """Queues behind a bridge."""

    kind: ClassVar[str] = "bridge"
    config = BridgeAdapterConfig

    def __init__(self, settings: BridgeAdapterConfig) -> None:
        self._where = settings.remote
        self._lanes: dict[QueueName, BridgeLane] = {}
        self._link: Link | None = None
        self._engine: ModuleApi
        self._puts: Puts
        self._remote: Remote

    # What every adapter does -----------------------------------------------------------

    def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Adapter: connect in the background.

        :raises StartError: the authority's file can't be used
        """
        self._engine = engine
        without = "messages are not accepted, and none come"
        link = self._link = adapter_link(engine, self._where, NAME, without)
        self._puts = Puts(link)
        self._remote = Remote(link)
        link.start()

    async def put(self, new: New, once: Once | None = None) -> Receipt:
        """Adapter: once for a topic; who its groups are is known over there."""
        queue = new.queues[0]
        if queue.kind == "named":
            return await self._puts.named(queue.name, new, once)
        receipt = await self._puts.topic(queue.name, new, once)
        # So that lists show it, also when nobody here has subscribed.
        self._facts.setdefault(topic(queue.name), LaneFacts())
        return receipt

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Adapter: subscribe over there; named queues are worked off there."""
        if queue.kind == "named":
            return
        lane = self._lanes.get(queue)
        if lane is None:
            assert self._link is not None
            lane = BridgeLane(self._engine.clock, self._link, queue, executor)
            self._lanes[queue] = lane
        lane.consume(settings)

    def closing(self) -> None:
        """Adapter: take no more."""
        for lane in self._lanes.values():
            lane.closing()

    def stop(self) -> Deferred[None]:
        """Adapter: disconnect; what runs is handed out again over there."""
        for lane in self._lanes.values():
            lane.stop()
        return succeed(None) if self._link is None else self._link.stop()

    def look_again(self, queue: QueueName | None = None) -> None:
        """Adapter: functions came."""
        for lane in list(self._lanes.values()):
            if queue in (None, lane.queue):
                lane.look_again()

    # Groups ----------------------------------------------------------------------------

    def remember(self, queue: QueueName, **changes: Any) -> Awaitable[None]:
        """Adapter: a group that is none any more is none over there."""
        if changes.get("subscribed") is False:
            lane = self._lanes.pop(queue, None)
            if lane is not None:
                lane.end()
        return super().remember(queue, **changes)

    async def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> int:
        """Adapter: between the queues of one topic the other engine moves by itself."""
        if all(target.name == source.name for target in targets):
            return 0
        return await self._remote.move(source, targets[0], limit)

    async def purge(self, queues: list[QueueName], state: Status | None) -> int:
        """Adapter: a group that has ended was thrown away over there."""
        if all(self._has_ended(queue) for queue in queues):
            return 0
        return await self._remote.purge(queues, state)

    def _has_ended(self, queue: QueueName) -> bool:
        facts = self.known(queue)
        return facts is not None and not facts.subscribed and queue.kind != "named"

    # For people ------------------------------------------------------------------------

    def counts(self, queue: QueueName) -> Awaitable[Counts]:
        """Adapter: a topic has what is not in one of our groups."""
        return Deferred.fromCoroutine(self._counts(queue))

    async def _counts(self, queue: QueueName) -> Counts:
        counts = await self._remote.counts(queue)
        if queue.kind == "topic":
            for group in [q for q in self._facts if q.kind == "group" and q.name == queue.name]:
                counts.add(_negative(await self._remote.counts(group)))
        return counts

    def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> Awaitable[list[tuple[QueueName, Status, Message]]]:
        """Adapter: those of the whole topic."""
        return Deferred.fromCoroutine(self._remote.messages(queues, state, offset, limit))

    def redrive(
        self, queues: list[QueueName], which: DeadFilter, payload: Raw | None = None
    ) -> Awaitable[list[str]]:
        """Adapter: dead letters wait again."""
        return Deferred.fromCoroutine(self._remote.change_dead(queues, which, "redrive", payload))

    def discard(self, queues: list[QueueName], which: DeadFilter) -> Awaitable[list[str]]:
        """Adapter: dead letters go for good."""
        return Deferred.fromCoroutine(self._remote.change_dead(queues, which, "discard"))

    def pause(self, queues: list[QueueName], paused: bool) -> Awaitable[None]:
        """Adapter: the whole topic, for everybody."""
        return Deferred.fromCoroutine(self._remote.pause(queues, paused))

    def cancel(self, id: str) -> Awaitable[Status]:
        """Adapter: take a message back."""
        return Deferred.fromCoroutine(self._remote.cancel(id))

    def reschedule(self, id: str, due_ms: int) -> Awaitable[Status]:
        """Adapter: a message is due at another time."""
        return Deferred.fromCoroutine(self._remote.reschedule(id, due_ms))


def _negative(counts: Counts) -> Counts:
    """What is counted elsewhere."""
    return Counts(
        waiting=-counts.waiting,
        delayed=-counts.delayed,
        active=-counts.active,
        dead=-counts.dead,
        delivered=-counts.delivered,
        failed=-counts.failed,
    )
