"""Messages that share a key: one tenant, one FIFO group.

Every key has a small window of its own (``_Head``), so that a key with a million
messages neither fills the memory nor hides the others.  Keys that have something to run
stand in a ring and take turns.  A key leaves the ring while it is busy (it runs as many
messages as it may) or blocked (FIFO: its first message waits out a back-off).

Only so many keys are in memory.  The others are found on disk by walking on from key to
key, round and round.  While there are others, a key whose messages in memory are used up
makes room and is met again by the walk, and of a blocked key only the name is kept.  A
round that left nothing out has found every key; from then on a new key is simply added.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.modules.queue.journal import Journal
from iii.modules.queue.message import Message
from iii.modules.queue.rows import Piece, Place, Target, waiting_place
from iii.modules.queue.window import Window

log = Logger()

MAX_KEYS = 1_000
HEAD_MESSAGES = 16
HEAD_BYTES = 32 * 1024


class _Head:
    """One key in memory."""

    __slots__ = ("blocked", "in_ring", "key", "running", "window")

    def __init__(self, key: str, window: Window, running: int) -> None:
        self.key = key
        self.window = window
        self.running = running
        self.blocked = False
        self.in_ring = False


class KeyedRow:
    """The waiting messages of a lane whose messages have keys.

    :param per_key: how many of one key may run at once
    :param changed: called when a read brought something
    :param running: messages that were taken and are still waiting on disk
    :param left_out: whose messages are not to be read
    :param complete: whether nothing is on disk yet
    """

    def __init__(
        self,
        journal: Journal,
        lane: int,
        per_key: int,
        changed: Callable[[], None],
        running: Mapping[int, Message],
        left_out: Callable[[], Collection[Target]],
        *,
        complete: bool,
    ) -> None:
        self._journal = journal
        self._lane = lane
        self._per_key = per_key
        self._changed = changed
        self._running = running
        self._left_out = left_out
        self._heads: dict[str, _Head] = {}
        self._ring: deque[_Head] = deque()
        #: blocked keys that had to make room
        self._parked: set[str] = set()
        #: whether the disk may have keys that are neither in memory nor parked
        self._more_keys = not complete
        #: where the walk over the keys on disk goes on
        self._cursor = ""
        self._walking = False
        #: keys of messages that were left to the walk since it was asked to go on
        self._offered: set[str] = set()
        #: the round has left something out
        self._missed = False
        self._generation = 0
        for key, count in Counter(map(_key_of, running.values())).items():
            self._add(key, complete=complete, running=count)

    def __len__(self) -> int:
        return sum(len(head.window) for head in self._heads.values())

    @property
    def keys(self) -> int:
        """How many keys are in memory."""
        return len(self._heads)

    def offer(self, message: Message) -> None:
        """Take ``message`` in, unless there is no room."""
        key = _key_of(message)
        head = self._heads.get(key)
        if head is None:
            if key in self._parked:
                return
            if self._more_keys or len(self._heads) >= MAX_KEYS:
                self._leave_to_walk(key)
                return
            head = self._add(key, complete=True)
        head.window.offer(message)
        self._to_ring(head)

    def pop(self) -> Message | None:
        """Take the next message of the next key out."""
        ring = self._ring
        while ring:
            head = ring.popleft()
            head.in_ring = False
            if head.blocked or self._heads.get(head.key) is not head:
                continue
            message = head.window.pop()
            if message is not None:
                head.running += 1
                self._to_ring(head)
                return message
            self._to_ring(head)
        return None

    def release(self, message: Message, *, blocked: bool = False) -> None:
        """``message`` doesn't run any more; if it is to run again, it was offered before.

        :param blocked: nothing of its key may run until ``unblock``
        """
        head = self._heads.get(_key_of(message))
        if head is not None:
            head.running -= 1
            head.blocked = head.blocked or blocked
            self._to_ring(head)

    def unblock(self, key: str) -> None:
        """The wait of a key's first message is over."""
        head = self._heads.get(key)
        if head is not None:
            head.blocked = False
            self._to_ring(head)
        elif key in self._parked:
            self._parked.discard(key)
            if len(self._heads) < MAX_KEYS:
                self._add(key, complete=False).window.refill()
            else:
                self._leave_to_walk(key)

    def remove(self, message: Message) -> None:
        """Take one message out, if it is in memory."""
        head = self._heads.get(_key_of(message))
        if head is not None:
            head.window.remove(message)

    def reset(self) -> None:
        """Forget everything that doesn't run; ``refill`` reads anew."""
        self._ring.clear()
        for head in list(self._heads.values()):
            head.in_ring = False
            head.window.reset()
            if not head.running and not head.blocked:
                del self._heads[head.key]
        self._generation += 1
        self._walking = False
        self._begin_round()
        for head in self._heads.values():
            head.window.refill()

    def refill(self) -> None:
        """Walk on over the keys when there is room for more."""
        if self._more_keys and not self._walking and len(self._heads) <= MAX_KEYS // 2:
            self._walking = True
            self._offered.clear()
            walk = self._journal.heads(
                self._lane,
                self._cursor,
                MAX_KEYS // 2,
                HEAD_MESSAGES,
                HEAD_BYTES,
                known=frozenset(self._heads),
                without=self._left_out(),
            )
            given = (self._generation,)
            walk.addCallbacks(self._found, self._failed, callbackArgs=given, errbackArgs=given)

    # Inside ----------------------------------------------------------------------------

    def _begin_round(self) -> None:
        self._cursor = ""
        self._missed = False
        self._more_keys = True

    def _leave_to_walk(self, key: str) -> None:
        """A key that is not in memory has messages: the walk comes by."""
        if not self._more_keys:
            self._begin_round()
        # It may have come by already, or have no room.
        self._missed = True
        if self._walking:
            self._offered.add(key)
        self.refill()

    def _found(self, pieces: list[Piece], generation: int) -> None:
        if generation != self._generation:
            return
        self._walking = False
        for piece in pieces:
            if piece.key in self._heads or piece.key in self._parked:
                continue
            if len(self._heads) >= MAX_KEYS:
                self._missed = True
            else:
                head = self._add(piece.key, complete=False)
                if piece.key in self._offered:
                    # What was offered may be missing in the piece.
                    head.window.refill()
                else:
                    head.window.take(piece)
                    self._to_ring(head)
        self._offered.clear()
        if len(pieces) == MAX_KEYS // 2:
            self._cursor = pieces[-1].key
        elif self._missed:
            self._begin_round()
        else:
            self._more_keys = False
        self._changed()
        self.refill()

    def _failed(self, failure: Failure, generation: int) -> None:
        """It is tried again at the next ``refill``."""
        log.failure("looking for keys in a queue", failure)
        if generation == self._generation:
            self._walking = False
            self._missed = True

    def _add(self, key: str, *, complete: bool, running: int = 0) -> _Head:
        def read(after: Place, limit: int, max_bytes: int) -> Deferred[Piece]:
            return self._journal.of_key(
                self._lane, key, after, limit, max_bytes, without=self._left_out()
            )

        window = Window(
            waiting_place,
            read,
            lambda: self._arrived(head),
            self._running,
            complete=complete,
            size=HEAD_MESSAGES,
            max_bytes=HEAD_BYTES,
        )
        head = self._heads[key] = _Head(key, window, running)
        return head

    def _arrived(self, head: _Head) -> None:
        if self._heads.get(head.key) is head:
            self._to_ring(head)
            self._changed()

    def _to_ring(self, head: _Head) -> None:
        """Bring a key to where it belongs now: the ring, the disk, or out of memory."""
        if head.blocked:
            if not head.running and self._others_wait:
                self._parked.add(head.key)
                del self._heads[head.key]
        elif head.window.peek() is None:
            self._used_up(head)
        else:
            if head.running < self._per_key and not head.in_ring:
                head.in_ring = True
                self._ring.append(head)
            if not self._others_wait:
                head.window.refill()

    def _used_up(self, head: _Head) -> None:
        """Nothing of a key is in memory."""
        complete = head.window.complete
        if not complete and not self._others_wait:
            head.window.refill()
        elif not head.running:
            del self._heads[head.key]
            self._missed = self._missed or not complete
            self.refill()

    @property
    def _others_wait(self) -> bool:
        """Whether there are keys on disk for which there is no room."""
        return self._more_keys and len(self._heads) > MAX_KEYS // 2


def _key_of(message: Message) -> str:
    return message.key or ""
