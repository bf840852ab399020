"""Messages of a named queue whose function is nowhere: out of the way of the others.

They are put into a queue beside, from where they come back by themselves after a while,
so that any engine may find their function.  One that learns of new functions fetches
those it can run at once.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.modules.queue.adapters.rabbitmq.codec import Unreadable, decode
from iii.modules.queue.adapters.rabbitmq.names import Names
from iii.modules.queue.adapters.rabbitmq.post import Post
from iii.modules.queue.message import Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings
from iii.rabbitmq import Broker

log = Logger()

#: Functions come in crowds.
PAUSE_S = 0.02


class Parking:
    """The parked messages of one named queue.

    :param ready: whether somebody is there to run a message
    """

    def __init__(
        self,
        clock: Clock,
        broker: Broker,
        names: Names,
        post: Post,
        queue: QueueName,
        ready: Callable[[Message], bool],
    ) -> None:
        self._clock = clock
        self._broker = broker
        self._post = post
        self._queue = queue
        self._name = names.place(queue).parked
        self._ready = ready
        self._timer: Timer | None = None
        self._working = False
        self._wanted = False
        self._stopped = False
        self._waiters: list[Deferred[None]] = []
        self.settings = LaneSettings()

    def look_again(self) -> None:
        """Functions came: fetch what they can run."""
        self._wanted = True
        if self._timer is None and not self._working and not self._stopped:
            self._timer = self._clock.call_later(PAUSE_S, self._begin)

    def stop(self) -> None:
        """Fetch nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def settled(self) -> Deferred[None]:
        """Fires when nothing is being fetched."""
        done: Deferred[None] = Deferred()
        if self._working:
            self._waiters.append(done)
        else:
            done.callback(None)
        return done

    def _begin(self) -> None:
        self._timer = None
        if not self._broker.up:
            return  # they come back by themselves
        self._working, self._wanted = True, False
        Deferred.fromCoroutine(self._fetch()).addErrback(self._failed).addCallback(self._done)

    async def _fetch(self) -> None:
        async with self._broker.desk() as desk:
            size = await desk.size(self._name)
            for _ in range(0 if size is None else size[0]):
                got = None if self._stopped else await desk.get(self._name)
                if got is None:
                    break
                try:
                    message = decode(
                        self._queue, 0, got.properties, got.body, self._clock.wall_ms()
                    )
                except Unreadable:
                    continue  # it was none of ours
                if self._ready(message):
                    await self._post.hand_over(self._queue, message, self.settings)
                    desk.ack(got)

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            log.warn(
                "{queue}: messages that wait for their function can't be fetched now: {reason}",
                queue=str(self._queue),
                reason=failure.getErrorMessage(),
            )

    def _done(self, _: None) -> None:
        self._working = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
        if self._wanted:
            self.look_again()
