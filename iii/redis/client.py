"""Redis as an adapter has it: commands, scripts, channels, and whether it is there.

Commands go over one connection, in their order.  Channels need a second one, which
exists from the first subscription on.  Both come back by themselves, and every channel
is subscribed to again; messages that were published meanwhile are gone.

The log says once that Redis went away and once that it is back, whichever of the two
connections noticed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.module import ModuleApi
from iii.errors import Code, StartError
from iii.redis.address import Address
from iii.redis.errors import RedisAway, RedisError
from iii.redis.link import Link
from iii.redis.script import Script

if TYPE_CHECKING:
    from iii.redis.protocol import Heard, Part

log = Logger()

#: Channels subscribed to again at a time.
BATCH = 500


class Redis:
    """One adapter's Redis.

    :param who: the module, for the log
    :param without: what is true while Redis is away, for the log
    :param scripts: those that ``run`` will be asked for
    :ivar on_back: called whenever commands work again after a loss
    """

    def __init__(
        self,
        engine: ModuleApi,
        address: Address,
        *,
        who: str,
        without: str,
        scripts: Iterable[Script] = (),
    ) -> None:
        self._engine = engine
        self._address = address
        self._who = who
        self._without = without
        self._commands = Link(engine, address, self, scripts)
        self._channels: Link | None = None
        self._heard: dict[bytes, Heard] = {}
        self._came: dict[bytes, Callable[[], None]] = {}
        self._subscribing: dict[bytes, Deferred[None]] = {}
        self._down: set[Link] = set()
        self._went_at = 0.0
        self._back_at = 0.0
        self.on_back: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Connect.

        :raises StartError: Redis is not there, or does not want us
        """
        try:
            await self._commands.open()
        except RedisError as error:
            text = f"{self._who}: {error.message}; start Redis there, or correct redis_url"
            raise StartError(error.code, text) from error
        except CancelledError as error:
            text = f"{self._who}: the engine was stopped while it connected to Redis"
            raise StartError(Code.SHUTTING_DOWN, text) from error
        log.info("{who}: connected to Redis at {address}", who=self._who, address=self._address)

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        self._heard.clear()
        self._came.clear()
        self._settle()
        links = [self._commands, *([self._channels] if self._channels is not None else [])]
        stopped: Deferred[Any] = gatherResults([link.stop() for link in links])
        return stopped.addCallback(lambda _: None)

    @property
    def address(self) -> Address:
        """Where it is."""
        return self._address

    @property
    def up(self) -> bool:
        """Whether commands can be sent right now."""
        return self._commands.wire is not None

    @property
    def up_since(self) -> float | None:
        """Since when, by the monotonic clock; None: it is away."""
        return self._back_at if self.up else None

    def call(self, *parts: Part) -> Deferred[Any]:
        """``call("GET", key)``.  Bytes, integers, lists and None come back.

        The Deferred fails with ``RedisAway`` (not sent, or nobody knows), ``RedisError``
        (Redis said no; with the code ``overloaded``: not sent, too many wait).
        """
        return self._commands.call(*parts)

    def run(self, script: Script, *parts: Part) -> Deferred[Any]:
        """Run a script with its keys and arguments; like ``call``."""
        return self._commands.run(script, *parts)

    # Channels --------------------------------------------------------------------------

    def subscribe(self, channel: str, heard: Heard, came: Callable[[], None] | None = None) -> None:
        """Tell ``heard`` of every message on ``channel`` from now on.

        :param came: called whenever the subscription has come about, also after a loss
        """
        name = channel.encode()
        self._heard[name] = heard
        if came is not None:
            self._came[name] = came
        if self._channels is None:
            self._channels = Link(self._engine, self._address, self, listens=True)
            self._channels.keep()
        if self._channels.wire is None:
            self._subscribing.setdefault(name, Deferred())
        else:
            self._ask_for(name)

    def unsubscribe(self, channel: str) -> None:
        """Tell nobody any more."""
        name = channel.encode()
        self._came.pop(name, None)
        if self._heard.pop(name, None) is not None and self._channels is not None:
            self._channels.call("UNSUBSCRIBE", name).addErrback(_gone_anyway)
            self._done(name)

    def hears(self, channel: str) -> bool:
        """Whether messages on a channel that was subscribed to arrive right now."""
        name = channel.encode()
        channels = self._channels
        return (
            channels is not None
            and channels.wire is not None
            and name in self._heard
            and name not in self._subscribing
        )

    def subscribed(self, channel: str) -> Deferred[None]:
        """Fires when a subscription under way has come about, or can't right now."""
        pending = self._subscribing.get(channel.encode())
        if pending is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        pending.addCallback(lambda _: waiter.callback(None))
        return waiter

    def heard(self, channel: bytes, body: bytes) -> None:
        """Link: a message."""
        heard = self._heard.get(channel)
        if heard is not None:
            try:
                heard(channel, body)
            except Exception:
                # One message's trouble must not cost the connection.
                log.failure("{who}: a message from Redis", who=self._who)

    def _ask_for(self, name: bytes) -> None:
        assert self._channels is not None
        self._subscribing.setdefault(name, Deferred())
        asked = self._channels.call("SUBSCRIBE", name)
        asked.addCallbacks(
            self._came_about, self._refused, callbackArgs=(name,), errbackArgs=(name,)
        )

    def _restore(self, left: list[bytes]) -> None:
        """Subscribe to what was subscribed to, without keeping others from their work."""
        assert self._channels is not None
        for name in left[:BATCH]:
            if name in self._heard:
                self._ask_for(name)
        if len(left) > BATCH and self._channels.wire is not None:
            self._engine.clock.call_later(0, self._restore, left[BATCH:])

    def _came_about(self, _: Any, name: bytes) -> None:
        self._done(name)
        came = self._came.get(name)
        if came is not None:
            came()

    def _refused(self, failure: Failure, name: bytes) -> None:
        failure.trap(RedisError)
        if failure.check(RedisAway) is None:
            log.error(
                "{who}: Redis at {address} refused the subscription to {channel}: {reason}",
                who=self._who,
                address=self._address,
                channel=name.decode(),
                reason=failure.value,
            )
        self._done(name)

    def _done(self, name: bytes) -> None:
        pending = self._subscribing.pop(name, None)
        if pending is not None:
            pending.callback(None)

    def _settle(self) -> None:
        for name in list(self._subscribing):
            self._done(name)

    # How the links are doing -----------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Link: it is there."""
        if link is self._channels:
            self._restore(list(self._heard))
        else:
            self._back_at = self._engine.clock.monotonic()
        if link not in self._down:
            return
        self._down.discard(link)
        if not self._down:
            log.info(
                "{who}: Redis at {address} is back after {seconds:.1f} s",
                who=self._who,
                address=self._address,
                seconds=self._engine.clock.monotonic() - self._went_at,
            )
        if link is self._commands:
            for back in self.on_back:
                back()

    def lost(self, link: Link, reason: str) -> None:
        """Link: it is gone."""
        if link is self._channels:
            self._settle()
        if not self._down:
            self._went_at = self._engine.clock.monotonic()
            log.warn(
                "{who}: Redis at {address} is away ({reason}): {without}; trying again until it"
                " is back",
                who=self._who,
                address=self._address,
                reason=reason,
                without=self._without,
            )
        self._down.add(link)


def _gone_anyway(failure: Failure) -> None:
    """A connection that is lost has no subscriptions."""
    failure.trap(RedisError)
