"""A worker connection on a plain blocking socket, so that a test decides when to read.

It keeps reading after the engine has died: an answer that the kernel still has was given.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec

from tests.support.rawsocket import CLOSE, TEXT, frame

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
READ_BYTES = 1024 * 1024
LIMIT_S = 20.0


class Missing:
    """There is no value: an answer without ``result``."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


class Refused(Exception):
    """The engine answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]


class Answer(msgspec.Struct):
    """An ``invocationresult``."""

    type: str
    invocation_id: str = ""
    result: Any = MISSING
    error: dict[str, Any] | None = None


class Link:
    """One connection.

    :ivar open: calls can be sent
    :ivar ended: nothing comes any more
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self._calls = 0
        self.open = True
        self.ended = False
        self._socket.sendall(UPGRADE)
        while b"\r\n\r\n" not in self._data:
            self._read()
            if self.ended:
                raise ConnectionError(f"no answer to the upgrade: {self._data!r}")
        self._data = self._data.partition(b"\r\n\r\n")[2]

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    def cut(self) -> None:
        """End the connection as a crash would: what was not read is thrown away."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
        self.open, self.ended = False, True

    def send(self, function_id: str, data: dict[str, Any], **more: Any) -> str:
        """Call a function; the invocation's id.

        :param more: fields of the message, such as ``action``
        """
        self._calls += 1
        invocation_id = f"00000000-0000-4000-8000-{self._calls:012x}"
        message = {"invocation_id": invocation_id, "function_id": function_id, "data": data}
        self.tell("invokefunction", **message, **more)
        return invocation_id

    def tell(self, type: str, **fields: Any) -> None:
        """Send any message."""
        self._write(frame(TEXT, msgspec.json.encode({"type": type, **fields})))

    def receive(self) -> list[Answer]:
        """Read once; the answers that are complete now."""
        messages = [msgspec.json.decode(text, type=Answer) for text in self.texts()]
        return [message for message in messages if message.type == "invocationresult"]

    def texts(self) -> list[bytes]:
        """Read once; the messages that are complete now."""
        self._read()
        texts = []
        while (part := self._next_frame()) is not None:
            opcode, payload = part
            if opcode == CLOSE and self.open:
                self._write(frame(CLOSE, payload))
                self.open = False
            elif opcode == TEXT:
                texts.append(payload)
        return texts

    def call(self, function_id: str, data: dict[str, Any]) -> Any:
        """Call a function and wait; ``MISSING`` when it has no result.

        :raises Refused: it has an error instead
        """
        return self.wait(self.send(function_id, data))

    def wait(self, invocation_id: str) -> Any:
        """Wait for the answer of a call; others that come before it are dropped.

        :raises Refused: it is an error
        """
        while not self.ended:
            for answer in self.receive():
                if answer.invocation_id == invocation_id:
                    if answer.error is not None:
                        raise Refused(answer.error)
                    return answer.result
        raise ConnectionError("the connection ended before the answer")

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except ConnectionError:
            data = b""
        self._data += data
        if not data:
            self.open, self.ended = False, True

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except ConnectionError:
            self.open = False

    def _next_frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[2:start], "big")
        if len(data) < max(start + size, start):
            return None
        self._data = data[start + size :]
        return data[0] & 0x0F, data[start : start + size]
