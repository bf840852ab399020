"""A worker that costs next to nothing: picows, uvloop, and slices instead of JSON.

Whatever a benchmark shows must be the engine's time, so this side does the least a
worker can do: see ``raw``, and the answers to all frames of one read leave in one
write.

Three roles.  Each prints one JSON line when it is connected and registered, and
ends when its standard input does, so it can't outlive the benchmark:

* ``serve``: functions and HTTP routes, answered with one small constant result;
* ``idle``: many connections.  A line ``{"functions": 1}`` makes each register one;
* ``call``: one caller and one callee that echoes.  For every line
  ``{"function": "bench.echo", "in_flight": 64, "payload": 16, "keys": 1000, "seconds": 3}``
  it keeps that many calls in flight for that long and prints how many there were and how
  long they took.  Without ``seconds`` it calls once for each key.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from math import inf
from time import perf_counter
from typing import Any, TypeVar

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.calls import TARGETS, Target, all_keys, random_keys
from benchmarks.raw import INVOCATION_ID, INVOKE, RESULT, Answers, text_after, text_frame
from benchmarks.stats import percentile

HTTP_RESULT = b'{"status_code":200,"body":{"ok":true}}'
CONNECTIONS_PER_ADDRESS = 5_000  # well below the number of ephemeral ports of one address
CONNECTING_AT_ONCE = 50
OWN_CALL_ID = "00000000-0000-4000-8000-000000000000"
REGISTRATION_TIMEOUT_S = 120.0
LARGE_READ_BUFFER_BYTES = 256 * 1024
SMALL_READ_BUFFER_BYTES = 1024  # of an idle connection: there can be thousands in the process


Lines = AsyncIterator[dict[str, Any]]
AnyConnection = TypeVar("AnyConnection", bound="Connection")


class Connection(WSListener):
    """Registers functions and routes, answers every invocation.

    :param result: see ``Answers``
    """

    def __init__(self, result: bytes = b"") -> None:
        self._answers = Answers(result)
        self._own_call: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        #: parts of frames that leave when all frames of this read have been looked at
        self._outgoing: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._write = transport.underlying_transport.write

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        reason = transport.close_handshake
        sys.stderr.write(f"benchmarks.worker: the engine has closed the connection: {reason}\n")
        os._exit(1)  # nothing to clean up, and no result to report

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            self.on_text(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        if frame.last_in_buffer and self._outgoing:
            self.flush()

    def flush(self) -> None:
        self._write(b"".join(self._outgoing))
        self._outgoing.clear()

    def on_text(self, payload: bytes) -> None:
        if payload.startswith(INVOKE):
            self._outgoing.extend(text_frame(self._answers.answer(payload)))
            return
        message = msgspec.json.decode(payload)
        raise_error(message)
        if message["type"] == "invokefunction":  # keys in another order
            self._outgoing.extend(text_frame(self._answers.answer(payload)))
        elif message["type"] == "invocationresult":
            self._own_call.set_result(message.get("result"))

    def send(self, message: dict[str, Any]) -> None:
        self._outgoing.extend(text_frame(msgspec.json.encode(message)))
        self.flush()

    def register_function(self, function_id: str) -> None:
        self.send({"type": "registerfunction", "id": function_id})

    def register_route(self, function_id: str, method: str, path: str) -> None:
        config = {"api_path": path, "http_method": method}
        self.register_trigger(f"{method} {path}", "http", function_id, config)

    def register_trigger(self, id: str, type: str, function_id: str, config: object) -> None:
        trigger = {"id": id, "trigger_type": type, "function_id": function_id}
        self.send({"type": "registertrigger", **trigger, "config": config})

    async def registered(self, function_id: str) -> None:
        """Return when all registrations are applied: a call sent after them has come back."""
        await self.ask(function_id, {})

    async def ask(self, function_id: str, data: dict[str, Any]) -> Any:
        """The result of one call."""
        self._own_call = asyncio.get_running_loop().create_future()
        call = {"type": "invokefunction", "invocation_id": OWN_CALL_ID}
        self.send({**call, "function_id": function_id, "data": data})
        return await asyncio.wait_for(self._own_call, REGISTRATION_TIMEOUT_S)


class Caller(Connection):
    """Keeps calls in flight and times each."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    async def measure(
        self, target: Target, keys: Iterator[bytes], in_flight: int, seconds: float
    ) -> dict[str, float]:
        """Call until the time is over or the keys are used up.

        ``started`` is on the clock that all processes of the machine share.
        """
        self._between = b'","function_id":"%b","data":' % target.function_id
        self._after = b"}"
        if target.queue:
            self._after = b',"action":{"type":"enqueue","queue":"%b"}}' % target.queue.encode()
        self._data = target.data
        self._keys = keys
        self._least_result_bytes = target.least_result_bytes
        self._sent_at: dict[bytes, float] = {}
        self._took: list[float] = []
        self._all_back = asyncio.get_running_loop().create_future()
        started = perf_counter()
        self._until = started + seconds
        for _ in range(in_flight):
            self._call(started)
        self.flush()
        await self._all_back
        elapsed = perf_counter() - started
        return {
            "calls": len(self._took),
            "calls_per_s": len(self._took) / elapsed,
            "started": started,
            "p50_ms": percentile(self._took, 50) * 1000,
            "p99_ms": percentile(self._took, 99) * 1000,
        }

    def _call(self, now: float) -> None:
        key = next(self._keys, None)
        if key is None:
            return
        self._calls += 1
        invocation_id = b"00000000-0000-4000-8000-%012x" % self._calls
        self._sent_at[invocation_id] = now
        message = b'{"type":"invokefunction","invocation_id":"%b%b%b%b' % (
            invocation_id,
            self._between,
            self._data(key),
            self._after,
        )
        self._outgoing.extend(text_frame(message))

    def on_text(self, payload: bytes) -> None:
        if RESULT not in payload[:250] or len(payload) < self._least_result_bytes:
            message = msgspec.json.decode(payload)
            if message["type"] != "invocationresult":
                return
            raise_error(message)
            raise RuntimeError(f"not the right answer: {payload[:1000]!r}")
        now = perf_counter()
        self._took.append(now - self._sent_at.pop(text_after(INVOCATION_ID, payload)))
        if now < self._until:
            self._call(now)
        if not self._sent_at:
            self._all_back.set_result(None)


def raise_error(message: dict[str, Any]) -> None:
    if "error" in message:
        raise RuntimeError(f"the engine refused a {message['type']}: {message['error']}")


async def connect(url: str, connection: AnyConnection, number: int = 0) -> AnyConnection:
    address = f"127.0.0.{1 + number // CONNECTIONS_PER_ADDRESS}"
    buffer = SMALL_READ_BUFFER_BYTES if number else LARGE_READ_BUFFER_BYTES
    # picows' own pong would hide a ping from us, also one that is the last in the buffer:
    # then nobody would send what the frames before it gave rise to.
    await ws_connect(
        lambda: connection,
        url,
        local_addr=(address, 0),
        read_buffer_init_size=buffer,
        enable_auto_pong=False,
    )
    return connection


async def serve(options: argparse.Namespace, lines: Lines) -> None:
    """One connection with ``--functions`` functions, each with a route ``--path``."""
    worker = await connect(options.url, Connection(result=HTTP_RESULT))
    for number in range(options.functions):
        function_id = f"bench.http.{number}"
        worker.register_function(function_id)
        for method in options.method:
            worker.register_route(function_id, method, options.path.format(number))
    await worker.registered("bench.http.0")
    say({"event": "ready"})
    async for _ in lines:
        say({"error": "serve takes no commands"})


async def idle(options: argparse.Namespace, lines: Lines) -> None:
    """``--connections`` connections that do nothing."""
    several = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def one(number: int) -> Connection:
        async with several:
            return await connect(options.url, Connection(), number + 1)

    connections = await asyncio.gather(*map(one, range(options.connections)))
    say({"event": "ready"})
    registered = 0
    async for line in lines:
        for _ in range(line["functions"]):
            for number, connection in enumerate(connections):
                connection.register_function(f"bench.idle.{number}.{registered}")
            registered += 1
        for number, connection in enumerate(connections):
            await connection.registered(f"bench.idle.{number}.0")
        say({"event": "ready"})


async def call(options: argparse.Namespace, lines: Lines) -> None:
    """A callee that echoes, and a caller; both in this process, each with its connection."""
    callee = await connect(options.url, Connection())
    callee.register_function("bench.echo")
    await callee.registered("bench.echo")
    caller = await connect(options.url, Caller())
    say({"event": "ready"})
    async for line in lines:
        target = TARGETS[line["function"]](line["payload"])
        seconds = line.get("seconds", inf)
        keys = (all_keys if seconds == inf else random_keys)(line["keys"])
        say(await caller.measure(target, keys, line["in_flight"], seconds))


def say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


async def stdin_lines() -> Lines:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield msgspec.json.decode(line)


ROLES = {"serve": serve, "idle": idle, "call": call}


async def run(options: argparse.Namespace) -> None:
    await ROLES[options.role](options, stdin_lines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--url", required=True)
    parser.add_argument("--functions", type=int, default=1, help="serve: that many, with routes")
    parser.add_argument("--path", default="bench/{}", help="serve: {} is the function's number")
    parser.add_argument("--method", action="append", help="serve: may be repeated")
    parser.add_argument("--connections", type=int, default=100, help="idle")
    options = parser.parse_args()
    options.method = options.method or ["GET"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(run(options))


if __name__ == "__main__":
    main()
