"""The way out of a connection that we made: the frames of a client are masked.

A mask must not be guessable by who chooses the payload, so masks are random bytes, fetched
in bulk.
"""

from __future__ import annotations

import os
import struct

from websockets.speedups import apply_mask

from iii.websocket.outbox import (
    FRAGMENT_ABOVE_BYTES,
    FRAGMENT_BYTES,
    GATHERED_PARTS,
    LARGE_FRAME_BYTES,
    Outbox,
)

_TEXT, _BINARY, _CONTINUATION, _NOT_FINAL = 0x81, 0x82, 0x80, 0x7F
_MASKED = 0x80
_SHORT, _MEDIUM = 126, 65536
_MASKS_AT_ONCE = 1_024

_SHORT_TEXT = tuple(bytes((_TEXT, _MASKED | length)) for length in range(_SHORT))
_medium_header = struct.Struct("!BBH").pack
_long_header = struct.Struct("!BBQ").pack
_masks: list[bytes] = []


def next_mask() -> bytes:
    """Four bytes that nobody can guess."""
    if not _masks:
        many = os.urandom(4 * _MASKS_AT_ONCE)
        _masks.extend(many[at : at + 4] for at in range(0, len(many), 4))
    return _masks.pop()


def masked_frame(kind: int, payload: bytes) -> bytes:
    """One frame as a client sends it.

    :param kind: its first byte
    """
    mask = next_mask()
    return _header(kind, len(payload)) + mask + apply_mask(payload, mask)


def _header(kind: int, length: int) -> bytes:
    if length < _SHORT:
        return bytes((kind, _MASKED | length))
    if length < _MEDIUM:
        return _medium_header(kind, _MASKED | 126, length)
    return _long_header(kind, _MASKED | 127, length)


class MaskedOutbox(Outbox):
    """An ``Outbox`` whose frames are a client's."""

    __slots__ = ()

    def send_text(self, payload: bytes) -> None:
        """Outbox: one text message, masked."""
        length = len(payload)
        if length < _SHORT:
            header = _SHORT_TEXT[length]
        elif length < _MEDIUM:
            header = _medium_header(_TEXT, _MASKED | 126, length)
        else:
            self.send_message(payload)
            return
        mask = next_mask()
        masked = apply_mask(payload, mask)
        if self._turn.open and self._queue is None and not self.closing:
            gathered = self._gathered
            if not gathered:
                self._turn.later(self.flush)
            gathered += (header + mask, masked)
            if len(gathered) >= GATHERED_PARTS and length < LARGE_FRAME_BYTES:
                self.flush()
        else:
            self.send(header + mask + masked)

    def send_message(self, payload: bytes, *, binary: bool = False) -> None:
        """Outbox: one message, in pieces when it is large."""
        first = _BINARY if binary else _TEXT
        length = len(payload)
        if length <= FRAGMENT_ABOVE_BYTES:
            self.send(masked_frame(first, payload))
            return
        if self.closing:
            return
        self.flush()
        for at in range(0, length, FRAGMENT_BYTES):
            kind = first if at == 0 else _CONTINUATION
            if at + FRAGMENT_BYTES < length:
                kind &= _NOT_FINAL
            self._write_or_queue(masked_frame(kind, payload[at : at + FRAGMENT_BYTES]))


def _forget_randomness() -> None:
    """A forked child must not use its parent's masks."""
    _masks.clear()


os.register_at_fork(after_in_child=_forget_randomness)
