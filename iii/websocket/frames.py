"""The fast way in for WebSocket frames.

Autobahn's frame-by-frame state machine costs half of a relayed message.  Nearly
all traffic is whole, final, masked text and binary frames on an open
connection, and those are decoded here in one loop.  *Everything else* is handed
to Autobahn untouched, from the first byte of the frame on: the handshake,
control frames, fragments, reserved bits, unmasked or oversize frames, invalid
text, every state but OPEN.  So the protocol stays exactly as strict, and every
error is Autobahn's own.

A frame that is still incomplete is unmasked and checked as it comes in, so a
peer that drips bytes costs no more than one that doesn't, and invalid UTF-8
fails on arrival.

The rule that is easy to get wrong: Autobahn may only be given bytes at a frame
boundary, and the fast path may only start when Autobahn holds nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.logger import Logger
from websockets.speedups import apply_mask

MIB = 1024 * 1024
MAX_FRAME_BYTES = 16 * MIB
MAX_MESSAGE_BYTES = 64 * MIB

_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88

_utf8 = codecs.getincrementaldecoder("utf-8")
_SURROGATE = b"\xed\xa0"


Receive = Callable[[bytes, bool], None]
"""Takes a message, and whether it is binary."""


class _Unfinished:
    """A frame whose header is here and whose payload is still coming."""

    __slots__ = ("_decoder", "_header", "_mask", "_missing", "is_binary", "payload")

    def __init__(self, is_binary: bool, header: bytes, length: int) -> None:
        self.is_binary = is_binary
        self.payload = bytearray()
        self._header = header
        self._mask = header[-4:]
        self._missing = length
        self._decoder = None if is_binary else _utf8()

    def take(self, data: bytes) -> None:
        """Unmask what belongs to this frame.

        :raises UnicodeDecodeError: the text is not UTF-8; the bytes are kept all the same
        """
        part = data[: self._missing]
        taken = len(part)
        part = apply_mask(part, self._mask)
        self.payload += part
        self._missing -= taken
        turn = taken & 3
        self._mask = self._mask[turn:] + self._mask[:turn]
        decoder = self._decoder
        if decoder is not None:
            decoder.decode(part, self.complete)
            if _SURROGATE <= decoder.getstate()[0] < b"\xee":
                # Half a surrogate: Python waits for the third byte to refuse it.
                decoder.decode(b"", True)

    @property
    def complete(self) -> bool:
        """Whether the whole payload is here."""
        return self._missing == 0

    def as_received(self) -> bytes:
        """The frame so far, as it was on the wire."""
        return self._header + apply_mask(self.payload, self._header[-4:])


class _LibraryLog:
    """Autobahn's own lines, all for debugging.

    It warns about every connection that ends without a goodbye, and twice about a
    protocol error.  What is worth a line is said once, by who knows whose it is.
    """

    def __init__(self) -> None:
        log = Logger(namespace="autobahn.websocket")
        self.warn = self.info = log.debug
        self.error, self.failure = log.error, log.failure

    def debug(self, *args: object, **fields: object) -> None:
        """Per chunk and per frame: never."""

    trace = debug


class FastFrames(WebSocketServerProtocol):
    """A server protocol that calls ``frame_received`` for every message.

    Fragmented messages arrive there too, through Autobahn's ``onMessage``.
    """

    log = _LibraryLog()

    # Class attributes until needed: most connections are idle most of the time.
    _head = b""
    _unfinished: _Unfinished | None = None

    def frame_received(self, payload: bytes, is_binary: bool) -> None:
        """One whole message; a connection without a role ignores it."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Autobahn: a message that took the generic path."""
        self.frame_received(payload, isBinary)

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes from the peer."""
        if self._unfinished is not None:
            data = self._continue_frame(self._unfinished, data)
            if not data:
                return
        elif (
            self.state != self.STATE_OPEN
            or self.data
            or self.current_frame is not None
            or self.inside_message
        ):
            if self._head:
                # Half a frame head came before we began to close.
                data = self._head + data
                self._head = b""
            self._generic(data)
            return
        elif self._head:
            data = self._head + data
            self._head = b""
        self._whole_frames(data)

    def _whole_frames(self, data: bytes) -> None:
        """Decode frame after frame; ``data`` starts at a frame boundary."""
        at = 0
        end = len(data)
        while end - at >= 2:
            kind = data[at]
            length = data[at + 1] - 128
            if (kind != _TEXT and kind != _BINARY) or length < 0:
                stop = at + 6 + length
                if kind < _CLOSE or not 0 <= length < 126 or stop > end:
                    self._generic(data[at:])
                    return
                # A whole control frame: what is behind it stays on the fast path.
                self._generic(data[at:stop])
                if self.state != self.STATE_OPEN:
                    if stop < end:
                        self._generic(data[stop:])
                    return
                at = stop
                continue
            start = at + 6
            if length == 126:
                start = at + 8
                length = int.from_bytes(data[at + 2 : at + 4], "big")
                short_form = length < 126
            elif length == 127:
                start = at + 14
                length = int.from_bytes(data[at + 2 : at + 10], "big")
                short_form = length < 65536
            else:
                short_form = False
            if start > end:
                break
            if short_form or length > MAX_FRAME_BYTES:
                self._generic(data[at:])
                return
            stop = start + length
            if stop > end:
                unfinished = _Unfinished(kind == _BINARY, data[at:start], length)
                self._unfinished = unfinished
                self._continue_frame(unfinished, data[start:])
                return
            payload = apply_mask(data[start:stop], data[start - 4 : start])
            if kind == _TEXT and not payload.isascii() and not _is_utf8(payload):
                self._generic(data[at:])
                return
            at = stop
            self.frame_received(payload, kind == _BINARY)
            if self.state != self.STATE_OPEN:
                # Closed by what it said: the rest is Autobahn's to judge.
                if at < end:
                    self._generic(data[at:])
                return
        if at < end:
            self._head = data[at:]

    def _continue_frame(self, unfinished: _Unfinished, data: bytes) -> bytes:
        """Feed a frame that was cut; what is left over starts at a boundary."""
        if self.state != self.STATE_OPEN:
            # We are closing: Autobahn skips the frame and finds the close reply behind it.
            self._unfinished = None
            self._generic(unfinished.as_received() + data)
            return b""
        before = len(unfinished.payload)
        try:
            unfinished.take(data)
        except UnicodeDecodeError:
            self._unfinished = None
            rest = data[len(unfinished.payload) - before :]
            self._generic(unfinished.as_received() + rest)
            return b""
        taken = len(unfinished.payload) - before
        if unfinished.complete:
            self._unfinished = None
            self.frame_received(bytes(unfinished.payload), unfinished.is_binary)
            rest = data[taken:]
            if rest and self.state != self.STATE_OPEN:
                self._generic(rest)
                return b""
            return rest
        return b""

    def _generic(self, data: bytes) -> None:
        """Autobahn's own path."""
        self._dataReceived(data)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
