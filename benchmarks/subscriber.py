"""Many subscribers in one process: plain sockets, epoll, and counting.

    python -m benchmarks.subscriber --port PORT --sockets 1000

All join the same group of a stream.  Ready means that each has received its ``sync``.
For every line ``{"frames": N}`` it waits until N frames more have come, over all sockets,
and prints when the last one came (``perf_counter``, which the processes of a machine
share).  Fewer, or more, end it: a rate with lost frames is none.
"""

from __future__ import annotations

import argparse
import resource
import select
import socket
import sys
from time import perf_counter
from typing import NoReturn

import msgspec

from benchmarks.calls import GROUP, STREAM
from benchmarks.raw import FrameCounter, pong, text_frame

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONNECT_TIMEOUT_S = 30.0
#: without a single frame for so long, the rest counts as lost
PATIENCE_S = 10.0
READ_BYTES = 256 * 1024


class Subscriber:
    """One socket."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_S)
        self.socket.sendall(UPGRADE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._some()
        status, _, rest = head.partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 101"):
            fail(f"the stream port answered {status.splitlines()[0]!r}")
        data = {"subscriptionId": str(number), "streamName": STREAM, "groupId": GROUP}
        join = msgspec.json.encode({"type": "join", "data": data})
        self.socket.sendall(b"".join(text_frame(join)))
        self._counter = FrameCounter()
        synced = self._counter.feed(rest).texts
        while not synced:
            synced = self._counter.feed(self._some()).texts
        self.socket.setblocking(False)

    def _some(self) -> bytes:
        data = self.socket.recv(READ_BYTES)
        if not data:
            fail("the engine has closed the connection")
        return data

    def read(self) -> int:
        """Read what is there; how many frames that were."""
        try:
            counted = self._counter.feed(self._some())
        except ValueError as error:
            fail(f"the engine sent {error}")
        for ping in counted.pings:
            self.socket.sendall(pong(ping))
        return counted.texts


class Group:
    """All sockets, and the commands."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._subscribers: dict[int, Subscriber] = {}
        for number in range(count):
            subscriber = Subscriber(port, number)
            self._subscribers[subscriber.socket.fileno()] = subscriber
            self._poll.register(subscriber.socket, select.EPOLLIN)
        self._stdin = sys.stdin.fileno()
        self._poll.register(self._stdin, select.EPOLLIN)
        self._frames = 0
        self._last_at = 0.0
        self._wanted: int | None = None

    def run(self) -> None:
        """Count until the standard input ends."""
        say({"event": "ready"})
        while True:
            events = self._poll.poll(PATIENCE_S if self._wanted is not None else None)
            if not events:
                fail(f"only {self._frames:,} of {self._wanted:,} frames have come")
            frames = 0
            for descriptor, _ in events:
                if descriptor != self._stdin:
                    frames += self._subscribers[descriptor].read()
                elif not self._command():
                    return
            if frames:
                self._frames += frames
                self._last_at = perf_counter()
            self._answer()

    def _command(self) -> bool:
        line = sys.stdin.buffer.readline()
        if line:
            self._wanted = msgspec.json.decode(line)["frames"]
        return bool(line)

    def _answer(self) -> None:
        if self._wanted is None or self._frames < self._wanted:
            return
        if self._frames > self._wanted:
            fail(f"{self._frames:,} frames have come, not {self._wanted:,}")
        say({"last_at": self._last_at})
        self._frames, self._wanted = 0, None


def say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def fail(reason: str) -> NoReturn:
    sys.exit(f"benchmarks.subscriber: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sockets", type=int, required=True)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Group(options.port, options.sockets).run()


if __name__ == "__main__":
    main()
