"""A WebSocket client that does exactly what a test says, and nothing by itself.

It answers no ping and no close frame, masks with a fixed key and can send frames
no library would: unmasked, fragmented, oversize, half of one.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from websockets.speedups import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x11\x22\x33\x44"
WAIT_S = 2.0


@dataclass
class Frame:
    """One frame of the engine."""

    opcode: int
    payload: bytes
    final: bool = True

    @property
    def close_code(self) -> int | None:
        """The code of a close frame, None when it has none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None


def frame(opcode: int, payload: bytes, *, final: bool = True, masked: bool = True) -> bytes:
    """The bytes of one client frame."""
    head = bytes((opcode | (0x80 if final else 0),))
    mask_bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head += bytes((mask_bit | length,))
    elif length < 65536:
        head += bytes((mask_bit | 126,)) + length.to_bytes(2, "big")
    else:
        head += bytes((mask_bit | 127,)) + length.to_bytes(8, "big")
    if not masked:
        return head + payload
    return head + MASK + apply_mask(payload, MASK)


class RawSocket(Protocol):
    """One TCP connection to the worker port.

    :ivar head: the answer to the request as text, once it is there
    :ivar frames: frames that nobody took yet
    """

    def __init__(self) -> None:
        self.head = ""
        self.body = b""
        self.frames: list[Frame] = []
        self.lost = False
        self._data = b""
        self._waiting: list[Deferred[None]] = []

    # Twisted ---------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Protocol: bytes of the engine."""
        self._data += data
        if not self.head:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head = self._data[:end].decode()
            self._data = self._data[end + 4 :]
        if self.status == 101:
            self._parse()
        else:
            self.body, self._data = self.body + self._data, b""
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Protocol: it is over."""
        self.lost = True
        self._wake()

    def _parse(self) -> None:
        while len(self._data) >= 2:
            data = self._data
            length, at = data[1] & 0x7F, 2
            if length == 126:
                length, at = int.from_bytes(data[2:4], "big"), 4
            elif length == 127:
                length, at = int.from_bytes(data[2:10], "big"), 10
            if len(data) < at + length:
                return
            opcode, final = data[0] & 0x0F, bool(data[0] & 0x80)
            self.frames.append(Frame(opcode, data[at : at + length], final))
            self._data = data[at + length :]

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    # Out -------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self.transport is not None
        self.transport.write(data)

    def text(self, payload: str | bytes) -> None:
        """Send a text frame."""
        self.raw(frame(TEXT, payload.encode() if isinstance(payload, str) else payload))

    def binary(self, payload: bytes) -> None:
        """Send a binary frame."""
        self.raw(frame(BINARY, payload))

    def close_frame(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame."""
        payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        self.raw(frame(CLOSE, payload))

    def drop(self) -> None:
        """End the TCP connection, without a goodbye."""
        if self.transport is not None and not self.lost:
            self.transport.abortConnection()

    def pause(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    # In --------------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The HTTP status of the answer, 0 before it is there."""
        return int(self.head.split(" ", 2)[1]) if self.head else 0

    async def until(self, there: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
        """Wait until ``there()``."""
        while not there():
            if self.lost:
                raise AssertionError(f"the connection ended while waiting for {what}")
            changed: Deferred[None] = Deferred()
            self._waiting.append(changed)
            changed.addTimeout(wait_s, reactor)
            try:
                await changed
            except Exception as error:
                raise AssertionError(f"no {what} within {wait_s} s; got {self.frames}") from error

    async def next_frame(self, wait_s: float = WAIT_S) -> Frame:
        """The next frame, whatever it is."""
        await self.until(lambda: bool(self.frames), "frame", wait_s)
        return self.frames.pop(0)

    async def next_message(self, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next frame, which must be a JSON message."""
        got = await self.next_frame(wait_s)
        if got.opcode != TEXT:
            raise AssertionError(f"expected a message, got {got}")
        message: dict[str, Any] = msgspec.json.decode(got.payload)
        return message

    async def ended(self, wait_s: float = WAIT_S) -> None:
        """Wait until the TCP connection is over."""
        while not self.lost:
            changed: Deferred[None] = Deferred()
            self._waiting.append(changed)
            changed.addTimeout(wait_s, reactor)
            try:
                await changed
            except Exception as error:
                raise AssertionError(f"still connected after {wait_s} s") from error

    async def answer(self) -> tuple[int, str]:
        """The HTTP answer of a refused upgrade: status and body."""
        await self.until(lambda: bool(self.head), "answer")
        await self.ended()
        return self.status, self.body.decode()


async def dial(port: int, host: str = "127.0.0.1") -> RawSocket:
    """A TCP connection that has sent nothing yet."""
    socket: RawSocket = await connectProtocol(HostnameEndpoint(reactor, host, port), RawSocket())
    return socket


def upgrade(path: str, port: int, **changes: str | None) -> bytes:
    """An upgrade request; ``changes`` replace headers (underscores are dashes), None drops."""
    headers: dict[str, str | None] = {
        "host": f"127.0.0.1:{port}",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        "sec-websocket-version": "13",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


async def open_socket(
    port: int, path: str = "/", over: RawSocket | None = None, **headers: str | None
) -> RawSocket:
    """A WebSocket whose upgrade was accepted.

    :param over: a connection that has sent nothing yet
    """
    socket = over or await dial(port)
    socket.raw(upgrade(path, port, **headers))
    await socket.until(lambda: bool(socket.head), "answer to the upgrade")
    if socket.status != 101:
        raise AssertionError(f"the upgrade of {path} was refused: {socket.head} {socket.body!r}")
    return socket


async def request(port: int, data: bytes) -> tuple[int, str, str]:
    """Send an HTTP request; the answer's status, head and body."""
    socket = await dial(port)
    socket.raw(data)
    try:
        status, body = await socket.answer()
    finally:
        socket.drop()
    return status, socket.head.lower(), body
