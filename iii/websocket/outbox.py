"""The way out: frames to one socket, in order, bounded.

While the kernel takes everything, a frame costs one ``send`` and no buffer.
Frames of one turn go out together.  What the kernel refuses waits here, not in
the transport, which only ever gets a window of it: so a pong overtakes the bulk
that is queued, and the connection knows how much it owes.

A peer that takes nothing for ``STALL_S`` seconds while something waits is
dropped; one that takes it slowly is not.  The limit on what may wait is the
caller's to enforce (``queued``).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from iii.engine.clock import Clock, Timer
from iii.engine.turn import Turn

WINDOW_BYTES = 256 * 1024
STALL_S = 60.0
MAX_QUEUED_BYTES = 64 * 1024 * 1024
# Many tiny frames cost more than their bytes.
MAX_QUEUED_FRAMES = 100_000
_STALL_LOOKS = 4
"""How often it is looked at within that time: the last look may be that much late."""

# So many parts (two a frame) go out before the turn ends, so that the peer begins on
# them while the rest is made: with everything at the end the two would take turns.
# Large frames keep it busy anyway, and more, smaller writes of them cost more.
GATHERED_PARTS = 32
LARGE_FRAME_BYTES = 2048

_TEXT = 0x81
_BINARY = 0x82
_CONTINUATION = 0x80
_NOT_FINAL = 0x7F
FRAGMENT_ABOVE_BYTES = 16 * 1024 * 1024
FRAGMENT_BYTES = 1024 * 1024

_SHORT_TEXT = tuple(bytes((_TEXT, length)) for length in range(126))
_medium_header = struct.Struct("!BBH").pack
_long_header = struct.Struct("!BBQ").pack
_SHORT = 126
_MEDIUM = 65536


def _fragments(payload: bytes, first: int) -> Iterator[bytes]:
    """A message as several frames."""
    length = len(payload)
    for at in range(0, length, FRAGMENT_BYTES):
        part = payload[at : at + FRAGMENT_BYTES]
        kind = first if at == 0 else _CONTINUATION
        if at + FRAGMENT_BYTES < length:
            kind &= _NOT_FINAL
        yield _header(kind, len(part)) + part


def _header(kind: int, length: int) -> bytes:
    if length < _SHORT:
        return bytes((kind, length))
    if length < _MEDIUM:
        return _medium_header(kind, 126, length)
    return _long_header(kind, 127, length)


def text_frame(payload: bytes) -> bytes:
    """One text message as it goes over the wire, for ``send`` to any number of peers."""
    if len(payload) <= FRAGMENT_ABOVE_BYTES:
        return _header(_TEXT, len(payload)) + payload
    return b"".join(_fragments(payload, _TEXT))


@implementer(IPullProducer)
class Outbox:
    """Frames waiting for one transport.

    :param transport: a Twisted transport; a plain TCP one is written to directly
    :param stalled: called once when the peer took nothing for ``STALL_S``
    """

    __slots__ = (
        "_clock",
        "_drained",
        "_gathered",
        "_held_before",
        "_queue",
        "_socket",
        "_stall",
        "_stalled",
        "_still",
        "_transport",
        "_turn",
        "closing",
        "queued",
    )

    def __init__(
        self,
        transport: Any,
        turn: Turn,
        clock: Clock,
        stalled: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._turn = turn
        self._clock = clock
        self._stalled = stalled
        self._drained: Callable[[], None] | None = None
        self._gathered: list[bytes] = []
        self._queue: deque[bytes] | None = None
        self._stall: Timer | None = None
        self._held_before = 0
        self._still = 0
        self.queued = 0
        self.closing = False
        plain = isinstance(transport, tcp.Connection) and not transport.TLS
        self._socket = transport.socket if plain else None

    def send_text(self, payload: bytes) -> None:
        """Send one text message after everything sent before."""
        length = len(payload)
        if length < _SHORT:
            header = _SHORT_TEXT[length]
        elif length < _MEDIUM:
            header = _medium_header(_TEXT, 126, length)
        else:
            self.send_message(payload)
            return
        if self._turn.open and self._queue is None and not self.closing:
            # The hot path: header and payload meet when the turn's frames are joined.
            gathered = self._gathered
            if not gathered:
                self._turn.later(self.flush)
            gathered += (header, payload)
            if len(gathered) >= GATHERED_PARTS and length < LARGE_FRAME_BYTES:
                self.flush()
        else:
            self.send(header + payload)

    def send_message(self, payload: bytes, *, binary: bool = False) -> None:
        """Send a message as one frame or, above 16 MiB, as frames of 1 MiB (01 §16.4)."""
        first = _BINARY if binary else _TEXT
        length = len(payload)
        if length <= FRAGMENT_ABOVE_BYTES:
            self.send(_header(first, length) + payload)
            return
        if self.closing:
            return
        # Piece by piece, so that a pong fits in between when the kernel is full.
        self.flush()
        for frame in _fragments(payload, first):
            self._write_or_queue(frame)

    def send(self, frame: bytes) -> None:
        """Send ``frame`` after everything sent before."""
        if self.closing:
            return
        if self._queue is not None:
            self._enqueue(frame)
        elif self._turn.open:
            if not self._gathered:
                self._turn.later(self.flush)
            self._gathered.append(frame)
        else:
            self._write(frame)

    def send_ahead(self, frame: bytes) -> None:
        """Send a control frame before everything that waits."""
        if self._queue is None:
            self.send(frame)
        elif not self.closing and not self.full:
            # Who never reads and pings on gets no more pongs than fit.
            self._queue.appendleft(frame)
            self.queued += len(frame)

    def on_drained(self, drained: Callable[[], None]) -> None:
        """Call ``drained()`` each time nothing waits any more."""
        self._drained = drained

    @property
    def full(self) -> bool:
        """Whether more waits than may: the peer doesn't read."""
        return self._queue is not None and (
            self.queued > MAX_QUEUED_BYTES or len(self._queue) > MAX_QUEUED_FRAMES
        )

    @property
    def queued_frames(self) -> int:
        """How many frames, or turns' worth of them, wait."""
        return 0 if self._queue is None else len(self._queue)

    def flush(self) -> None:
        """Write what this turn gathered."""
        gathered = self._gathered
        if not gathered:
            return
        frame = b"".join(gathered)
        gathered.clear()
        self._write_or_queue(frame)

    def send_last(self, frame: bytes) -> None:
        """Send the close frame; nothing may follow it.

        At once, whatever the turn: the connection may be ended right after.
        """
        self.flush()
        self._write_or_queue(frame)
        self.closing = True

    def discard(self) -> None:
        """Forget what waits: the peer does not read, and the close frame has to get through."""
        self._gathered.clear()
        if self._queue is not None:
            self._queue.clear()
            self.queued = 0

    def hand_over(self) -> None:
        """Give the transport all that waits: it ends the connection behind the last byte."""
        queue, self._queue = self._queue, None
        if queue is not None:
            self._cancel_stall()
            self.queued = 0
            self._transport.unregisterProducer()
            self._transport.write(b"".join(queue))

    def close(self) -> None:
        """The connection is gone: nothing is sent any more."""
        self.closing = True
        self._gathered.clear()
        self._socket = None
        if self._queue is not None:
            self._queue.clear()
        self._cancel_stall()
        self.queued = 0

    def _write_or_queue(self, frame: bytes) -> None:
        if self._queue is None:
            self._write(frame)
        else:
            self._enqueue(frame)

    def _write(self, frame: bytes) -> None:
        transport = self._transport
        socket = self._socket
        if socket is not None and not transport.dataBuffer and not transport._tempDataBuffer:
            if not transport.connected or transport.disconnecting:
                return
            try:
                sent = socket.send(frame)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The transport meets the same error and ends the connection its way.
                transport.write(frame)
                return
            if sent == len(frame):
                return
            frame = frame[sent:]
        elif socket is None and not self._busy():
            transport.write(frame)
            if not self._busy():
                return
            frame = b""
        self._start_queue(frame)

    def _busy(self) -> bool:
        """Whether the transport still holds more than a window (TLS and test transports)."""
        return self._held() > WINDOW_BYTES

    def _held(self) -> int:
        """How many bytes the transport holds."""
        transport = self._transport
        buffered = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
        return buffered + int(getattr(transport, "_tempDataLen", 0))

    def _start_queue(self, rest: bytes) -> None:
        self._queue = deque()
        self._watch_stall()
        if rest:
            self._enqueue(rest)
        # A pull producer: asked for the next window each time the transport is empty.
        self._transport.registerProducer(self, False)

    def _enqueue(self, frame: bytes) -> None:
        assert self._queue is not None
        self._queue.append(frame)
        self.queued += len(frame)

    def resumeProducing(self) -> None:
        """Transport: everything so far was taken; the next window."""
        queue = self._queue
        if queue is None:
            return
        self._cancel_stall()
        window: list[bytes] = []
        size = 0
        while queue and size < WINDOW_BYTES:
            frame = queue.popleft()
            window.append(frame)
            size += len(frame)
        self.queued -= size
        if window:
            self._transport.write(b"".join(window))
            self._watch_stall()
            return
        self._queue = None
        self._transport.unregisterProducer()
        if self._drained is not None:
            self._drained()

    def stopProducing(self) -> None:
        """Transport: the connection is gone."""
        self.close()

    def _watch_stall(self) -> None:
        self._held_before = self._held()
        self._still = 0
        self._stall = self._clock.call_later(STALL_S / _STALL_LOOKS, self._look)

    def _look(self) -> None:
        """The window is not empty yet: has the peer taken any of it?"""
        self._stall = None
        held = self._held()
        self._still = self._still + 1 if held == self._held_before else 0
        self._held_before = held
        if self._still == _STALL_LOOKS:
            self._stalled()
        else:
            self._stall = self._clock.call_later(STALL_S / _STALL_LOOKS, self._look)

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
