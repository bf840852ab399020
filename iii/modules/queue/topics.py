"""Topics: every message goes once to every group of its topic.

Triggers of type ``queue`` are one group; those of type ``durable:subscriber`` one for
each function.  In a group triggers take turns, and the newest says how it is worked off.
A topic without a group keeps its messages until the first one comes and takes them.

A group outlives its workers: messages gather while nobody is connected.  It ends when
its last trigger is unregistered (not when a connection is lost), or, if it is durable,
after a time without a trigger.  What it still has then waits for the next group, if
there is no other.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.bindings import Binding
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.modules.queue.adapter import NotSupported, QueueAdapter
from iii.modules.queue.delivery import Delivery, GroupExecutor, Target
from iii.modules.queue.figures import Figures
from iii.modules.queue.names import QueueName, topic
from iii.modules.queue.settings import LaneSettings
from iii.modules.queue.subscriptions import Subscription
from iii.modules.queue.wakeups import Wakeups

log = Logger()

#: Timers are no longer than this: a retention of weeks is looked at every day.
MAX_WAIT_S = 24 * 3600.0


class _Group:
    """One group that is or was subscribed in this run.

    :ivar taking_over: what its topic kept is on its way to it
    """

    __slots__ = ("executor", "queue", "subscriptions", "taking_over")

    def __init__(self, queue: QueueName, executor: GroupExecutor) -> None:
        self.queue = queue
        self.executor = executor
        self.subscriptions: dict[Binding, Subscription] = {}
        self.taking_over = False


class Topics:
    """All topics.

    :ivar queue: the provider of ``queue`` triggers
    :ivar durable: the provider of ``durable:subscriber`` triggers
    """

    def __init__(
        self, engine: ModuleApi, adapter: QueueAdapter, delivery: Delivery, figures: Figures
    ) -> None:
        self._engine = engine
        self._adapter = adapter
        self._delivery = delivery
        self._figures = figures
        self._groups: dict[QueueName, _Group] = {}
        self._group_of: dict[Binding, _Group] = {}
        self._stopped = False
        #: topic → where its messages go
        self._routes: dict[str, list[QueueName]] = {}
        self._leaving: Wakeups[QueueName] = Wakeups(engine.clock, self._look_at_left)
        self.queue = _Provider(self, durable=False)
        self.durable = _Provider(self, durable=True)

    def start(self) -> None:
        """Take up the groups of the last run; nobody is connected yet."""
        now_ms = self._engine.clock.wall_ms()
        for queue, facts in self._adapter.facts().items():
            if queue.kind != "named" and facts.subscribed:
                self._routes.setdefault(queue.name, []).append(queue)
            if queue.kind == "group":
                if facts.left_ms is None:
                    self._note(self._adapter.remember(queue, left_ms=now_ms))
                self._leaving.add(0, queue)

    def stop(self) -> None:
        """No more timers."""
        self._stopped = True
        self._leaving.stop()

    # Looking ---------------------------------------------------------------------------

    def route(self, name: str) -> list[QueueName]:
        """The queues that a message of topic ``name`` goes to."""
        return self._routes.get(name) or [topic(name)]

    def settings(self, queue: QueueName) -> LaneSettings:
        """How ``queue`` is worked off."""
        group = self._groups.get(queue)
        if group is None or not group.subscriptions:
            return self._adapter.topic_settings
        return _newest(group).settings

    def names(self) -> dict[str, int]:
        """Every topic → how many triggers it has."""
        counts = {
            queue.name: 0 for queue in self._adapter.facts() if queue.kind in ("topic", "group")
        }
        for group in self._groups.values():
            triggers = sum(len(binding.registrations) for binding in group.subscriptions)
            counts[group.queue.name] = counts.get(group.queue.name, 0) + triggers
        return counts

    def queues(self, name: str) -> list[QueueName]:
        """Every queue of topic ``name``: what it keeps, and its groups."""
        groups = [q for q in self._adapter.facts() if q.kind == "group" and q.name == name]
        return [topic(name), *groups]

    def group(self, written: str) -> QueueName | None:
        """The durable group that ``topic::function`` means."""
        if "::" not in written:
            return None
        for queue in self._adapter.facts():
            if queue.kind == "group" and str(queue) == written:
                return queue
        return None

    # Triggers --------------------------------------------------------------------------

    def add(self, binding: Binding, *, durable: bool) -> None:
        """A trigger came.

        :raises RegistrationError: it names no topic
        """
        subscription = Subscription(binding, self._adapter.topic_settings)
        queue = (
            QueueName("group", subscription.topic, binding.function_id, binding.namespace)
            if durable
            else topic(subscription.topic)
        )
        group = self._groups.get(queue)
        if group is None:
            group = self._groups[queue] = _Group(queue, GroupExecutor(self._engine, self._delivery))
        self._group_of[binding] = group
        group.subscriptions[binding] = subscription
        group.executor.targets[binding] = Target(
            queue.name, self._figures.of(queue.name, "topic"), binding, subscription.condition
        )
        self._appear(group)

    def remove(self, binding: Binding) -> None:
        """A trigger went."""
        group = self._group_of.pop(binding, None)
        if group is None:
            return
        del group.subscriptions[binding], group.executor.targets[binding]
        if group.subscriptions:
            self._consume(group)
        else:
            # The same trigger may come back at once, with other settings.
            self._engine.clock.call_later(0, self._abandoned, group, binding)

    def _appear(self, group: _Group) -> None:
        """A group got a trigger: make it one, unless it is, and work it off."""
        queue = group.queue
        kept_for_all = topic(queue.name)
        route = self._routes.setdefault(queue.name, [])
        if queue not in route:
            route.append(queue)
        paused = self._is_paused(queue) or self._is_paused(kept_for_all)
        self._note(self._adapter.remember(queue, subscribed=True, left_ms=None, paused=paused))
        if kept_for_all in route or self._is_subscribed(kept_for_all):
            self._consume(group)
        elif not group.taking_over:
            group.taking_over = True
            Deferred.fromCoroutine(self._take_over(group)).addErrback(self._not_noted)

    async def _take_over(self, group: _Group) -> None:
        """What the topic kept goes to its first group, before anything else runs."""
        try:
            await self._adapter.move(topic(group.queue.name), [group.queue])
        except IIIError as error:
            log.error(
                "{queue} can't take what waited for its topic: {reason}",
                queue=str(group.queue),
                reason=error.message,
            )
        group.taking_over = False
        self._consume(group)

    def _consume(self, group: _Group) -> None:
        if group.subscriptions and not group.taking_over:
            self._adapter.consume(group.queue, _newest(group).settings, group.executor)
            self._adapter.look_again(group.queue)

    def _subscribed(self, name: str) -> list[QueueName]:
        """The groups of a topic, also those that only other engines have triggers for."""
        return [
            queue
            for queue, facts in self._adapter.facts().items()
            if queue.kind != "named" and queue.name == name and facts.subscribed
        ]

    def _is_subscribed(self, queue: QueueName) -> bool:
        facts = self._adapter.known(queue)
        return facts is not None and facts.subscribed

    def _is_paused(self, queue: QueueName) -> bool:
        facts = self._adapter.known(queue)
        return facts is not None and facts.paused

    # Leaving ---------------------------------------------------------------------------

    def _abandoned(self, group: _Group, binding: Binding) -> None:
        """The last trigger of a group went."""
        if group.subscriptions or self._stopped:
            return
        owner = binding.newest.owner
        if owner is None or self._engine.is_connected(owner):
            self._note(self._end(group.queue, "was unsubscribed"))
        elif group.queue.kind == "group":
            now_ms = self._engine.clock.wall_ms()
            self._note(self._adapter.remember(group.queue, left_ms=now_ms))
            self._leaving.add(min(self._adapter.retention_ms / 1000, MAX_WAIT_S), group.queue)

    def _look_at_left(self, queue: QueueName) -> None:
        """A durable group may have been without a trigger for too long."""
        group, facts = self._groups.get(queue), self._adapter.known(queue)
        if facts is None or facts.left_ms is None or (group is not None and group.subscriptions):
            return
        left_ms = self._adapter.retention_ms - (self._engine.clock.wall_ms() - facts.left_ms)
        if left_ms > 0:
            self._leaving.add(min(left_ms / 1000, MAX_WAIT_S), queue)
        else:
            self._note(self._end(queue, "had no subscriber for too long"))

    async def _end(self, queue: QueueName, why: str) -> None:
        """A group is none any more."""
        route = self._routes.get(queue.name, [])
        if queue in route:
            route.remove(queue)
        await self._adapter.remember(queue, subscribed=False)
        if self._is_subscribed(queue):
            return  # another engine has triggers for it
        gone = 0
        others = self._subscribed(queue.name)
        if others and queue.kind == "topic":
            gone = await self._adapter.purge([queue], None)
        elif queue.kind == "group":
            if not others:
                await self._adapter.move(queue, [topic(queue.name)])
            gone = await self._adapter.drop(queue)
        if gone:
            log.warn(
                "queue {queue} {why}: {count} message(s) are dropped",
                queue=str(queue),
                why=why,
                count=gone,
            )
        group = self._groups.get(queue)
        if group is None:
            return
        if group.subscriptions:
            self._appear(group)  # it came back meanwhile
        elif self._adapter.known(queue) is None:
            del self._groups[queue]

    def _note(self, change: Awaitable[None]) -> None:
        """Let a change be recorded; a failure is logged."""
        Deferred.fromCoroutine(_awaited(change)).addErrback(self._not_noted)

    def _not_noted(self, failure: Failure) -> None:
        if not self._stopped and failure.check(NotSupported) is None:
            log.failure("a change of a topic's groups could not be recorded", failure)


async def _awaited(change: Awaitable[None]) -> None:
    await change


class _Provider:
    """One of the two trigger types."""

    def __init__(self, topics: Topics, *, durable: bool) -> None:
        self._topics = topics
        self._durable = durable

    def add(self, binding: Binding) -> None:
        """Provider: activate."""
        self._topics.add(binding, durable=self._durable)

    def remove(self, binding: Binding) -> None:
        """Provider: deactivate."""
        self._topics.remove(binding)


def _newest(group: _Group) -> Subscription:
    return next(reversed(group.subscriptions.values()))
