"""A worker that costs next to nothing: picows, uvloop, and slices instead of JSON.

Whatever a benchmark shows must be the engine's time, so this side does the least
a worker can do: it cuts id and data out of a frame as bytes and puts the answer
together from constants.  That relies on the order of the keys, so the first
invocation of a connection is read with a JSON parser to see whether ``data`` comes
last; when it doesn't, all of them are.

Three roles.  Each prints one JSON line when it is connected and registered, and
ends when its standard input does, so it can't outlive the benchmark:

* ``serve``: functions and HTTP routes, answered with one small constant result;
* ``idle``: many connections.  A line ``{"functions": 1}`` makes each register one;
* ``call``: one caller and one callee that echoes.  For every line
  ``{"in_flight": 64, "payload": 16, "seconds": 3}`` it keeps that many calls in
  flight for that long and prints how many there were and how long they took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any, TypeVar

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.stats import percentile

HTTP_RESULT = b'{"status_code":200,"body":{"ok":true}}'
CONNECTIONS_PER_ADDRESS = 5_000  # well below the number of ephemeral ports of one address
CONNECTING_AT_ONCE = 50
REGISTRATION_TIMEOUT_S = 120.0
LARGE_READ_BUFFER_BYTES = 256 * 1024
SMALL_READ_BUFFER_BYTES = 1024  # of an idle connection: there can be thousands in the process

TEXT = WSMsgType.TEXT
_INVOKE = b'{"type":"invokefunction",'
_INVOCATION_ID = b'"invocation_id":"'
_FUNCTION_ID = b'"function_id":"'
_DATA = b',"data":'
_RESULT = b'"result":'

Lines = AsyncIterator[dict[str, Any]]
AnyConnection = TypeVar("AnyConnection", bound="Connection")


class Connection(WSListener):
    """Registers functions and routes, answers every invocation."""

    def __init__(self, result: bytes = b"") -> None:
        #: the answer to every invocation; empty: echo its data
        self.result = result
        self.data_is_last: bool | None = None
        self.own_call: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        reason = transport.close_handshake
        sys.stderr.write(f"benchmarks.worker: the engine has closed the connection: {reason}\n")
        os._exit(1)  # nothing to clean up, and no result to report

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(_INVOKE):
            transport.send(TEXT, self.answer(payload))
        else:
            self.on_other(orjson.loads(payload), payload)

    def answer(self, payload: bytes) -> bytes:
        """The ``invocationresult`` for one ``invokefunction``."""
        if self.data_is_last is None:
            self.data_is_last = list(orjson.loads(payload))[-1] == "data"
        if self.data_is_last:
            invocation_id = text_after(_INVOCATION_ID, payload)
            function_id = text_after(_FUNCTION_ID, payload)
            result = self.result or payload[payload.index(_DATA) + len(_DATA) : -1]
        else:
            message = orjson.loads(payload)
            invocation_id = message["invocation_id"].encode()
            function_id = message["function_id"].encode()
            result = self.result or orjson.dumps(message["data"])
        return (
            b'{"type":"invocationresult","invocation_id":"%b","function_id":"%b","result":%b}'
            % (invocation_id, function_id, result)
        )

    def on_other(self, message: dict[str, Any], payload: bytes) -> None:
        """An invocation whose keys come in another order, or the result of an own call."""
        if message["type"] == "invokefunction":
            self.transport.send(TEXT, self.answer(payload))
        elif message["type"] == "invocationresult":
            if "error" in message:
                raise RuntimeError(f"the engine refused a call: {message['error']}")
            self.own_call.set_result(None)

    def send(self, message: dict[str, Any]) -> None:
        self.transport.send(TEXT, orjson.dumps(message))

    def register_function(self, function_id: str) -> None:
        self.send({"type": "registerfunction", "id": function_id})

    def register_route(self, function_id: str, method: str, path: str) -> None:
        trigger = {"id": f"{method} {path}", "trigger_type": "http", "function_id": function_id}
        config = {"api_path": path, "http_method": method}
        self.send({"type": "registertrigger", **trigger, "config": config})

    async def registered(self, function_id: str) -> None:
        """Return when all registrations are applied: a call sent after them has come back."""
        self.own_call = asyncio.get_running_loop().create_future()
        call = {"type": "invokefunction", "invocation_id": "00000000-0000-4000-8000-000000000000"}
        self.send({**call, "function_id": function_id, "data": {}})
        await asyncio.wait_for(self.own_call, REGISTRATION_TIMEOUT_S)


class Caller(Connection):
    """Keeps calls in flight and times each."""

    def __init__(self, function_id: str) -> None:
        super().__init__()
        self.function_id = function_id.encode()
        self.calls = 0

    async def measure(self, in_flight: int, payload: int, seconds: float) -> dict[str, float]:
        data = orjson.dumps({"payload": "x" * payload})
        self.tail = b'","function_id":"%b","data":%b}' % (self.function_id, data)
        self.sent_at: dict[bytes, float] = {}
        self.took: list[float] = []
        self.all_back = asyncio.get_running_loop().create_future()
        started = perf_counter()
        self.until = started + seconds
        for _ in range(in_flight):
            self.call(perf_counter())
        await self.all_back
        elapsed = perf_counter() - started
        return {
            "calls_per_s": len(self.took) / elapsed,
            "p50_ms": percentile(self.took, 50) * 1000,
            "p99_ms": percentile(self.took, 99) * 1000,
        }

    def call(self, now: float) -> None:
        self.calls += 1
        invocation_id = b"00000000-0000-4000-8000-%012x" % self.calls
        self.sent_at[invocation_id] = now
        self.transport.send(
            TEXT, b'{"type":"invokefunction","invocation_id":"' + invocation_id + self.tail
        )

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if _RESULT not in payload[:250]:
            message = orjson.loads(payload)
            if "error" in message:
                raise RuntimeError(f"the engine refused a call: {message['error']}")
            if "result" not in message:
                return
        now = perf_counter()
        self.took.append(now - self.sent_at.pop(text_after(_INVOCATION_ID, payload)))
        if now < self.until:
            self.call(now)
        elif not self.sent_at:
            self.all_back.set_result(None)


def text_after(key: bytes, payload: bytes) -> bytes:
    """The string that follows ``key``, which ends with the opening quote."""
    start = payload.index(key) + len(key)
    return payload[start : payload.index(b'"', start)]


async def connect(url: str, connection: AnyConnection, number: int = 0) -> AnyConnection:
    address = f"127.0.0.{1 + number // CONNECTIONS_PER_ADDRESS}"
    buffer = SMALL_READ_BUFFER_BYTES if number else LARGE_READ_BUFFER_BYTES
    await ws_connect(lambda: connection, url, local_addr=(address, 0), read_buffer_init_size=buffer)
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
    caller = await connect(options.url, Caller("bench.echo"))
    say({"event": "ready"})
    async for line in lines:
        say(await caller.measure(line["in_flight"], line["payload"], line["seconds"]))


def say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(message) + b"\n")
    sys.stdout.buffer.flush()


async def stdin_lines() -> Lines:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield orjson.loads(line)


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
