"""What has to be there on the broker before a message can go: declared once, kept in mind.

Nothing of it is ever changed: a queue or an exchange that is there with other arguments
(another release made it, or the configuration changed) is used as it is.  What is kept in
mind is forgotten with the connection, because the broker that comes back may be empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.modules.queue.adapters.rabbitmq.names import Names, Place
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.rabbitmq import Broker, BrokerError, Desk

log = Logger()

Make = Callable[[], Awaitable[None]]


class Topology:
    """The exchanges, queues and bindings of one adapter."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self._broker = broker
        self._names = names
        self._there: set[Hashable] = set()
        self._pending: dict[Hashable, list[Deferred[None]]] = {}
        self._settings: dict[QueueName, LaneSettings] = {}
        self._told: set[str] = set()
        #: topics of which the queue is a group: bound to the exchange
        self.subscribed: set[QueueName] = set()
        #: groups that have their binding
        self._bound: set[QueueName] = set()
        #: queues that are being changed, and who waits until they are
        self._changing: dict[QueueName, list[Deferred[None]]] = {}

    def forget(self) -> None:
        """The connection was lost."""
        self._there.clear()
        self._bound.clear()

    def settings_of(self, queue: QueueName, settings: LaneSettings) -> None:
        """What ``queue`` is to be declared with."""
        self._settings[queue] = settings

    def priorities(self, queue: QueueName) -> int | None:
        """The highest priority of ``queue``; None: it has none."""
        settings = self._settings.get(queue)
        return None if settings is None else settings.max_priority

    # Making sure -----------------------------------------------------------------------

    def is_ready(self, queue: QueueName) -> bool:
        """Whether messages for ``queue`` can be published as things stand."""
        return queue in self._there

    def ensure(self, queue: QueueName) -> Deferred[None]:
        """What messages for ``queue`` need: its exchange; and its queue, if it is a group."""
        return self._once(queue, lambda: self._make(queue))

    def ensure_queue(self, queue: QueueName) -> Deferred[None]:
        """The queue itself, also if nothing is bound to it yet, and its dead letters'."""
        return self._once(("queue", queue), lambda: self._make_queue(queue))

    def ensure_wait(self, place: Place, ms: int) -> Deferred[None]:
        """The wait of ``ms`` milliseconds of a place."""
        return self._once((place.waits, ms), lambda: self._declare(place.wait(ms)))

    def ensure_parked(self, queue: QueueName) -> Deferred[None]:
        """Where messages of a named queue wait for their function."""
        name = self._names.place(queue).parked
        return self._once(name, lambda: self._declare(name))

    def ensure_delayed(self, topic: str) -> Deferred[None]:
        """Where delayed messages of a topic come out."""
        queue = self._names.delayed(topic).queue
        return self._once(queue, lambda: self._declare(queue))

    @asynccontextmanager
    async def change(self, queue: QueueName) -> AsyncIterator[None]:
        """While ``queue`` is changed nothing is made for it; it is made anew afterwards.

        One at a time for each queue.
        """
        await self._settled(queue)
        waiting = self._changing[queue] = []
        self._dropped(queue)
        try:
            yield
        finally:
            del self._changing[queue]
            for waiter in waiting:
                waiter.callback(None)

    async def _settled(self, queue: QueueName) -> None:
        """Wait until nothing is being made for ``queue``."""
        while True:
            making = self._pending.get(queue) or self._pending.get(("queue", queue))
            if making is None:
                return
            waiter: Deferred[None] = Deferred()
            making.append(waiter)
            try:
                await waiter
            except BrokerError as error:
                log.debug("{queue}: {reason}", queue=str(queue), reason=error.message)

    async def _changed(self, queue: QueueName) -> None:
        """Wait until ``queue`` is not being changed."""
        while queue in self._changing:
            waiter: Deferred[None] = Deferred()
            self._changing[queue].append(waiter)
            await waiter

    def _dropped(self, queue: QueueName) -> None:
        """Nothing is known to be there for ``queue``."""
        place = self._names.place(queue)
        self._bound.discard(queue)
        self._there -= {queue, ("queue", queue)}
        self._there = {
            one for one in self._there if not (isinstance(one, tuple) and one[0] == place.waits)
        }

    def expect(self, queue: QueueName) -> None:
        """``queue`` is a group: ``bind`` is going to bind it, and nobody publishes before."""
        if queue not in self.subscribed:
            self.subscribed.add(queue)
            self._there.discard(queue)

    async def bind(self, queue: QueueName) -> None:
        """``queue`` is a group: messages of its topic are copied to it from now on."""
        self.expect(queue)
        while queue in self.subscribed and queue not in self._bound:
            # What was being made before it was a group is not bound.
            self._there.discard(queue)
            await self.ensure(queue)

    def heard(self, queue: QueueName, subscribed: bool) -> None:
        """Another engine says whether ``queue`` is a group."""
        if subscribed and queue not in self.subscribed:
            self.subscribed.add(queue)
            self._there.discard(queue)
        elif not subscribed:
            self.subscribed.discard(queue)
            self._bound.discard(queue)

    async def unbind(self, queue: QueueName) -> None:
        """``queue`` is no group any more."""
        self.subscribed.discard(queue)
        place = self._names.place(queue)
        async with self.change(queue), self._broker.desk() as desk:
            await desk.unbind(place.queue, place.exchange, place.key)
            await desk.unbind(place.queue, place.exchange, "")

    # Making ----------------------------------------------------------------------------

    async def _make(self, queue: QueueName) -> None:
        if queue.kind == "named":
            await self.ensure_queue(queue)
            return
        await self._changed(queue)
        place = self._names.place(queue)
        async with self._broker.desk() as desk:
            # One of type ``fanout`` is a newer release's; our bindings suit both.
            await desk.exchange(place.exchange, "topic")
        if queue in self.subscribed:
            await self.ensure_queue(queue)
            async with self._broker.desk() as desk:
                await desk.bind(place.queue, place.exchange, place.key)
            if queue in self.subscribed:
                self._bound.add(queue)

    async def _make_queue(self, queue: QueueName) -> None:
        await self._changed(queue)
        place = self._names.place(queue)
        more = self._priority(queue)
        async with self._broker.desk() as desk:
            if queue.kind != "named":
                await self._queue(desk, place.queue, more)
                await self._queue(desk, place.dead, None)
                return
            dead, retry = f"{place.exchange}::dlq", f"{place.exchange}::retry"
            for exchange in (place.exchange, retry, dead):
                await desk.exchange(exchange, "direct")
            await self._queue(desk, place.queue, {"x-dead-letter-exchange": dead, **more})
            settings = self._settings.get(queue, LaneSettings())
            # The original's engines use it; the broker may lose what it passes on.
            back = {
                "x-message-ttl": settings.backoff_ms,
                "x-dead-letter-exchange": place.exchange,
                "x-dead-letter-routing-key": place.key,
            }
            await self._queue(desk, f"{retry}.queue", {**back, **more})
            await self._queue(desk, place.dead, None)
            for name, exchange in (
                (place.queue, place.exchange),
                (f"{retry}.queue", retry),
                (place.dead, dead),
            ):
                await desk.bind(name, exchange, place.key)

    async def _declare(self, name: str) -> None:
        async with self._broker.desk() as desk:
            await self._queue(desk, name, None)

    async def _queue(self, desk: Desk, name: str, arguments: dict[str, Any] | None) -> bool:
        if await desk.queue(name, arguments):
            return True
        if name not in self._told:
            self._told.add(name)
            log.warn(
                "RabbitMQ has the queue {queue} with other arguments than {wanted}: it is used"
                " as it is",
                queue=name,
                wanted=str(arguments),
            )
        return False

    def _priority(self, queue: QueueName) -> dict[str, Any]:
        highest = self.priorities(queue)
        return {} if highest is None else {"x-max-priority": highest}

    # Once ------------------------------------------------------------------------------

    def _once(self, what: Hashable, make: Make) -> Deferred[None]:
        if what in self._there:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        waiting = self._pending.get(what)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        self._pending[what] = [waiter]

        async def making() -> None:
            await make()

        made = Deferred.fromCoroutine(making())
        made.addCallbacks(self._made, self._not_made, callbackArgs=(what,), errbackArgs=(what,))
        return waiter

    def _made(self, _: None, what: Hashable) -> None:
        self._there.add(what)
        for waiter in self._pending.pop(what):
            waiter.callback(None)

    def _not_made(self, failure: Failure, what: Hashable) -> None:
        for waiter in self._pending.pop(what):
            waiter.errback(failure)
