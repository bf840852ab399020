"""The next messages of a long row, in memory; the rest stays on disk.

A *row* is an ordered set of messages in the journal: those that wait in a lane, those
that are delayed.  The window holds its head.  ``end`` is the place up to which memory
is complete; behind it there may be more on disk, and a message that is offered there is
left there.  When half of the window is used up, the next part is read.

The rule that is easy to get wrong: a message that is offered while a read is under way
may be missing in what the read brings.  So it is laid aside until the read is back; when
too many are, the read counts only up to the first of those that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from heapq import heappop, heappush

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.modules.queue.message import Message
from iii.modules.queue.rows import START, Piece, Place

log = Logger()

WINDOW_MESSAGES = 1_000
WINDOW_BYTES = 16 * 1024 * 1024
#: Places of the heap may be empty, but no more than there are messages, and these.
_EMPTY_PLACES = 64

Read = Callable[[Place, int, int], "Deferred[Piece]"]
"""``read(after, messages, bytes)``: so much of what is behind a place."""


class Window:
    """The head of a row.

    :param place: orders messages
    :param read: reads on from a place
    :param changed: called after every read
    :param running: messages that were taken and are still in the row on disk
    :param complete: whether nothing is on disk yet
    :param size: how many messages it holds, about; at most twice as many
    :param max_bytes: how much their data may be, about
    """

    def __init__(
        self,
        place: Callable[[Message], Place],
        read: Read,
        changed: Callable[[], None],
        running: Container[int] = (),
        *,
        complete: bool,
        size: int = WINDOW_MESSAGES,
        max_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._place = place
        self._read = read
        self._changed = changed
        self._running = running
        self._size = size
        self._max_bytes = max_bytes
        self._heap: list[tuple[Place, int, Message]] = []
        self._held: dict[int, Message] = {}
        self._bytes = 0
        #: memory is complete up to here; None: everything is in memory
        self._end: Place | None = None if complete else START
        #: the last place that was ever in memory
        self._last = START
        self._reading = False
        self._generation = 0
        #: offered behind the end during the read under way, and the first for which there
        #: was no room
        self._aside: dict[int, tuple[Place, Message]] = {}
        self._aside_bytes = 0
        self._lost: Place | None = None

    def __len__(self) -> int:
        return len(self._held)

    @property
    def complete(self) -> bool:
        """Whether nothing of the row is on disk only."""
        return self._end is None

    def offer(self, message: Message) -> None:
        """Take ``message`` in, unless it belongs behind the end."""
        place = self._place(message)
        if self._end is None and place > self._last and self._full:
            self._end = self._last
        if self._end is not None and place > self._end:
            if self._reading:
                self._lay_aside(place, message)
            return
        self._push(place, message)
        self._trim()

    def take(self, piece: Piece) -> None:
        """Take in what was read behind the end."""
        found = list(self._aside.values())
        found += [
            (self._place(message), message)
            for message in piece.messages
            if message.seq not in self._aside and message.seq not in self._running
        ]
        end, lost = piece.end, self._lost
        if lost is not None:
            found = [item for item in found if item[0] < lost]
            if end is None or end >= lost:
                end = max((place for place, _ in found), default=self._end)
        for place, message in found:
            if (end is None or place <= end) and message.seq not in self._held:
                self._push(place, message)
        self._end = end
        self._forget_aside()
        self._trim()

    def peek(self) -> Message | None:
        """The first message; None when there is none in memory."""
        heap = self._heap
        while heap:
            message = heap[0][2]
            if self._held.get(message.seq) is message:
                return message
            heappop(heap)  # it was taken out
        return None

    def pop(self) -> Message | None:
        """Take the first message out."""
        message = self.peek()
        if message is not None:
            heappop(self._heap)
            self._forget(message)
        return message

    def remove(self, message: Message) -> None:
        """Take one message out, if it is in memory."""
        self._aside.pop(message.seq, None)
        held = self._held.get(message.seq)
        if held is not None:
            self._forget(held)
            if len(self._heap) > 2 * len(self._held) + _EMPTY_PLACES:
                self._heap = self._sorted()

    def reset(self) -> None:
        """Forget everything; ``refill`` reads anew."""
        self._heap.clear()
        self._held.clear()
        self._bytes = 0
        self._end = self._last = START
        self._drop_read()

    def refill(self) -> None:
        """Read on when there is room and more on disk."""
        if (
            self._end is None
            or self._reading
            or len(self._held) > self._size // 2
            or self._bytes > self._max_bytes // 2
        ):
            return
        self._reading = True
        reading = self._read(self._end, self._size, self._max_bytes)
        given = (self._generation,)
        reading.addCallbacks(self._arrived, self._failed, callbackArgs=given, errbackArgs=given)

    # Inside ----------------------------------------------------------------------------

    @property
    def _full(self) -> bool:
        return len(self._held) >= self._size or self._bytes >= self._max_bytes

    def _push(self, place: Place, message: Message) -> None:
        held = self._held.get(message.seq)
        if held is not None:
            self._forget(held)
        heappush(self._heap, (place, message.seq, message))
        self._held[message.seq] = message
        self._bytes += len(message.data)
        if place > self._last:
            self._last = place

    def _forget(self, message: Message) -> None:
        del self._held[message.seq]
        self._bytes -= len(message.data)

    def _lay_aside(self, place: Place, message: Message) -> None:
        if len(self._aside) < self._size // 2 and self._aside_bytes < self._max_bytes // 2:
            self._aside[message.seq] = place, message
            self._aside_bytes += len(message.data)
        elif self._lost is None or place < self._lost:
            self._lost = place

    def _forget_aside(self) -> None:
        self._aside.clear()
        self._aside_bytes = 0
        self._lost = None

    def _arrived(self, piece: Piece, generation: int) -> None:
        if generation == self._generation:
            self._reading = False
            self.take(piece)
            self._changed()
            self.refill()

    def _failed(self, failure: Failure, generation: int) -> None:
        """It is tried again at the next ``refill``."""
        log.failure("reading on in a queue", failure)
        if generation == self._generation:
            self._drop_read()

    def _drop_read(self) -> None:
        self._generation += 1
        self._reading = False
        self._forget_aside()

    def _sorted(self) -> list[tuple[Place, int, Message]]:
        return sorted(item for item in self._heap if self._held.get(item[1]) is item[2])

    def _trim(self) -> None:
        """When there are too many, leave the last to the disk."""
        if len(self._held) <= 2 * self._size and self._bytes <= 2 * self._max_bytes:
            return
        kept: list[tuple[Place, int, Message]] = []
        size = 0
        for item in self._sorted():
            if kept and (len(kept) == self._size or size >= self._max_bytes):
                break
            kept.append(item)
            size += len(item[2].data)
        if len(kept) == len(self._held):
            return  # one message of that size
        self._heap = kept
        self._held = {seq: message for _, seq, message in kept}
        self._bytes = size
        self._end = self._last = kept[-1][0]
        self._drop_read()
