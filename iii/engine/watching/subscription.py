"""One subscriber's part of a topic: what waits for it, and when it may have it.

A message is at most every ``BATCH_S``: what comes meanwhile is gathered.  Whoever takes
too little loses everything that waits, and is told how much: it has to ask anew anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from iii.engine.watching.feeds import Event
from iii.engine.watching.filtering import Matches

BATCH_S = 0.25
MAX_WAITING_ITEMS = 5_000
MAX_WAITING_BYTES = 1024 * 1024
MAX_MESSAGE_ITEMS = 1_000
MAX_MESSAGE_BYTES = 512 * 1024
#: What an item takes while it waits, beside its bytes.
ITEM_BYTES = 120


class Holder(Protocol):
    """Whose subscription it is."""

    def weigh(self, size: int) -> bool:
        """So many bytes more, or less, wait.  False: that is too much."""
        ...

    def wake(self, subscription: Subscription) -> None:
        """There is something to take."""
        ...


class Subscription:
    """A subscription.

    :param id: the subscriber's own name for it
    :ivar matches: whether an item is wanted
    :ivar due: not before then, by the monotonic clock
    :ivar over: it has failed, and has said so when it is empty
    """

    def __init__(self, id: str, matches: Matches, holder: Holder) -> None:
        self.id = id
        self.matches = matches
        self.due = 0.0
        self.over = False
        self.left: Callable[[], None] = lambda: None
        self._name = msgspec.json.encode(id)
        self._holder = holder
        self._waiting: deque[tuple[int, Event, bytes]] = deque()
        self._bytes = 0
        self._gap = False
        self._dropped: int | None = 0
        self._error: bytes | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting) or self._gap or self._error is not None

    # In ------------------------------------------------------------------------------------

    def put(self, seq: int, event: Event, item: bytes) -> None:
        """Something happened."""
        size = len(item) + ITEM_BYTES
        fits = len(self._waiting) < MAX_WAITING_ITEMS and self._bytes + size <= MAX_WAITING_BYTES
        if not fits or not self._holder.weigh(size):
            dropped = len(self._waiting) + 1
            self._forget()
            self.gap(dropped)
            return
        self._waiting.append((seq, event, item))
        self._bytes += size
        self._holder.wake(self)

    def snapshot(self, seq: int, items: list[bytes]) -> None:
        """How things are; what does not fit is left out, and said to be missing."""
        size, count = 0, 0
        for item in items[:MAX_MESSAGE_ITEMS]:
            size += len(item) + 1
            if size > MAX_MESSAGE_BYTES:
                break
            count += 1
        joined = b",".join(items[:count])
        size = len(joined) + ITEM_BYTES
        if not self._holder.weigh(size):
            self.gap(len(items))
            return
        self._waiting.append((seq, "snapshot", joined))
        self._bytes += size
        self._holder.wake(self)
        if count < len(items):
            self.gap(len(items) - count)

    def gap(self, dropped: int | None) -> None:
        """Something is missing; None: nobody knows how much."""
        self._gap = True
        known = self._dropped
        self._dropped = None if dropped is None or known is None else known + dropped
        self._holder.wake(self)

    def fail(self, code: str, message: str) -> None:
        """It is over."""
        self._forget()
        self.over = True
        error = {"code": code, "message": message}
        self._error = msgspec.json.encode({"id": self.id, "event": "error", "error": error})
        self._holder.wake(self)

    def end(self) -> None:
        """Nobody takes anything any more."""
        self._forget()
        self.left()

    def _forget(self) -> None:
        self._waiting.clear()
        self._holder.weigh(-self._bytes)
        self._bytes = 0

    # Out -----------------------------------------------------------------------------------

    def take(self, now: float) -> bytes:
        """The next message; only when it is ``ready``."""
        self.due = now + BATCH_S
        if self._error is not None:
            error, self._error = self._error, None
            return error
        waiting = self._waiting
        # Snapshots come before their gap, everything else behind it.
        if self._gap and not (waiting and waiting[0][1] == "snapshot"):
            dropped, self._gap, self._dropped = self._dropped, False, 0
            told = b"null" if dropped is None else b"%d" % dropped
            return b'{"id":%b,"event":"gap","dropped":%b}' % (self._name, told)
        seq, event, item = waiting.popleft()
        items, size = [item], len(item)
        taken = size + ITEM_BYTES
        while (
            event != "snapshot"
            and waiting
            and waiting[0][1] == event
            and len(items) < MAX_MESSAGE_ITEMS
            and size + len(waiting[0][2]) <= MAX_MESSAGE_BYTES
        ):
            seq, _, item = waiting.popleft()
            items.append(item)
            size += len(item)
            taken += len(item) + ITEM_BYTES
        self._bytes -= taken
        self._holder.weigh(-taken)
        joined = b",".join(items)
        return b'{"id":%b,"seq":%d,"event":"%b","items":[%b]}' % (
            self._name,
            seq,
            event.encode(),
            joined,
        )
