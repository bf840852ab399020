"""The one queue everything leaves through.

A registration followed by a call can't overtake each other, because both are
frames in this FIFO and one writer empties it.  It has two conditions:

- *closed* (no connection): registrations are not kept, since the tables of the
  client are replayed; messages are, up to a limit, and the oldest is dropped.
- *open*: everything is kept in order.  ``open`` puts the replayed registrations
  in front of the messages that waited and the introduction behind them.

Any thread may put; only the connection's loop takes.  Nothing in here does I/O.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

logger = logging.getLogger("iii.client")

MAX_QUEUED_MESSAGES = 1000


class Frame:
    """One message on its way out.

    :param registration: replayed from the tables on connect, so never kept while closed
    :param dropped: called when the frame is dropped for a newer one
    :param written: called once the frame has been handed to the socket
    """

    __slots__ = ("data", "dropped", "queued", "registration", "written")

    def __init__(
        self,
        data: bytes,
        *,
        registration: bool = False,
        dropped: Callable[[], None] | None = None,
        written: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.registration = registration
        self.dropped = dropped
        self.written = written
        self.queued = False


class Outbox:
    """A FIFO of frames.

    :param limit: how many messages wait while closed
    """

    def __init__(self, limit: int = MAX_QUEUED_MESSAGES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._wake: Callable[[], None] | None = None
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> None:
        """Queue a frame; a registration while closed is left to the replay."""
        oldest = None
        with self._lock:
            wake = self._wake
            if wake is None:
                if frame.registration:
                    return
                if len(self._frames) >= self._limit:
                    oldest = self._pop()
            self._append(frame)
        if wake is not None:
            wake()
        if oldest is not None:
            logger.warning("Message queue full, dropping oldest message")
            if oldest.dropped is not None:
                oldest.dropped()

    def remove(self, frame: Frame) -> None:
        """Take back a frame that has not left yet."""
        with self._lock:
            if frame.queued:
                self._frames.remove(frame)
                self._forget(frame)

    def take(self) -> Frame | None:
        """The next frame, or None."""
        with self._lock:
            return self._pop() if self._frames else None

    def untake(self, frame: Frame) -> None:
        """Put a frame that was not written back to the front."""
        with self._lock:
            self._frames.appendleft(frame)
            self._remember(frame)

    def open(
        self,
        wake: Callable[[], None],
        *,
        first: Callable[[], Iterable[Frame]],
        last: Frame,
    ) -> None:
        """A connection is there: ``first``, what waited, ``last``, then what comes.

        ``first`` is called under the lock, so that a registration made meanwhile in
        another thread is either in it or queued behind it.
        """
        with self._lock:
            for frame in reversed(list(first())):
                self._frames.appendleft(frame)
                self._remember(frame)
            self._append(last)
            self._wake = wake
        wake()

    def close(self) -> None:
        """The connection is gone: keep the messages, within the limit."""
        dropped: list[Frame] = []
        with self._lock:
            self._wake = None
            for frame in [frame for frame in self._frames if frame.registration]:
                self._frames.remove(frame)
                self._forget(frame)
            while len(self._frames) > self._limit:
                dropped.append(self._pop())
        if dropped:
            logger.warning("Message queue full, dropping the %d oldest messages", len(dropped))
        for frame in dropped:
            if frame.dropped is not None:
                frame.dropped()

    def clear(self) -> int:
        """Throw everything away; how many messages that were."""
        with self._lock:
            frames, self._frames = self._frames, deque()
            for frame in frames:
                self._forget(frame)
        return sum(not frame.registration for frame in frames)

    def _append(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._remember(frame)

    def _pop(self) -> Frame:
        frame = self._frames.popleft()
        self._forget(frame)
        return frame

    def _remember(self, frame: Frame) -> None:
        frame.queued = True
        self.size_bytes += len(frame.data)

    def _forget(self, frame: Frame) -> None:
        frame.queued = False
        self.size_bytes -= len(frame.data)
