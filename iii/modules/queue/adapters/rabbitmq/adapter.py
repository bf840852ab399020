"""The adapter ``rabbitmq``: it ties the parts together.

Messages go out through ``Post``, queues are worked off by one ``Lane`` each, and what
people ask is answered by ``Shelf``.  What engines know of queues they tell each other
through ``Known``.

A topic's message is published to its exchange and copied by the broker, to the groups of
every engine; which groups this engine knows only decides what has to be declared first.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.errors import IIIError, StartError
from iii.modules.queue.adapter import (
    Counts,
    DeadFilter,
    Executor,
    LaneFacts,
    New,
    NotSupported,
    Once,
    QueueAdapter,
    Receipt,
    Status,
)
from iii.modules.queue.adapters.rabbitmq.codec import unreadable
from iii.modules.queue.adapters.rabbitmq.config import RabbitQueueConfig
from iii.modules.queue.adapters.rabbitmq.expiry import Expiry
from iii.modules.queue.adapters.rabbitmq.keeper import Keeper
from iii.modules.queue.adapters.rabbitmq.known import Entry, Known, Question
from iii.modules.queue.adapters.rabbitmq.lane import Lane
from iii.modules.queue.adapters.rabbitmq.names import Names, Place
from iii.modules.queue.adapters.rabbitmq.post import SOON_MS, Post, priority_in
from iii.modules.queue.adapters.rabbitmq.relay import Relay
from iii.modules.queue.adapters.rabbitmq.shelf import Row, Shelf
from iii.modules.queue.adapters.rabbitmq.tools import Tools
from iii.modules.queue.adapters.rabbitmq.topology import Topology
from iii.modules.queue.message import DEFAULT_PRIORITY, Details, Message
from iii.modules.queue.names import QueueName, topic
from iii.modules.queue.settings import LaneSettings, NamedQueue
from iii.rabbitmq import Broker, BrokerError, Got, parse_url

log = Logger()

UPKEEP_S = 60.0
STOP_LIMIT_S = 2.0


class RabbitAdapter(QueueAdapter):
    """Queues on RabbitMQ."""

    kind = "rabbitmq"
    config = RabbitQueueConfig

    def __init__(self, settings: RabbitQueueConfig) -> None:
        self._settings = settings
        self.topic_settings = settings.topics()
        self.retention_ms = settings.subscriber_retention_ms
        self._lanes: dict[QueueName, Lane] = {}
        self._relays: dict[str, Relay] = {}
        self._turns: dict[QueueName, DeferredLock] = {}
        #: whether a group has triggers here
        self._wanted: dict[QueueName, bool] = {}
        self._upkeep: Timer | None = None
        self._started = False
        self._closing = False
        self._stopped = False

    # Life ------------------------------------------------------------------------------

    async def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Adapter: connect.

        :raises StartError: RabbitMQ is not there, or does not want us
        """
        address = parse_url(self._settings.amqp_url)
        clock = self._clock = engine.clock
        broker = self._broker = Broker(
            engine,
            address,
            who="queue",
            without="messages are refused, and those that are there are not delivered",
        )
        names = self._names = Names(self._settings.prefix)
        topology = self._topology = Topology(broker, names)
        post = self._post = Post(clock, broker, names, topology, self._wait_used, self._held)
        self._tools = Tools(clock, broker, names, topology, post, self._ask)
        self._known = Known(clock, broker, names, self._heard, self._asked)
        self._shelf = Shelf(self._tools, self._known.get, self._lanes.get, self._settings_of)
        self._expiry = Expiry(clock, self._shelf.expire)
        self._keeper = Keeper(clock, broker, self._shelf.turn, self._unreadable)
        await broker.start()
        broker.on_back += [topology.forget, self._keeper.look_again]
        try:
            await self._known.start()
        except BrokerError as error:
            await broker.stop()
            raise StartError(error.code, f"queue: {error.message}") from error
        for queue, entry in self._known.queues.items():
            self._keep(queue, entry)
            if entry.delays:
                self._relay(queue.name)
        stores["queue"] = str(address)
        self._started = True
        self._upkeep = clock.call_later(0, self._keep_up)

    def closing(self) -> None:
        """Adapter: nothing more is taken."""
        self._closing = True
        if not self._started:
            return
        for lane in self._lanes.values():
            lane.stop()
        for relay in self._relays.values():
            relay.stop()
        self._expiry.stop()
        self._keeper.stop()
        self._known.stop()

    async def stop(self) -> None:
        """Adapter: tell the broker how everything ended, and leave."""
        self._stopped = True
        self.closing()
        if not self._started:
            return
        if self._upkeep is not None and self._upkeep.active():
            self._upkeep.cancel()
        if self._broker.up:
            settling = [Deferred.fromCoroutine(lane.settled()) for lane in self._lanes.values()]
            settling.append(Deferred.fromCoroutine(self._keeper.settled()))
            settled = DeferredList(settling, consumeErrors=True)
            limit = self._clock.call_later(STOP_LIMIT_S, settled.cancel)
            await settled
            if limit.active():
                limit.cancel()
        await self._broker.stop()

    # Queues ----------------------------------------------------------------------------

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Adapter: work ``queue`` off."""
        self._topology.settings_of(queue, settings)
        self._meet(queue)
        lane = self._lanes.get(queue)
        if lane is not None:
            lane.reconfigured(settings)
            return
        lane = self._lanes[queue] = Lane(self._tools, queue, settings, executor)
        lane.closing = self._closing
        lane.paused = self.facts()[queue].paused
        lane.adjust()
        if self._closing:
            return
        if lane.absent is not None:
            self._keeper.know(self._names.place(queue).parked, queue, partial(self._back, queue))
            lane.absent.parking.look_again()
        entry = self._known.get(topic(queue.name))
        if queue.kind != "named" and entry is not None and entry.delays:
            self._relay(queue.name)

    def look_again(self, queue: QueueName | None = None) -> None:
        """Adapter: functions or triggers came."""
        if queue is None:
            for lane in list(self._lanes.values()):
                lane.look_again()
            return
        found = self._lanes.get(queue)
        if found is not None:
            found.look_again()

    def named_settings(self, queue: NamedQueue) -> LaneSettings:
        """Adapter: ``max_retries`` come after the first attempt; the back-off is flat."""
        by_itself = "exponential" if self._settings.exponential_backoff else "fixed"
        return msgspec.structs.replace(
            queue.lane(),
            max_attempts=queue.max_retries + 1,
            backoff=queue.backoff or by_itself,
        )

    def facts(self) -> dict[QueueName, LaneFacts]:
        """Adapter: every queue."""
        return {queue: entry.facts for queue, entry in self._known.queues.items()}

    def known(self, queue: QueueName) -> LaneFacts | None:
        """Adapter: one queue."""
        entry = self._known.get(queue)
        return None if entry is None else entry.facts

    def remember(self, queue: QueueName, **changes: Any) -> Deferred[None]:
        """Adapter: change facts; a group is bound to its topic, or not any more.

        They count at once; changes of one queue reach the broker in their order.
        """
        if "subscribed" in changes:
            self._wanted[queue] = changes["subscribed"]
            if self._wanted[queue]:
                self._topology.expect(queue)
        if changes.get("subscribed") is False:
            return Deferred.fromCoroutine(self._leave(queue, changes))
        self._note(queue, changes)
        return Deferred.fromCoroutine(self._tell(queue, bind=bool(changes.get("subscribed"))))

    async def _tell(self, queue: QueueName, *, bind: bool) -> None:
        async with self._turn(queue):
            if bind:
                await self._topology.bind(queue)
            await self._known.tell(queue)

    async def _leave(self, queue: QueueName, changes: dict[str, Any]) -> None:
        async with self._turn(queue):
            others = await self._others_work(queue)
            if self._wanted[queue]:
                self._go_on(queue)  # it has triggers again
                return
            if others:
                return  # it is still a group, only not ours
            await self._topology.unbind(queue)
            if self._wanted[queue]:
                self._topology.expect(queue)
                self._go_on(queue)
                return
            self._note(queue, changes)
            await self._known.tell(queue)

    def _note(self, queue: QueueName, changes: dict[str, Any]) -> None:
        facts = self.known(queue) or LaneFacts()
        self._known.note(queue, msgspec.structs.replace(facts, **changes))
        self._apply(queue)

    async def drop(self, queue: QueueName) -> int:
        """Adapter: delete a group, unless it has dead letters, or triggers again."""
        async with self._turn(queue):
            if self._wanted.get(queue):
                return 0
            return await self._drop(queue)

    async def _drop(self, queue: QueueName) -> int:
        lane = self._lanes.pop(queue, None)
        if lane is not None:
            lane.leave()
            await self._broker.forget(lane.consumer)
        place, gone, empty = self._names.place(queue), 0, False
        async with self._topology.change(queue), self._broker.desk() as desk:
            if not self._wanted.get(queue):
                gone = await desk.delete(place.queue) or 0
                entry = self._known.get(queue)
                self._keeper.forget(queue)
                for ms in [] if entry is None else entry.waits:
                    gone += await desk.delete(place.wait(ms)) or 0
                empty = await desk.delete(place.dead, only_empty=True) is not None
        if lane is not None:
            lane.consumer.close()
        if empty and not self._wanted.get(queue):
            await self._known.forget(queue)
        return gone

    def _go_on(self, queue: QueueName) -> None:
        lane = self._lanes.get(queue)
        if lane is not None:
            lane.adjust()

    def _turn(self, queue: QueueName) -> DeferredLock:
        return self._turns.setdefault(queue, DeferredLock())

    def counts(self, queue: QueueName) -> Deferred[Counts]:
        """Adapter: how many messages there are."""
        return Deferred.fromCoroutine(self._shelf.counts(queue))

    async def _others_work(self, queue: QueueName) -> bool:
        """Whether another engine consumes ``queue``."""
        lane = self._lanes.get(queue)
        if lane is not None:
            await lane.consumer.stop()
        async with self._broker.desk() as desk:
            size = await desk.size(self._names.place(queue).queue)
        return size is not None and size[1] > 0

    # Putting ---------------------------------------------------------------------------

    def put(self, new: New, once: Once | None = None) -> Deferred[Receipt]:
        """Adapter: keep a message.

        :raises NotSupported: it says something that RabbitMQ can't do
        """
        if once is not None:
            raise NotSupported(self, "idempotency keys: a broker can't look a message up")
        queue = new.queues[0]
        settings = self._settings_of(queue)
        if new.priority != DEFAULT_PRIORITY and settings.max_priority is None:
            raise NotSupported(self, f"priorities on '{queue}': it needs a 'max_priority'")
        message = self._message(new, settings)
        if queue.kind == "named":
            kept = self._put_named(queue, message, settings)
        else:
            kept = self._put_topic(new.queues, message)
        return kept.addCallback(self._kept, new, message.expires_ms)

    def _kept(self, _: None, new: New, expires_ms: int | None) -> Receipt:
        if expires_ms is not None:
            for queue in new.queues:
                self._expiry.add(queue, expires_ms - self._clock.wall_ms())
        return Receipt(new.id)

    def _put_named(
        self, queue: QueueName, message: Message, settings: LaneSettings
    ) -> Deferred[None]:
        wait_ms = message.due_ms - self._clock.wall_ms() if message.due_ms else 0
        if wait_ms > 0:
            return self._post.delay(queue, message, settings, wait_ms)
        message.due_ms = 0
        return self._post.publish(queue, message, settings)

    def _put_topic(self, queues: list[QueueName], message: Message) -> Deferred[None]:
        """To the exchange, when everything that this engine knows behind it is there."""
        self._meet(queues[0])
        missing = [queue for queue in queues if not self._topology.is_ready(queue)]
        if not missing:
            return self._put_bound(queues[0], message)
        return Deferred.fromCoroutine(self._ensured(missing)).addCallback(
            lambda _: self._put_bound(queues[0], message)
        )

    async def _ensured(self, queues: list[QueueName]) -> None:
        for queue in queues:
            await self._topology.ensure(queue)

    def _put_bound(self, queue: QueueName, message: Message) -> Deferred[None]:
        wait_ms = message.due_ms - self._clock.wall_ms() if message.due_ms else 0
        if wait_ms > 0:
            self._relay(queue.name)
            return self._post.delay_topic(queue.name, message, self.topic_settings, wait_ms)
        message.due_ms = 0
        return self._post.publish(queue, message, self.topic_settings)

    def _message(self, new: New, settings: LaneSettings) -> Message:
        now_ms = self._clock.wall_ms()
        ttl_ms = new.ttl_ms
        if ttl_ms is None and new.function_id is not None:
            ttl_ms = settings.ttl_ms
        priority: int | None = new.priority
        if settings.priority_field is not None and settings.max_priority is not None:
            said = priority_in(new.data, settings.priority_field)
            priority = new.priority if said is None else said
        return Message.new(
            0,
            new.id,
            0,
            new.data,
            Details(new.namespace, new.traceparent, new.baggage),
            created_ms=now_ms,
            due_ms=new.due_ms if new.due_ms > now_ms else 0,
            expires_ms=None if ttl_ms is None else max(new.due_ms, now_ms) + ttl_ms,
            priority=priority or 0,
            function_id=new.function_id,
        )

    # For people ------------------------------------------------------------------------

    def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> Deferred[list[Row]]:
        """Adapter: messages that are there."""
        return Deferred.fromCoroutine(self._shelf.messages(queues, state, offset, limit))

    def redrive(
        self, queues: list[QueueName], which: DeadFilter, payload: Raw | None = None
    ) -> Deferred[list[str]]:
        """Adapter: dead letters wait again."""
        return Deferred.fromCoroutine(self._shelf.redrive(queues, which, payload))

    def discard(self, queues: list[QueueName], which: DeadFilter) -> Deferred[list[str]]:
        """Adapter: dead letters go."""
        return Deferred.fromCoroutine(self._shelf.discard(queues, which))

    async def purge(self, queues: list[QueueName], state: Status | None) -> int:
        """Adapter: messages go."""
        gone = 0
        for queue in queues:
            gone += await self._shelf.purge(queue, state)
        return gone

    async def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> int:
        """Adapter: messages go to other queues."""
        moved = await self._move(source, targets, limit)
        for target in targets:
            await self._pass_on(target)
        return moved

    async def _move(self, source: QueueName, targets: list[QueueName], limit: int | None) -> int:
        if source.kind != "topic" or self._is_subscribed(source):
            return await self._shift(source, targets, limit)
        # It is only what the topic kept.  What is published after somebody has subscribed
        # the topic itself must not be among it.
        async with self._turn(source):
            if self._is_subscribed(source):
                return 0
            async with self._topology.change(source):
                return await self._shift(source, targets, limit)

    async def _shift(self, source: QueueName, targets: list[QueueName], limit: int | None) -> int:
        for target in targets:
            await self._topology.ensure(target)
            await self._topology.ensure_queue(target)
            self._meet(target)
        return await self._shelf.move(source, targets, limit)

    def _is_subscribed(self, queue: QueueName) -> bool:
        return (self.known(queue) or LaneFacts()).subscribed

    async def _pass_on(self, held: QueueName) -> None:
        """What a topic keeps for its first group goes to the groups that came meanwhile."""
        if held.kind != "topic" or self._is_subscribed(held):
            return
        groups = [
            queue
            for queue, of in self.facts().items()
            if queue.kind == "group" and queue.name == held.name and of.subscribed
        ]
        if groups:
            await self._move(held, groups, None)

    def _held(self, name: str) -> None:
        """A message of a topic was kept, because no group took it at that moment."""
        passing = Deferred.fromCoroutine(self._pass_on(topic(name)))
        passing.addErrback(self._not_told)

    async def pause(self, queues: list[QueueName], paused: bool) -> None:
        """Adapter: stop or go on, on every engine."""
        for queue in queues:
            await self.remember(queue, paused=paused)

    # Inside ----------------------------------------------------------------------------

    def _settings_of(self, queue: QueueName) -> LaneSettings:
        lane = self._lanes.get(queue)
        return self.topic_settings if lane is None else lane.settings

    def _meet(self, queue: QueueName) -> None:
        """There is such a queue."""
        told = self._known.meet(queue)
        if told is not None:
            told.addErrback(self._not_told)

    def _ask(self, question: Question) -> None:
        self._known.ask(question)

    def _asked(self, question: Question) -> None:
        lane = self._lanes.get(QueueName.of_text(question.queue))
        if lane is not None and lane.absent is not None:
            lane.absent.asked(question)

    def _heard(self, queue: QueueName) -> None:
        """Another engine, or the log, said something about a queue."""
        entry = self._known.get(queue)
        self._topology.heard(queue, entry is not None and entry.facts.subscribed)
        self._apply(queue)
        if entry is not None:
            self._keep(queue, entry)
        if entry is not None and entry.delays and queue.name in self._topics_here():
            self._relay(queue.name)

    def _apply(self, queue: QueueName) -> None:
        lane, facts = self._lanes.get(queue), self.known(queue)
        if lane is not None and facts is not None and lane.paused is not facts.paused:
            lane.paused = facts.paused
            lane.adjust()
            lane.pump()

    def _topics_here(self) -> set[str]:
        return {queue.name for queue in self._lanes if queue.kind != "named"}

    def _relay(self, name: str) -> None:
        if name not in self._relays and not self._closing:
            self._relays[name] = Relay(
                self._clock,
                self._broker,
                self._names,
                self._topology,
                self._post,
                name,
                self.topic_settings,
            )

    def _wait_used(self, queue: QueueName, place: Place, ms: int) -> None:
        delay = queue.kind == "topic" and place == self._names.delayed(queue.name)
        told = self._known.use(queue, ms, delay=delay)
        if told is not None:
            told.addErrback(self._not_told)
        entry = self._known.get(queue)
        assert entry is not None
        self._keep(queue, entry)
        if ms != SOON_MS:
            self._keeper.used(place.wait(ms), ms)

    def _keep(self, queue: QueueName, entry: Entry) -> None:
        """Pass on what comes out of the waits of ``queue``."""
        place, delayed = self._names.place(queue), self._names.delayed(queue.name)
        for ms in entry.waits:
            self._keeper.know(place.wait(ms), queue, partial(self._back, queue))
        for ms in entry.delays:
            if ms != SOON_MS:
                self._keeper.know(delayed.wait(ms), queue, partial(self._onward, queue))

    def _back(self, queue: QueueName, message: Message) -> Deferred[None]:
        """Keeper: a wait is over, and perhaps a shorter one begins."""
        settings, wait_ms = self._settings_of(queue), self._left_ms(message)
        return self._post.delay(queue, message, settings, wait_ms)

    def _onward(self, queue: QueueName, message: Message) -> Deferred[None]:
        """Keeper: the same of a message that was not published to its topic yet."""
        self._relay(queue.name)
        wait_ms = self._left_ms(message)
        return self._post.delay_topic(queue.name, message, self.topic_settings, wait_ms)

    def _left_ms(self, message: Message) -> int:
        return max(0, message.due_ms - self._clock.wall_ms()) if message.due_ms else 0

    def _unreadable(self, queue: QueueName, got: Got, why: str) -> Deferred[None]:
        """Keeper: what nobody can read is a dead letter."""
        log.error("{queue}: a message can't be read: {why}", queue=str(queue), why=why)
        letter = unreadable(0, got.properties, got.body, why, self._clock.wall_ms())
        return self._post.bury(queue, letter, self._settings_of(queue))

    def _not_told(self, failure: Failure) -> None:
        if not self._stopped:
            log.warn(
                "queues on RabbitMQ: what is known of them is not recorded: {why}",
                why=failure.getErrorMessage(),
            )

    def _keep_up(self) -> None:
        """Every minute: dead letters that are too many or too old go."""
        self._upkeep = self._clock.call_later(UPKEEP_S, self._keep_up)
        if self._settings.dlq_max is None and self._settings.dlq_ttl_ms is None:
            return
        Deferred.fromCoroutine(self._trim()).addErrback(self._not_trimmed)

    async def _trim(self) -> None:
        ttl_ms = self._settings.dlq_ttl_ms
        older_ms = None if ttl_ms is None else self._clock.wall_ms() - ttl_ms
        for queue in list(self.facts()):
            await self._shelf.trim(queue, self._settings.dlq_max, older_ms)

    def _not_trimmed(self, failure: Failure) -> None:
        if not self._stopped and failure.check(IIIError) is None:
            log.failure("bounds of dead letters", failure)
