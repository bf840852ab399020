"""One connection to RabbitMQ that is made again for as long as somebody wants it.

While it is away whatever needs it fails at once: what waits for a broker piles up, and
whoever asked can decide better what to do.  Everything on a connection (channels,
consumers, unconfirmed messages) ends with it; who has something there is told by
``connected`` and ``lost``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from iii.dialling import retry_delay_s
from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.errors import IIIError
from iii.rabbitmq.address import Address
from iii.rabbitmq.errors import BrokerAway, BrokerError

if TYPE_CHECKING:
    from iii.rabbitmq.protocol import Wire

CONNECT_LIMIT_S = 5.0
#: A goodbye that is not answered.
GOODBYE_LIMIT_S = 1.0


class Owner(Protocol):
    """Hears how a link is doing."""

    def connected(self, link: Link) -> None:
        """Channels may be opened from now on."""
        ...

    def lost(self, link: Link, reason: str) -> None:
        """There are none any more; it is being connected again."""
        ...


class Link:
    """One connection.

    :param purpose: what it is for, in the broker's lists
    :ivar wire: the connection; None while there is none
    :ivar clock: the engine's
    """

    def __init__(self, engine: ModuleApi, address: Address, purpose: str, owner: Owner) -> None:
        # Not before the engine has chosen its reactor, and not unless RabbitMQ is used.
        from iii.rabbitmq import protocol

        self._protocol = protocol
        self._reactor = engine.reactor
        self.clock = engine.clock
        self.address = address
        self.purpose = purpose
        self._owner = owner
        self.wire: Wire | None = None
        self._greeting: Wire | None = None
        self._attempt: Deferred[None] | None = None
        self._failures = 0
        self._retry: Timer | None = None
        self._wanted = True
        self._ended: Deferred[None] | None = None

    async def open(self) -> None:
        """Connect for the first time.

        :raises BrokerError: it does not work; nothing goes on
        """
        self._attempt = Deferred.fromCoroutine(self._connect())
        try:
            await self._attempt
        except BaseException:
            self._wanted = False
            raise
        finally:
            self._attempt = None

    def stop(self) -> Deferred[None]:
        """Disconnect for good, after what was written."""
        self._wanted = False
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        ended: Deferred[None] = Deferred()
        wire = self.wire or self._greeting
        if wire is None:
            ended.callback(None)
            return ended
        self._ended = ended
        limit = self.clock.call_later(GOODBYE_LIMIT_S, wire.abort, "the engine is stopping")
        wire.leave()

        def over(_: None) -> None:
            if limit.active():
                limit.cancel()

        return ended.addCallback(over)

    def away(self) -> BrokerAway:
        """Why nothing can be done."""
        return BrokerAway(f"RabbitMQ at {self.address} can't be reached")

    # Connecting ------------------------------------------------------------------------

    async def _connect(self) -> None:
        where = self.address
        limit: Timer | None = None
        try:
            endpoint = where.endpoint(self._reactor, 2 * CONNECT_LIMIT_S)
            factory = self._protocol.WireFactory(where, self.purpose, self._reactor, self._lost)
            connecting: Deferred[Any] = endpoint.connect(factory)
            limit = self.clock.call_later(CONNECT_LIMIT_S, self._too_slow, connecting)
            wire: Wire = await connecting
            self._greeting = wire
            assert wire.ready is not None
            await wire.ready
        except Exception as error:
            if self._greeting is not None:
                self._greeting.abort("the handshake failed")
                self._greeting = None
            if isinstance(error, IIIError) and not isinstance(error, BrokerError):
                raise
            if (limit is not None and not limit.active()) or isinstance(error, CancelledError):
                text = f"no answer within {CONNECT_LIMIT_S:.0f} s"
                raise BrokerAway(f"Failed to connect to RabbitMQ at {where}: {text}") from error
            cause = self._protocol.reason_of(error)
            said = str(error) if type(cause) is BrokerAway and str(error) else cause.message
            text = f"Failed to connect to RabbitMQ at {where}: {said}"
            raise BrokerError(text, cause.code, cause.reply) from error
        finally:
            if limit is not None and limit.active():
                limit.cancel()
        self._greeting = None
        self.wire = wire
        self._failures = 0
        self._owner.connected(self)

    def _too_slow(self, connecting: Deferred[Any]) -> None:
        connecting.cancel()
        if self._greeting is not None:
            self._greeting.abort("no answer")

    def _lost(self, wire: Wire, reason: str) -> None:
        if wire is self.wire:
            self.wire = None
            if self._wanted:
                self._owner.lost(self, reason)
                self._schedule()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)

    def _schedule(self) -> None:
        delay_s = retry_delay_s(self._failures)
        self._failures += 1
        self._retry = self.clock.call_later(delay_s, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        attempt = Deferred.fromCoroutine(self._connect())
        self._attempt = attempt
        attempt.addBoth(self._tried)

    def _tried(self, outcome: Failure | None) -> None:
        self._attempt = None
        if outcome is None or not self._wanted:
            return
        error = outcome.value
        self._owner.lost(self, error.message if isinstance(error, IIIError) else str(error))
        self._schedule()
