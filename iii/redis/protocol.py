"""What goes over one connection to Redis: txredisapi's protocol, with a queue of our own.

txredisapi reads the replies (in C, by hiredis).  Its commands are not used: a reply's
``Deferred`` waits here with the time it was asked for and its size, so that the link can
bound both.  Replies come in the order of the commands; only messages of subscribed
channels come unasked.

Importing this imports the reactor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from txredisapi import RedisProtocol  # type: ignore[import-untyped]

from iii.redis.errors import RedisAway, RedisError

Part = bytes | str | int
Heard = Callable[[bytes, bytes], None]
"""Told of a message: channel and body."""

_MESSAGE = b"message"


class Wire(RedisProtocol):  # type: ignore[misc]
    """One connection.

    :param heard: told of the messages of channels; None: there are none
    :param lost: called once, with the reason, when the connection has ended
    :ivar waiting: commands without a reply, oldest first: (reply, asked at, bytes)
    :ivar waiting_bytes: how large these commands are together
    """

    def __init__(self, heard: Heard | None, lost: Callable[[Wire, str], None]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._heard = heard
        self._lost = lost
        self._reason: str | None = None
        self.waiting: deque[tuple[Deferred[Any], float, int]] = deque()
        self.waiting_bytes = 0

    def ask(self, command: bytes, now: float) -> Deferred[Any]:
        """Send a packed command."""
        reply: Deferred[Any] = Deferred()
        size = len(command)
        self.waiting.append((reply, now, size))
        self.waiting_bytes += size
        self.transport.write(command)
        return reply

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self._reason = self._reason or reason
        self.transport.abortConnection()

    def replyReceived(self, reply: Any) -> None:
        """txredisapi has read a reply."""
        heard = self._heard
        if heard is not None and isinstance(reply, list) and reply[:1] == [_MESSAGE]:
            heard(reply[1], reply[2])
            return
        if not self.waiting:
            # Redis speaks unasked only before it hangs up (too many clients, …).
            self._reason = self._reason or str(reply)
            return
        waiter, _, size = self.waiting.popleft()
        self.waiting_bytes -= size
        if isinstance(reply, Exception):
            waiter.errback(RedisError(f"Redis: {reply}"))
        else:
            waiter.callback(reply)

    def connectionLost(self, why: Failure) -> None:
        """Protocol: nobody will be answered any more."""
        super().connectionLost(why)
        reason = self._reason or why.getErrorMessage()
        self._lost(self, reason)
        waiting, self.waiting = self.waiting, deque()
        self.waiting_bytes = 0
        for waiter, _, _ in waiting:
            waiter.errback(RedisAway(f"the connection to Redis was lost: {reason}"))


class WireFactory(Factory):
    """Makes one ``Wire``."""

    noisy = False

    def __init__(self, heard: Heard | None, lost: Callable[[Wire, str], None]) -> None:
        self._make = (heard, lost)

    def buildProtocol(self, addr: Any) -> Wire:
        """Factory."""
        wire = Wire(*self._make)
        wire.factory = self
        return wire


def pack(parts: Sequence[Part]) -> bytes:
    """A command as Redis reads it."""
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)
