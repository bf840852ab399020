"""Channels: a bounded pipe of frames between one writer and one reader.

A channel is created first and its ends are attached later, each once, by
whoever shows the key: a worker's WebSocket, or the HTTP module for bodies.
Frames written before the reader comes are kept, up to ``size`` frames or
``MAX_BYTES``; a full
channel tells the writer to pause, which becomes TCP back-pressure.

The writer ends *cleanly* (it said goodbye) or not (its connection broke).  The
reader learns which, so that a truncated stream doesn't look like a whole one.
A channel is forgotten when both ends are done, or when an end was not taken
within five minutes.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from iii.engine.clock import Clock, Timer
from iii.engine.ids import next_id, uuid4_text

DEFAULT_SIZE = 64
MAX_SIZE = 1024
MAX_BYTES = 8 * 1024 * 1024
UNTAKEN_TTL_S = 300.0
SWEEP_S = 60.0


class Writer(Protocol):
    """The end frames come from."""

    def pause(self) -> None:
        """The channel is full: stop reading from the source."""
        ...

    def resume(self) -> None:
        """There is room again."""
        ...

    def reader_gone(self) -> None:
        """Nobody reads any more: drop the source."""
        ...


class Reader(Protocol):
    """The end frames go to."""

    def deliver(self, payload: bytes, text: bool) -> bool:
        """Take one frame.  False: no more until ``Channel.drain`` is called."""
        ...

    def end(self, clean: bool) -> None:
        """No frame follows.  ``clean``: the writer said so, else it broke off."""
        ...


class Channel:
    """One pipe.  ``id`` and ``key`` are what a reference to it carries.

    :ivar passed: how many bytes were written
    """

    __slots__ = (
        "_bytes",
        "_channels",
        "_frames",
        "_paused",
        "_ready",
        "closed",
        "created",
        "id",
        "key",
        "passed",
        "reader",
        "reader_taken",
        "size",
        "writer",
        "writer_clean",
        "writer_done",
        "writer_taken",
    )

    def __init__(
        self, id: str, key: str, size: int, created: float, channels: dict[str, Channel | Offer]
    ) -> None:
        self.id = id
        self.key = key
        self.size = size
        self.created = created
        self.writer: Writer | None = None
        self.reader: Reader | None = None
        self.writer_taken = self.reader_taken = False
        self.writer_done = False
        self.writer_clean = True
        self.closed = False
        self._frames: deque[tuple[bytes, bool]] | None = None
        self._bytes = 0
        self.passed = 0
        self._ready = self._paused = False
        self._channels = channels
        channels[id] = self

    def forget(self) -> None:
        """Nobody finds it any more."""
        self._channels.pop(self.id, None)

    def attach_writer(self, writer: Writer) -> bool:
        """Take the writing end.  False when it is taken or the channel is over."""
        if self.writer_taken or self.closed:
            return False
        self.writer_taken = True
        self.writer = writer
        return True

    def attach_reader(self, reader: Reader) -> bool:
        """Take the reading end.  False when it is taken or the channel is over."""
        if self.reader_taken or self.closed:
            return False
        self.reader_taken = True
        self.reader = reader
        self._ready = True
        self.drain()
        return True

    def put(self, payload: bytes, text: bool = False) -> None:
        """Writer: one frame."""
        if self.closed or self.writer_done:
            return
        self.passed += len(payload)
        if self._ready and not self._frames:
            assert self.reader is not None
            self._ready = self.reader.deliver(payload, text)
            return
        if self._frames is None:
            self._frames = deque()
        self._frames.append((payload, text))
        self._bytes += len(payload)
        if self._full and not self._paused and self.writer is not None:
            self._paused = True
            self.writer.pause()

    @property
    def waiting(self) -> tuple[int, int]:
        """How many frames, and bytes, the reader has not taken."""
        return len(self._frames or ()), self._bytes

    @property
    def _full(self) -> bool:
        return len(self._frames or ()) >= self.size or self._bytes >= MAX_BYTES

    def finish(self, clean: bool = True) -> None:
        """Writer: no frame follows."""
        if self.closed or self.writer_done:
            return
        self.writer_done = True
        self.writer_clean = clean
        self.writer = None
        if self._ready and not self._frames:
            self._end_reader()

    def drain(self) -> None:
        """Reader: ready for more."""
        if self.closed or self.reader is None:
            return
        self._ready = True
        frames = self._frames
        while frames and self._ready:
            payload, text = frames.popleft()
            self._bytes -= len(payload)
            self._ready = self.reader.deliver(payload, text)
            if self.closed:
                return
        if self._paused and not self._full:
            self._paused = False
            if self.writer is not None:
                self.writer.resume()
        if self._ready and self.writer_done and not self._frames:
            self._end_reader()

    def reader_gone(self) -> None:
        """Reader: its connection ended."""
        self.reader = None
        self.close()

    def close(self) -> None:
        """Both ends: it is over.  A waiting end is told."""
        if self.closed:
            return
        self.closed = True
        self._frames = None
        self._channels.pop(self.id, None)
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.reader_gone()
        if self.reader is not None:
            reader, self.reader = self.reader, None
            reader.end(self.writer_done and self.writer_clean)

    def withdraw(self) -> None:
        """Nobody may attach from now on; an attached end keeps working."""
        self.forget()
        if not self.writer_taken and not self.reader_taken:
            self.closed = True

    def _end_reader(self) -> None:
        self.closed = True
        self.forget()
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.end(self.writer_clean)


class Offer:
    """A channel that is made when somebody asks for it.

    Every HTTP request names two channels and hardly any function opens one, so a
    request only pays for the names.

    :param made: gets the channel before whoever asked does
    """

    __slots__ = ("key", "made")

    def __init__(self, key: str, made: Callable[[Channel], None]) -> None:
        self.key = key
        self.made = made


class Channels:
    """All channels that somebody may still attach to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._channels: dict[str, Channel | Offer] = {}
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        """The channels; what was only named is none yet."""
        known = list(self._channels.values())
        return (channel for channel in known if isinstance(channel, Channel))

    def create(self, size: int | None = None, *, key: str | None = None) -> Channel:
        """A fresh channel that holds up to ``size`` frames (1 to 1024, default 64).

        :param key: a fresh one unless given
        """
        size = DEFAULT_SIZE if size is None else min(max(size, 1), MAX_SIZE)
        return self._make(next_id(), key or uuid4_text(), size)

    def offer(self, offer: Offer) -> str:
        """A fresh id under which ``offer`` can be taken up with its key.

        Whoever offers calls ``withdraw``; an offer has no time limit of its own.
        """
        id = next_id()
        self._channels[id] = offer
        return id

    def withdraw(self, id: str) -> None:
        """An offer doesn't stand any more; one that was taken up is a channel."""
        self._channels.pop(id, None)

    def _make(self, id: str, key: str, size: int) -> Channel:
        channel = Channel(id, key, size, self._clock.monotonic(), self._channels)
        if self._timer is None:
            self._timer = self._clock.call_later(SWEEP_S, self._sweep)
        return channel

    def find(self, id: str, key: str) -> Channel | None:
        """The channel, for who knows its key."""
        found = self._channels.get(id)
        if found is None or not hmac.compare_digest(found.key.encode(), key.encode()):
            return None
        if isinstance(found, Channel):
            return found
        channel = self._make(id, found.key, DEFAULT_SIZE)
        found.made(channel)
        return channel

    def stop(self) -> None:
        """End every channel and the sweep."""
        for channel in list(self._channels.values()):
            if isinstance(channel, Channel):
                channel.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        oldest = self._clock.monotonic() - UNTAKEN_TTL_S
        channels = [known for known in self._channels.values() if isinstance(known, Channel)]
        for channel in channels:
            if channel.created > oldest:
                continue
            if not (channel.writer_taken and channel.reader_taken):
                channel.close()
        if channels:
            self._timer = self._clock.call_later(SWEEP_S, self._sweep)
