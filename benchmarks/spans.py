"""A worker's telemetry in one process: so many spans a second, as an SDK sends them.

    python -m benchmarks.spans --port PORT

For every line ``{"per_s": N, "seconds": S}`` it makes the engine forget what it has
recorded, sends ``N * S`` spans over ``/otel``, evenly, and prints how long it took until all
of them were stored.  One that is missing ends it.
"""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
from time import perf_counter, sleep, time_ns
from typing import Any, NoReturn

import msgspec
from websockets.speedups import apply_mask

from benchmarks.raw import text_frame

UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FRAMES_PER_S = 40
BINARY = 0x82
PATIENCE_S = 20.0
_MASK = b"\x21\x43\x65\x87"


class Socket:
    """A WebSocket, and no more of it than is needed."""

    def __init__(self, port: int, path: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.sendall(UPGRADE % path)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._some()
        status, _, self._rest = head.partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 101"):
            fail(f"the worker port answered {status.splitlines()[0]!r}")

    def send_binary(self, payload: bytes) -> None:
        """One binary message."""
        size = len(payload)
        if size < 126:
            length = bytes((0x80 | size,))
        elif size < 65_536:
            length = b"\xfe" + size.to_bytes(2, "big")
        else:
            length = b"\xff" + size.to_bytes(8, "big")
        self._socket.sendall(bytes((BINARY,)) + length + _MASK + apply_mask(payload, _MASK))

    def call(self, function_id: str) -> Any:
        """Call a function of the engine."""
        id = f"00000000-0000-4000-8000-{secrets.token_hex(6)}"
        message = {
            "type": "invokefunction",
            "invocation_id": id,
            "function_id": function_id,
            "data": {},
        }
        self._socket.sendall(b"".join(text_frame(msgspec.json.encode(message))))
        while True:
            answer = self._message()
            if answer.get("invocation_id") == id:
                return answer["result"]

    def _message(self) -> Any:
        size = self._take(2)[1] & 0x7F
        if size == 126:
            size = int.from_bytes(self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(self._take(8), "big")
        return msgspec.json.decode(self._take(size) or b"{}")

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._rest += self._some()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def _some(self) -> bytes:
        data = self._socket.recv(256 * 1024)
        if not data:
            fail("the engine has closed the connection")
        return data


def frame(spans: int) -> bytes:
    """An ``OTLP`` frame with so many spans, as the Node SDK writes them."""
    now = time_ns()
    trace = secrets.token_hex(16)
    return b"OTLP" + msgspec.json.encode(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": [text("service.name", "orders")]},
                    "scopeSpans": [
                        {
                            "scope": {"name": "iii-sdk", "version": "1.0.0"},
                            "spans": [span(trace, now) for _ in range(spans)],
                        }
                    ],
                }
            ]
        }
    )


def logs(records: int) -> bytes:
    """A ``LOGS`` frame with so many records."""
    record = {
        "timeUnixNano": str(time_ns()),
        "severityNumber": 9,
        "body": {"stringValue": "order stored"},
        "attributes": [text("orderId", secrets.token_hex(8))],
    }
    resource = {"attributes": [text("service.name", "orders")]}
    scope = {"scope": {"name": "iii-sdk"}, "logRecords": [record] * records}
    return b"LOGS" + msgspec.json.encode(
        {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}
    )


def span(trace: str, now: int) -> dict[str, Any]:
    """One span with a parent and four attributes."""
    return {
        "traceId": trace,
        "spanId": secrets.token_hex(8),
        "parentSpanId": "00f067aa0ba902b7",
        "name": "call orders::create",
        "kind": 2,
        "startTimeUnixNano": str(now - 1_000_000),
        "endTimeUnixNano": str(now),
        "attributes": [
            text("function_id", "orders::create"),
            text("faas.trigger", "other"),
            text("iii.function.kind", "user"),
            {"key": "attempt", "value": {"intValue": "1"}},
        ],
        "status": {"code": 1},
    }


def text(key: str, value: str) -> dict[str, Any]:
    """An attribute."""
    return {"key": key, "value": {"stringValue": value}}


def send(
    telemetry: Socket, worker: Socket, per_s: int, seconds: float, logs_per_s: int = 0
) -> float:
    """Send spans evenly; seconds until all were stored.

    :param logs_per_s: log records beside them; then nothing is forgotten, and nobody counts
    """
    count = int(FRAMES_PER_S * seconds)
    frames = [frame(per_s // FRAMES_PER_S) for _ in range(count)]
    if not logs_per_s:
        worker.call("engine::traces::clear")
    before = stored(worker)
    wanted = per_s // FRAMES_PER_S * count
    started = perf_counter()
    for number, payload in enumerate(frames):
        sleep(max(0.0, started + number / FRAMES_PER_S - perf_counter()))
        telemetry.send_binary(payload)
        if logs_per_s:
            telemetry.send_binary(logs(logs_per_s // FRAMES_PER_S))
    if logs_per_s:
        return perf_counter() - started
    while (there := stored(worker) - before) < wanted:
        if perf_counter() - started > seconds + PATIENCE_S:
            fail(f"{wanted} spans were sent and {there} stored")
        sleep(0.02)
    return perf_counter() - started


def stored(worker: Socket) -> int:
    """How many spans the engine has."""
    health = worker.call("engine::health::check")
    return int(health["components"]["spans"]["details"]["stored_spans"])


def fail(reason: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"spans: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    telemetry, worker = Socket(port, b"/otel"), Socket(port, b"/")
    print("{}", flush=True)
    for line in sys.stdin:
        command = msgspec.json.decode(line)
        took = send(telemetry, worker, **command)
        print(msgspec.json.encode({"took_s": took}).decode(), flush=True)


if __name__ == "__main__":
    main()
