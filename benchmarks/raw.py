"""Bytes in, bytes out: how the raw worker reads invocations and writes frames.

An invocation's id and data are cut out of the frame, the answer is put together
from constants.  That relies on the order of the keys, so the first invocation is
read with a JSON parser to see whether ``data`` comes last; when it doesn't, all are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec
from websockets.speedups import apply_mask

INVOKE = b'{"type":"invokefunction",'
INVOCATION_ID = b'"invocation_id":"'
FUNCTION_ID = b'"function_id":"'
RESULT = b'"result":'
#: first byte of a frame: whole, and its kind
TEXT, PING = 0x81, 0x89
_DATA = b',"data":'
_ANSWER = b'{"type":"invocationresult","invocation_id":"%b","function_id":"%b","result":%b}'

# RFC 6455 wants a new key for every frame.  That keeps hostile scripts from choosing the
# bytes on the wire; here it would only cost the worker time.  Unmasking costs the same.
_MASK = bytes(byte | 1 for byte in os.urandom(4))


class Answers:
    """Makes the ``invocationresult`` for each ``invokefunction``.

    :param result: what every invocation is answered with, JSON; empty: its own data
    """

    def __init__(self, result: bytes = b"") -> None:
        self._result = result
        self._data_is_last: bool | None = None

    def answer(self, payload: bytes) -> bytes:
        if self._data_is_last is None:
            self._data_is_last = list(msgspec.json.decode(payload))[-1] == "data"
        if not self._data_is_last:
            return self._parsed(payload)
        return _ANSWER % (
            text_after(INVOCATION_ID, payload),
            text_after(FUNCTION_ID, payload),
            self._result or payload[payload.index(_DATA) + len(_DATA) : -1],
        )

    def _parsed(self, payload: bytes) -> bytes:
        message = msgspec.json.decode(payload)
        return _ANSWER % (
            message["invocation_id"].encode(),
            message["function_id"].encode(),
            self._result or msgspec.json.encode(message["data"]),
        )


def text_after(key: bytes, payload: bytes) -> bytes:
    """The string that follows ``key``, which ends with the opening quote."""
    start = payload.index(key) + len(key)
    return payload[start : payload.index(b'"', start)]


def text_frame(payload: bytes) -> tuple[bytes, bytes]:
    """A whole masked text frame, as a client sends it: its header and its payload."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 65_536:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + _MASK, apply_mask(payload, _MASK)


def pong(payload: bytes) -> bytes:
    """The answer to a ping."""
    return bytes((0x8A, 0x80 | len(payload))) + _MASK + apply_mask(payload, _MASK)


@dataclass
class Counted:
    """What ``FrameCounter.feed`` found.

    :ivar texts: so many whole text frames
    :ivar pings: payloads of pings
    """

    texts: int
    pings: tuple[bytes, ...] = ()


class FrameCounter:
    """Counts a server's frames without looking into them.

    :raises ValueError: from ``feed``, when the server closes
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Counted:
        """The frames that ``data`` completes."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        counted = Counted(0)
        at, end = 0, len(data)
        while at + 2 <= end:
            size, start = data[at + 1], at + 2
            if size > 125:
                start += 2 if size == 126 else 8
                if start > end:
                    break
                size = int.from_bytes(data[at + 2 : start], "big")
            if start + size > end:
                break
            if data[at] == TEXT:
                counted.texts += 1
            else:
                self._other(data[at], data[start : start + size], counted)
            at = start + size
        self._rest = data[at:]
        return counted

    def _other(self, kind: int, payload: bytes, counted: Counted) -> None:
        if kind != PING:
            raise ValueError(f"frame {kind:#x} {payload[:100]!r}")
        counted.pings += (payload,)
