"""One worker puts messages on queues, another one handles them; both in this process.

    python -m benchmarks.producer --url URL

For every line ``{"way": "topic", "do": "flow", "seconds": 3}`` it measures once and prints
the result.  ``WAYS`` says where messages go, ``MEASURES`` what is done:

* ``flow``: 64 enqueues are in flight as long as fewer than 1,000 messages are unhandled,
  so neither side gets ahead; the time ends when the last message has been handled;
* ``latency``: one message, a pause, the next one;
* ``drain``: a queue that is full is worked off for a while, then paused;
* ``bursts``: so many messages are put on a paused queue, then worked off, again and again.

In the last two the time ends when the engine has recorded what was handled.

Every message must come exactly once, those of a FIFO queue in the order of their group: a
run in which one doesn't has no result.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from time import perf_counter

import msgspec
import uvloop
from picows import WSFrame, WSTransport

from benchmarks.calls import CONSUMER
from benchmarks.configs import PLAIN_QUEUE
from benchmarks.messages import TOPIC, Belt, fail
from benchmarks.raw import text_frame
from benchmarks.stats import percentile
from benchmarks.worker import Connection, connect, raise_error, say, stdin_lines

IDLE_PAUSE_S = 0.005
QUIET_S = 0.1

_RESULT = b'{"type":"invocationresult",'
_ERROR = b'"error":'


class Side(Connection):
    """One of the two: when all frames of a read have been looked at, the belt may move."""

    belt: Belt

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.last_in_buffer:
            self.belt.turn()


class Consumer(Side):
    """Handles messages at once."""

    def on_text(self, payload: bytes) -> None:
        answer = self.belt.answer(payload)
        if answer is None:
            super().on_text(payload)
        else:
            self._outgoing.extend(text_frame(answer))

    async def pause(self) -> None:
        """Let the plain queue not be worked off.

        It is answered when it is on the disk, behind everything that happened before.
        """
        await self.ask("engine::queue::pause", {"queue": PLAIN_QUEUE})

    async def resume(self) -> None:
        """Let it be worked off again."""
        await self.ask("engine::queue::resume", {"queue": PLAIN_QUEUE})


class Producer(Side):
    """Enqueues."""

    def on_text(self, payload: bytes) -> None:
        if not payload.startswith(_RESULT):
            super().on_text(payload)
            return
        if _ERROR in payload:
            raise_error(msgspec.json.decode(payload))
        self.belt.receipts += 1

    def put(self, message: bytes) -> None:
        """One message to the engine, with the next ``flush``."""
        self._outgoing.extend(text_frame(message))


async def flow(consumer: Consumer, way: str, seconds: float) -> dict[str, float]:
    """Enqueue and handle, steadily."""
    belt = consumer.belt
    belt.begin(way)
    started = perf_counter()
    await belt.send(belt.all_done, seconds=seconds)
    return {"messages_per_s": belt.handled / (belt.came_at - started)}


async def latency(consumer: Consumer, way: str, seconds: float) -> dict[str, float]:
    """From the enqueue to the handler, when nothing else happens."""
    belt = consumer.belt
    belt.begin(way)
    until = perf_counter() + seconds
    took: list[float] = []
    while perf_counter() < until:
        await asyncio.sleep(IDLE_PAUSE_S)
        started = perf_counter()
        await belt.send(belt.all_done, count=1)
        took.append(belt.came_at - started)
    return {"p50_ms": percentile(took, 50) * 1000, "p99_ms": percentile(took, 99) * 1000}


async def drain(consumer: Consumer, way: str, seconds: float) -> dict[str, float]:
    """Work the plain queue off for so long; it is paused before and after."""
    belt = consumer.belt
    belt.begin(way)
    started = perf_counter()
    await consumer.resume()
    await asyncio.sleep(seconds)
    if belt.came_at < perf_counter() - QUIET_S:
        fail(f"the queue was used up after {belt.handled:,} messages")
    await consumer.pause()
    rate = belt.handled / (perf_counter() - started)
    handled = -1
    while handled < belt.handled:
        handled = belt.handled
        await asyncio.sleep(QUIET_S)
    return {"messages_per_s": rate}


async def bursts(consumer: Consumer, way: str, seconds: float, messages: int) -> dict[str, float]:
    """Work so many messages off; only that counts, not the time to enqueue them."""
    belt = consumer.belt
    until = perf_counter() + seconds
    handled, working_s = 0, 0.0
    while perf_counter() < until:
        belt.begin(way, unhandled=inf)
        await belt.send(belt.all_acknowledged, count=messages)
        started = perf_counter()
        await consumer.resume()
        await belt.send(belt.all_done, count=0)
        await consumer.pause()
        handled += belt.handled
        working_s += perf_counter() - started
    return {"messages_per_s": handled / working_s}


MEASURES: dict[str, Callable[..., Awaitable[dict[str, float]]]] = {
    "flow": flow,
    "latency": latency,
    "drain": drain,
    "bursts": bursts,
}


async def run(url: str) -> None:
    """Connect both, and measure as often as is wanted."""
    producer, consumer = Producer(), Consumer()
    producer.belt = consumer.belt = Belt(producer.put, producer.flush)
    await connect(url, consumer)
    # Nothing of a queue that is full is handled before it is measured.
    await consumer.pause()
    consumer.register_function(CONSUMER)
    consumer.register_trigger("bench", "queue", CONSUMER, {"topic": TOPIC})
    await consumer.registered("engine::queue::list_topics")
    await connect(url, producer)
    say({"event": "ready"})
    async for line in stdin_lines():
        measure = MEASURES[line.pop("do")]
        if measure in (flow, latency):
            await consumer.resume()
        say(await measure(consumer, **line))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    uvloop.run(run(parser.parse_args().url))


if __name__ == "__main__":
    main()
