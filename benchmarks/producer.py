"""One worker puts messages on queues, another one handles them; both in this process.

    python -m benchmarks.producer --url URL

For every line ``{"way": "topic", "do": "flow", "seconds": 3}`` it measures once and prints
the result.  ``WAYS`` says where messages go, ``MEASURES`` what is done:

* ``flow``: 64 enqueues are in flight as long as fewer than 1,000 messages are unhandled,
  so neither side gets ahead; the time ends when the last message has been handled;
* ``latency``: one message, a pause, the next one;
* ``drain``: a queue that is full is worked off for a while, then paused;
* ``bursts``: so many messages are put on a paused queue, then worked off, again and again.

Every message must come exactly once, those of a FIFO queue in the order of their group: a
run in which one doesn't has no result.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from time import perf_counter
from typing import NoReturn, Protocol

import msgspec
import uvloop
from picows import WSFrame, WSTransport

from benchmarks.calls import CONSUMER, GROUPS, message
from benchmarks.configs import FIFO_QUEUE, PLAIN_QUEUE
from benchmarks.raw import FUNCTION_ID, INVOCATION_ID, INVOKE, text_after, text_frame
from benchmarks.stats import percentile
from benchmarks.worker import Connection, connect, raise_error, say, stdin_lines

IN_FLIGHT = 64
UNHANDLED = 1_000
#: one message in so many, of the way ``failing``, fails the first time
FAILS_EVERY = 97
TOPIC = "bench"
IDLE_PAUSE_S = 0.005
QUIET_S = 0.1
#: without the last message for so long, it counts as lost
PATIENCE_S = 30.0

_NUMBER = b'"n":"'
_RESULT = b'{"type":"invocationresult",'
_ERROR = b'"error":'
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


class Consumer(Connection):
    """Handles messages at once."""

    def __init__(self, belt: Belt) -> None:
        super().__init__()
        self._belt = belt

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.last_in_buffer:
            self._belt.turn()

    def on_text(self, payload: bytes) -> None:
        at = payload.find(_NUMBER) if payload.startswith(INVOKE) else -1
        if at < 0:
            super().on_text(payload)
            return
        number = int(text_after(_NUMBER, payload))
        answer = _HANDLED if self._belt.came(number) else _FAILED
        ids = (text_after(INVOCATION_ID, payload), text_after(FUNCTION_ID, payload))
        self._outgoing.extend(text_frame(answer % ids))


class Producer(Connection):
    """Enqueues."""

    def __init__(self, belt: Belt) -> None:
        super().__init__()
        self._belt = belt
        self._calls = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.last_in_buffer:
            self._belt.turn()

    def on_text(self, payload: bytes) -> None:
        if not payload.startswith(_RESULT):
            super().on_text(payload)
            return
        if _ERROR in payload:
            raise_error(msgspec.json.decode(payload))
        self._belt.receipts += 1

    def enqueue(self, way: bytes, number: int) -> None:
        self._calls += 1
        invocation_id = b"00000000-0000-4000-8000-%012x" % self._calls
        self._outgoing.extend(text_frame(way % (invocation_id, message(number))))


class Belt:
    """What is between the two: messages that were sent, acknowledged, handled.

    :ivar came_at: when the last message came
    """

    def __init__(self) -> None:
        self.producer = Producer(self)
        self.consumer = Consumer(self)
        self.begin("plain")

    def begin(self, way: str, unhandled: float = UNHANDLED) -> None:
        """Count from zero.

        :param unhandled: no message is sent while there are so many
        """
        self._frame, make_check = WAYS[way]
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
                self.producer.enqueue(self._frame, self.sent)
                self.sent += 1
            self.producer.flush()
        elif (now >= self._until or self.sent >= self._count) and self._over():
            self._over = lambda: False
            self._ended.set_result(None)

    def came(self, number: int) -> bool:
        """A message; whether it is handled."""
        handled = self._check.handle(number)
        self.handled += handled
        self.came_at = perf_counter()
        return handled

    def all_acknowledged(self) -> bool:
        """Whether every message has its receipt."""
        return self.receipts == self.sent

    def all_done(self) -> bool:
        """Whether they have been handled, too."""
        return self.receipts == self.handled == self.sent

    async def pause(self) -> None:
        """Let the plain queue not be worked off."""
        await self.consumer.ask("engine::queue::pause", {"queue": PLAIN_QUEUE})

    async def resume(self) -> None:
        """Let it be worked off again."""
        await self.consumer.ask("engine::queue::resume", {"queue": PLAIN_QUEUE})


async def flow(belt: Belt, way: str, seconds: float) -> dict[str, float]:
    """Enqueue and handle, steadily."""
    belt.begin(way)
    started = perf_counter()
    await belt.send(belt.all_done, seconds=seconds)
    return {"messages_per_s": belt.handled / (belt.came_at - started)}


async def latency(belt: Belt, way: str, seconds: float) -> dict[str, float]:
    """From the enqueue to the handler, when nothing else happens."""
    belt.begin(way)
    until = perf_counter() + seconds
    took: list[float] = []
    while perf_counter() < until:
        await asyncio.sleep(IDLE_PAUSE_S)
        started = perf_counter()
        await belt.send(belt.all_done, count=1)
        took.append(belt.came_at - started)
    return {"p50_ms": percentile(took, 50) * 1000, "p99_ms": percentile(took, 99) * 1000}


async def drain(belt: Belt, way: str, seconds: float) -> dict[str, float]:
    """Work the plain queue off for so long; it is paused before and after."""
    belt.begin(way)
    started = perf_counter()
    await belt.resume()
    await asyncio.sleep(seconds)
    # When the queue is used up, the time ends with its last message.
    rate = belt.handled / (belt.came_at - started)
    await belt.pause()
    handled = -1
    while handled < belt.handled:
        handled = belt.handled
        await asyncio.sleep(QUIET_S)
    return {"messages_per_s": rate}


async def bursts(belt: Belt, way: str, seconds: float, messages: int) -> dict[str, float]:
    """Work so many messages off; only that counts, not the time to enqueue them."""
    until = perf_counter() + seconds
    handled, working_s = 0, 0.0
    while perf_counter() < until:
        belt.begin(way, unhandled=inf)
        await belt.send(belt.all_acknowledged, count=messages)
        started = perf_counter()
        await belt.resume()
        await belt.send(belt.all_done, count=0)
        handled += belt.handled
        working_s += belt.came_at - started
        await belt.pause()
    return {"messages_per_s": handled / working_s}


MEASURES: dict[str, Callable[..., Awaitable[dict[str, float]]]] = {
    "flow": flow,
    "latency": latency,
    "drain": drain,
    "bursts": bursts,
}


def fail(reason: str) -> NoReturn:
    sys.stderr.write(f"benchmarks.producer: {reason}\n")
    sys.stderr.flush()
    os._exit(1)  # from a callback, too


async def run(url: str) -> None:
    """Connect both, and measure as often as is wanted."""
    belt = Belt()
    await connect(url, belt.consumer)
    # Nothing of a queue that is full is handled before it is measured.
    await belt.pause()
    belt.consumer.register_function(CONSUMER)
    belt.consumer.register_trigger("bench", "queue", CONSUMER, {"topic": TOPIC})
    await belt.consumer.registered("engine::queue::list_topics")
    await connect(url, belt.producer)
    say({"event": "ready"})
    async for line in stdin_lines():
        measure = MEASURES[line.pop("do")]
        if measure in (flow, latency):
            await belt.resume()
        say(await measure(belt, **line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    uvloop.run(run(parser.parse_args().url))


if __name__ == "__main__":
    main()
