"""A request body on its way in.

Until its fate is decided the body is *held*: a little is kept, then the socket
is no longer read.  Then it is collected (JSON), streamed to a sink, or thrown
away.  ``receive`` returns the bytes behind the body: the next request's.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from iii.modules.http.chunked import ChunkedDecoder
from iii.modules.http.exchange import FRAME_BYTES, BodySink

HELD_BYTES = 64 * 1024


class Fate(Enum):
    """What becomes of the bytes."""

    HOLD = "hold"
    COLLECT = "collect"
    STREAM = "stream"
    DISCARD = "discard"


class Source(Protocol):
    """The connection a body comes from."""

    def hold_body(self, on: bool) -> None:
        """Stop or go on reading the socket."""
        ...

    def body_complete(self) -> None:
        """The last byte of the body is here."""
        ...

    def body_unwanted(self) -> None:
        """The rest is thrown away."""
        ...


class Incoming:
    """One request body.

    :param length: its size, or None for the chunked coding
    """

    __slots__ = (
        "_collected",
        "_decoder",
        "_fate",
        "_left",
        "_limit",
        "_pieces",
        "_sink",
        "_source",
        "complete",
        "received",
    )

    def __init__(self, source: Source, length: int | None) -> None:
        self._source = source
        self._decoder = ChunkedDecoder() if length is None else None
        self._left = length or 0
        self._fate = Fate.HOLD
        self._pieces: list[bytes] = []
        self._limit = 0
        self._collected: Callable[[bytes | None], None] | None = None
        self._sink: BodySink | None = None
        self.received = 0
        self.complete = False

    @property
    def left(self) -> int | None:
        """Bytes still to come, None when the client didn't say."""
        return None if self._decoder is not None else self._left

    @property
    def streaming(self) -> bool:
        """Whether somebody still takes the bytes."""
        return self._fate is Fate.STREAM

    def receive(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns the rest.

        :raises BadChunk: the coding is broken
        """
        decoder = self._decoder
        if decoder is not None:
            pieces = decoder.feed(data)
            rest, self.complete = decoder.rest, decoder.done
        else:
            piece, rest = data[: self._left], data[self._left :]
            pieces = [piece] if piece else []
            self._left -= len(piece)
            self.complete = not self._left
        for piece in pieces:
            self.received += len(piece)
            self._take(piece)
        if self.complete:
            self._finish(True)
            self._source.body_complete()
        return rest

    def collect(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        """Keep everything; ``done`` gets it, or None when it is more than ``limit``."""
        self._fate = Fate.COLLECT
        self._limit = limit
        self._collected = done
        self._source.hold_body(False)
        if self.received > limit or (self._left > limit and self._decoder is None):
            self._too_large()
        elif self.complete:
            self._finish(True)

    def stream(self, sink: BodySink) -> None:
        """Pass everything on."""
        self._fate = Fate.STREAM
        self._sink = sink
        self._source.hold_body(False)
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            self._take(piece)
        if self.complete:
            self._finish(True)

    def hold(self, on: bool) -> None:
        """The taker can't take more now, or can again."""
        if not self.complete:
            self._source.hold_body(on)

    def discard(self) -> None:
        """Throw the rest away."""
        self._fate = Fate.DISCARD
        self._pieces = []
        self._sink = None
        self._collected = None
        self._source.hold_body(False)
        self._source.body_unwanted()

    def broken(self) -> None:
        """The connection ended, or the client broke the coding."""
        if not self.complete:
            self._finish(False)

    def _take(self, piece: bytes) -> None:
        match self._fate:
            case Fate.STREAM:
                for at in range(0, len(piece), FRAME_BYTES):
                    if self._sink is not None:
                        self._sink.body_data(piece[at : at + FRAME_BYTES])
            case Fate.DISCARD:
                return
            case Fate.COLLECT:
                self._pieces.append(piece)
                if self.received > self._limit:
                    self._too_large()
            case Fate.HOLD:
                self._pieces.append(piece)
                if self.received > HELD_BYTES:
                    self._source.hold_body(True)

    def _too_large(self) -> None:
        collected = self._collected
        self.discard()
        if collected is not None:
            collected(None)

    def _finish(self, clean: bool) -> None:
        collected, self._collected = self._collected, None
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.body_end(clean)
        elif collected is not None and clean:
            body = b"".join(self._pieces)
            self._pieces = []
            collected(body)
