"""A queue with bounds in numbers and bytes; beyond them the oldest go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from iii.modules.observability.config import MIB

T = TypeVar("T")

#: All of one signal that waits or is under way.
MAX_QUEUED_ITEMS = 50_000
MAX_QUEUED_BYTES = 32 * MIB
#: Of one request; collectors usually refuse more than 4 MiB.
MAX_BATCH_BYTES = 2 * MIB


@dataclass(slots=True)
class Batch(Generic[T]):
    """What is sent in one request."""

    items: list[T]
    size: int


class Backlog(Generic[T]):
    """What waits, oldest first.  A batch that was taken counts until it is ``done``.

    :param weigh: about how many bytes something takes
    """

    def __init__(self, weigh: Callable[[T], int], batch_items: int) -> None:
        self._weigh = weigh
        self._batch_items = batch_items
        self._queue: deque[tuple[T, int]] = deque()
        self._taken = 0
        self._bytes = 0

    def add(self, items: list[T]) -> tuple[int, int]:
        """Queue these; how many were too large, and how many went to make room."""
        too_large = 0
        for item in items:
            size = self._weigh(item)
            if size > MAX_BATCH_BYTES:
                too_large += 1
            else:
                self._queue.append((item, size))
                self._bytes += size
        crowded_out = 0
        while self._queue and (self.total > MAX_QUEUED_ITEMS or self._bytes > MAX_QUEUED_BYTES):
            self._bytes -= self._queue.popleft()[1]
            crowded_out += 1
        return too_large, crowded_out

    def take(self) -> Batch[T]:
        """The next batch; something must be waiting."""
        items: list[T] = []
        total = 0
        while self._queue and len(items) < self._batch_items:
            item, size = self._queue[0]
            if total + size > MAX_BATCH_BYTES:
                break
            self._queue.popleft()
            items.append(item)
            total += size
        self._taken += len(items)
        return Batch(items, total)

    def done(self, batch: Batch[T]) -> None:
        """A batch was sent or lost."""
        self._taken -= len(batch.items)
        self._bytes -= batch.size

    def clear(self) -> int:
        """Forget everything; how much it was."""
        lost = self.total
        self._queue.clear()
        self._taken = self._bytes = 0
        return lost

    @property
    def is_batch(self) -> bool:
        """Whether enough waits for a request of full size."""
        return len(self._queue) >= self._batch_items or self._bytes >= MAX_BATCH_BYTES

    @property
    def waiting(self) -> int:
        """How many were not taken yet."""
        return len(self._queue)

    @property
    def total(self) -> int:
        """How many wait or are under way."""
        return len(self._queue) + self._taken
