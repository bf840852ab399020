"""RabbitMQ as an adapter has it: messages out, queues consumed, desks for the rest.

Messages and desks use one connection, consumers another: a broker that holds publishers
back (memory, disk) goes on taking acknowledgements.  Both come back by themselves.

The log says once that RabbitMQ went away and once that it is back, whichever of the two
noticed first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.module import ModuleApi
from iii.errors import Code, StartError
from iii.rabbitmq.address import Address
from iii.rabbitmq.consumer import Consumer, Receiver
from iii.rabbitmq.desk import Desk
from iii.rabbitmq.errors import BrokerError
from iii.rabbitmq.link import Link
from iii.rabbitmq.publisher import Publisher

log = Logger()


class Broker:
    """One adapter's RabbitMQ.

    :param who: the module, for the log
    :param without: what is true while it is away, for the log
    :ivar on_back: called whenever messages can be sent again after a loss
    """

    def __init__(self, engine: ModuleApi, address: Address, *, who: str, without: str) -> None:
        self._clock = engine.clock
        self._address = address
        self._who = who
        self._without = without
        self._out = Link(engine, address, "publishing", self)
        self._in = Link(engine, address, "consuming", self)
        self._publisher = Publisher(engine.clock, self._out, self._ready, self._not_ready)
        self._consumers: list[Consumer] = []
        self._first: Deferred[None] | None = None
        self._down: set[Link] = set()
        self._went_at = 0.0
        self._interrupted = False
        self.on_back: list[Callable[[], None]] = []
        self.publish = self._publisher.publish

    async def start(self) -> None:
        """Connect.

        :raises StartError: RabbitMQ is not there, or does not want us
        """
        first: Deferred[None] = Deferred()
        self._first = first
        try:
            await self._out.open()
            await self._in.open()
            await first
        except BrokerError as error:
            text = f"{self._who}: {error.message}; start RabbitMQ there, or correct amqp_url"
            await self.stop()
            raise StartError(error.code, text) from error
        except CancelledError as error:
            text = f"{self._who}: the engine was stopped while it connected to RabbitMQ"
            raise StartError(Code.SHUTTING_DOWN, text) from error
        log.info("{who}: connected to RabbitMQ at {address}", who=self._who, address=self._address)

    def stop(self) -> Deferred[None]:
        """Disconnect, after everything that was written."""
        self._publisher.stop()
        for consumer in self._consumers:
            consumer.leave()
        stopped = gatherResults([self._in.stop(), self._out.stop()])
        return stopped.addCallback(lambda _: None)

    @property
    def up(self) -> bool:
        """Whether messages can be sent right now."""
        return self._publisher.up

    def desk(self) -> Desk:
        """A channel to be thrown away."""
        return Desk(self._out)

    def consumer(
        self,
        queue: str,
        receiver: Receiver,
        prepare: Callable[[], Awaitable[None]],
        *,
        prefetch: int,
        exclusive: bool = False,
    ) -> Consumer:
        """One that is not started yet; see ``Consumer``."""
        made = Consumer(
            self._clock,
            self._in,
            queue,
            receiver,
            prepare,
            prefetch=prefetch,
            exclusive=exclusive,
        )
        self._consumers.append(made)
        return made

    def forget(self, consumer: Consumer) -> Deferred[None]:
        """Stop a consumer for good."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)
        return consumer.stop()

    # How the links are doing -----------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Link: it is there."""
        if link is self._out:
            assert link.wire is not None
            opening = Deferred.fromCoroutine(self._publisher.open(link.wire))
            opening.addErrback(self._no_channel, link)
        else:
            for consumer in list(self._consumers):
                consumer.connected()
        if link not in self._down:
            return
        self._down.discard(link)
        if not self._down:
            log.info(
                "{who}: RabbitMQ at {address} is back after {seconds:.1f} s",
                who=self._who,
                address=self._address,
                seconds=self._clock.monotonic() - self._went_at,
            )

    def lost(self, link: Link, reason: str) -> None:
        """Link: it is gone."""
        if not self._down:
            self._went_at = self._clock.monotonic()
            log.warn(
                "{who}: RabbitMQ at {address} is away ({reason}): {without}; trying again until"
                " it is back",
                who=self._who,
                address=self._address,
                reason=reason,
                without=self._without,
            )
        self._down.add(link)

    def _ready(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)
        if self._interrupted:
            self._interrupted = False
            for back in self.on_back:
                back()
            for consumer in list(self._consumers):
                consumer.connected()

    def _not_ready(self) -> None:
        self._interrupted = True

    def _no_channel(self, failure: Failure, link: Link) -> None:
        first, self._first = self._first, None
        if first is not None:
            from iii.rabbitmq.protocol import reason_of

            first.errback(reason_of(failure.value))
        if link.wire is not None:
            link.wire.abort(f"no channel: {failure.getErrorMessage()}")
