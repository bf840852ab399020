"""One connection to Redis that is made again for as long as somebody wants it.

While it is away commands fail at once: what waits for a broker piles up, and whoever
asked can decide better what to do.  A command is never sent twice: when its connection
ends before the reply, nobody knows whether it was run, and the caller is told so.

A connection that is silent is asked for a sign of life, so a peer that vanished without
a word is noticed as well; one that leaves a command unanswered for too long is cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from iii.dialling import LONGEST_RETRY_S, retry_delay_s
from iii.engine.clock import Timer
from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError
from iii.redis.address import Address
from iii.redis.errors import RedisAway, RedisError
from iii.redis.script import Script

if TYPE_CHECKING:
    from iii.redis.protocol import Part, Wire

CONNECT_LIMIT_S = 5.0
COMMAND_LIMIT_S = 5.0
#: A quiet connection is asked for a sign of life this often.
PING_EVERY_S = 15.0
#: How often is looked whether a command is overdue.
LOOK_EVERY_S = 1.0
#: A Redis that was just started reads its files first; so long is waited at our start.
LOADING_LIMIT_S = 60.0
#: Commands without a reply; further ones are refused.
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 64 * 1024 * 1024

_UNKNOWN_SCRIPT = "NOSCRIPT"
_LOADING = "LOADING"


class Owner(Protocol):
    """Hears how a link is doing."""

    def connected(self, link: Link) -> None:
        """Commands may be sent from now on."""
        ...

    def lost(self, link: Link, reason: str) -> None:
        """They can't any more; it is being connected again."""
        ...

    def heard(self, channel: bytes, body: bytes) -> None:
        """A message of a channel that was subscribed to on this link."""
        ...


class Link:
    """One connection.

    :param scripts: made known to Redis on every connection
    :param listens: it is for channels; only then do messages come
    :ivar wire: the connection; None while there is none
    """

    def __init__(
        self,
        engine: ModuleApi,
        address: Address,
        owner: Owner,
        scripts: Iterable[Script] = (),
        *,
        listens: bool = False,
    ) -> None:
        # Not before the engine has chosen its reactor, and not unless Redis is used.
        from iii.redis import protocol

        self._protocol = protocol
        self._reactor = engine.reactor
        self._clock = engine.clock
        self._address = address
        self._owner = owner
        self._scripts = tuple(scripts)
        self._heard = owner.heard if listens else None
        self.wire: Wire | None = None
        self._greeting: Wire | None = None
        self._attempt: Deferred[None] | None = None
        self._failures = 0
        self._retry: Timer | None = None
        self._watch: Timer | None = None
        self._wanted = True
        self._ended: Deferred[None] | None = None

    async def open(self) -> None:
        """Connect for the first time.

        :raises RedisError: it does not work; nothing goes on
        """
        self._attempt = Deferred.fromCoroutine(self._connect_patiently())
        try:
            await self._attempt
        except BaseException:
            self._wanted = False
            self._cancel_timers()
            raise
        finally:
            self._attempt = None

    async def _connect_patiently(self) -> None:
        ends = self._clock.monotonic() + LOADING_LIMIT_S
        while True:
            try:
                return await self._connect()
            except RedisError as error:
                if _LOADING not in error.message or self._clock.monotonic() >= ends:
                    raise
            await self._clock.pause(LONGEST_RETRY_S / 4)

    def keep(self) -> None:
        """Connect, and try again for as long as it takes."""
        self._try_again()

    def stop(self) -> Deferred[None]:
        """Disconnect for good; what has no reply yet fails."""
        self._wanted = False
        self._cancel_timers()
        if self._attempt is not None:
            self._attempt.cancel()
        ended: Deferred[None] = Deferred()
        wire = self.wire or self._greeting
        if wire is None:
            ended.callback(None)
        else:
            self._ended = ended
            wire.abort("the engine is stopping")
        return ended

    # Commands --------------------------------------------------------------------------

    def call(self, *parts: Part) -> Deferred[Any]:
        """Send a command; bytes, integers, lists and None come back.

        What Redis answers with a word (``OK``) is no None; don't compare it.
        """
        wire = self.wire
        if wire is None:
            return fail(RedisAway(f"Redis at {self._address} can't be reached"))
        # What a channel link sends is bounded by the channels there are.
        if self._heard is None and (
            len(wire.waiting) >= MAX_WAITING or wire.waiting_bytes >= MAX_WAITING_BYTES
        ):
            text = f"{len(wire.waiting)} commands wait for Redis at {self._address}"
            return fail(RedisError(text, Code.OVERLOADED))
        return wire.ask(self._protocol.pack(parts), self._clock.monotonic())

    def run(self, script: Script, *parts: Part) -> Deferred[Any]:
        """Run a script: its keys (their number first, unless it is fixed), its arguments."""
        counted = parts if script.keys is None else (script.keys, *parts)
        ran = self.call(b"EVALSHA", script.sha, *counted)
        return ran.addErrback(self._forgotten, script, counted)

    def _forgotten(self, failure: Failure, script: Script, counted: tuple[Part, ...]) -> Any:
        """Somebody flushed the scripts since we connected."""
        if failure.check(RedisError) and _UNKNOWN_SCRIPT in str(failure.value):
            return self.call(b"EVAL", script.text, *counted)
        return failure

    # Connecting ------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Connect once.

        :raises RedisError: why not
        """
        where = self._address
        wire = await self._dial()
        self._greeting = wire
        self._arm()
        try:
            await self._greet(wire)
        except RedisError as error:
            wire.abort(error.message)
            text = f"Failed to connect to Redis at {where}: {error.message}"
            raise RedisError(text, error.code) from error
        self._greeting = None
        self.wire = wire
        self._failures = 0
        self._owner.connected(self)

    async def _dial(self) -> Wire:
        where = self._address
        endpoint = where.endpoint(self._reactor, 2 * CONNECT_LIMIT_S)
        connecting = endpoint.connect(self._protocol.WireFactory(self._heard, self._lost))
        limit = self._clock.call_later(CONNECT_LIMIT_S, connecting.cancel)
        try:
            wire: Wire = await connecting
        except Exception as error:
            if limit.active() and not isinstance(error, CancelledError):
                text = f"Failed to connect to Redis at {where}: {error}"
            else:
                text = (
                    f"Redis connection timed out after {CONNECT_LIMIT_S:.0f}s. "
                    f"Please ensure Redis is running at: {where}"
                )
            raise RedisAway(text) from error
        finally:
            if limit.active():
                limit.cancel()
        return wire

    async def _greet(self, wire: Wire) -> None:
        """Tell who we are; see whether we are welcome."""
        address = self._address
        user = () if address.username is None else (address.username,)
        if address.password is not None:
            await self._say(wire, "AUTH", *user, address.password)
        if address.database:
            await self._say(wire, "SELECT", address.database)
        for script in self._scripts:
            await self._say(wire, "SCRIPT", "LOAD", script.text)
        await self._say(wire, "PING")

    def _say(self, wire: Wire, *parts: Part) -> Deferred[Any]:
        return wire.ask(self._protocol.pack(parts), self._clock.monotonic())

    def _lost(self, wire: Wire, reason: str) -> None:
        if wire is self._greeting:
            self._greeting = None
        if wire is self.wire:
            self.wire = None
            self._stop_watching()
            if self._wanted:
                self._owner.lost(self, reason)
                self._schedule()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)

    def _schedule(self) -> None:
        delay_s = retry_delay_s(self._failures)
        self._failures += 1
        self._retry = self._clock.call_later(delay_s, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        attempt = Deferred.fromCoroutine(self._connect())
        self._attempt = attempt
        attempt.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._attempt = None
        if not self._wanted:
            return
        self._stop_watching()
        error = failure.value
        self._owner.lost(self, error.message if isinstance(error, IIIError) else str(error))
        self._schedule()

    # Signs of life ---------------------------------------------------------------------

    def _arm(self) -> None:
        self._stop_watching()
        self._watch = self._clock.call_later(LOOK_EVERY_S, self._look, 0.0)

    def _look(self, quiet_s: float) -> None:
        """Whether the oldest command is overdue; when there is none, ask now and then."""
        self._watch = None
        wire = self.wire or self._greeting
        if wire is None:
            return
        now = self._clock.monotonic()
        if wire.waiting and now - wire.waiting[0][1] >= COMMAND_LIMIT_S:
            wire.abort(f"no answer for {COMMAND_LIMIT_S:.0f} s")
            return
        if not wire.waiting:
            quiet_s += LOOK_EVERY_S
            if quiet_s >= PING_EVERY_S:
                quiet_s = 0.0
                # How it ends, the connection's end tells.
                self._say(wire, "PING").addErrback(lambda failure: failure.trap(RedisError))
        self._watch = self._clock.call_later(LOOK_EVERY_S, self._look, quiet_s)

    def _stop_watching(self) -> None:
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        self._watch = None

    def _cancel_timers(self) -> None:
        self._stop_watching()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
