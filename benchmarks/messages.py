"""Messages between a producer and a consumer: frames, what must be true of them, counts.

No sockets in here: ``producer`` has them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from math import inf
from time import perf_counter
from typing import NoReturn, Protocol

from benchmarks.calls import CONSUMER, GROUPS, message
from benchmarks.configs import FIFO_QUEUE, PLAIN_QUEUE
from benchmarks.raw import FUNCTION_ID, INVOCATION_ID, INVOKE, text_after

IN_FLIGHT = 64
UNHANDLED = 1_000
#: one message in so many, of the way ``failing``, fails the first time
FAILS_EVERY = 97
TOPIC = "bench"
#: without the last message for so long, it counts as lost
PATIENCE_S = 30.0

_NUMBER = b'"n":"'
_HANDLED = b'{"type":"invocationresult","invocation_id":"%b","function_id":"%b","result":null}'
_FAILED = (
    b'{"type":"invocationresult","invocation_id":"%b","function_id":"%b",'
    b'"error":{"code":"once","message":"the next time"}}'
)
_PUBLISH = (
    b'{"type":"invokefunction","invocation_id":"%%b","function_id":"enqueue",'
    b'"data":{"topic":"%b","data":%%b}}' % TOPIC.encode()
)
_ENQUEUE = (
    b'{"type":"invokefunction","invocation_id":"%%b","function_id":"%b","data":%%b,'
    b'"action":{"type":"enqueue","queue":"%b"}}'
)


class Check(Protocol):
    """What has to be true of the messages of one measure."""

    def handle(self, number: int) -> bool:
        """Whether the message ``number``, which has come, is handled; or fails."""
        ...


class Once:
    """No message comes twice."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def handle(self, number: int) -> bool:
        """Check: every one is."""
        if number in self._seen:
            fail(f"message {number} has come twice")
        self._seen.add(number)
        return True


class InOrder:
    """The messages of each group come in the order of their numbers.

    :param fails_every: of so many messages one fails once, and comes again before the next
    """

    def __init__(self, fails_every: int = 0) -> None:
        self._next = list(range(GROUPS))
        self._fails_every = fails_every
        self._failed: set[int] = set()

    def handle(self, number: int) -> bool:
        """Check: unless it is its turn to fail."""
        group = number % GROUPS
        if number != self._next[group]:
            fail(f"message {number} of group {group} has come, not {self._next[group]}")
        if self._fails_every and number % self._fails_every == 0 and number not in self._failed:
            self._failed.add(number)
            return False
        self._next[group] += GROUPS
        return True


def on_queue(name: str) -> bytes:
    """The frame that puts a call of the consumer on a named queue."""
    return _ENQUEUE % (CONSUMER.encode(), name.encode())


WAYS: dict[str, tuple[bytes, Callable[[], Check]]] = {
    "topic": (_PUBLISH, Once),
    "plain": (on_queue(PLAIN_QUEUE), Once),
    "fifo": (on_queue(FIFO_QUEUE), InOrder),
    "failing": (on_queue(FIFO_QUEUE), partial(InOrder, FAILS_EVERY)),
}


class Belt:
    """What is between the two: messages that were sent, acknowledged, handled.

    :param put: gets each message that enqueues
    :param flush: called after some of them
    :ivar came_at: when the last message came
    """

    def __init__(self, put: Callable[[bytes], None], flush: Callable[[], None]) -> None:
        self._put = put
        self._flush = flush
        self._calls = 0
        self.begin("plain")

    def begin(self, way: str, unhandled: float = UNHANDLED) -> None:
        """Count from zero.

        :param unhandled: no message is sent while there are so many
        """
        self._way, make_check = WAYS[way]
        self._check = make_check()
        self._most_unhandled = unhandled
        self._until = self._count = 0.0
        self.sent = self.receipts = self.handled = 0
        self.came_at = 0.0
        self._over: Callable[[], bool] = lambda: False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def send(
        self, over: Callable[[], bool], *, count: float = inf, seconds: float = inf
    ) -> None:
        """Send so many messages more, or for so long; return when that and ``over()`` is true."""
        self._count, self._until, self._over = self.sent + count, perf_counter() + seconds, over
        ended = self._ended = asyncio.get_running_loop().create_future()
        self.turn()
        try:
            await asyncio.wait_for(ended, PATIENCE_S + (0 if seconds == inf else seconds))
        except TimeoutError:
            fail(f"{self.sent:,} sent, {self.receipts:,} receipts, {self.handled:,} handled")

    def turn(self) -> None:
        """Everything of one read has been looked at: send what may be sent."""
        now = perf_counter()
        most = min(self.receipts + IN_FLIGHT, self.handled + self._most_unhandled, self._count)
        if now < self._until and self.sent < most:
            while self.sent < most:
                self._calls += 1
                invocation_id = b"00000000-0000-4000-8000-%012x" % self._calls
                self._put(self._way % (invocation_id, message(self.sent)))
                self.sent += 1
            self._flush()
        elif (now >= self._until or self.sent >= self._count) and self._over():
            self._over = lambda: False
            self._ended.set_result(None)

    def answer(self, payload: bytes) -> bytes | None:
        """The answer to a message; None: it is something else."""
        at = payload.find(_NUMBER) if payload.startswith(INVOKE) else -1
        if at < 0:
            return None
        handled = self._check.handle(int(text_after(_NUMBER, payload)))
        self.handled += handled
        self.came_at = perf_counter()
        ids = (text_after(INVOCATION_ID, payload), text_after(FUNCTION_ID, payload))
        return (_HANDLED if handled else _FAILED) % ids

    def all_acknowledged(self) -> bool:
        """Whether every message has its receipt."""
        return self.receipts == self.sent

    def all_done(self) -> bool:
        """Whether they have been handled, too."""
        return self.receipts == self.handled == self.sent


def fail(reason: str) -> NoReturn:
    sys.stderr.write(f"benchmarks.producer: {reason}\n")
    sys.stderr.flush()
    os._exit(1)  # from a callback, too
