"""Messages that are here and don't run yet: whose turn is it?

Messages have keys (all the same one, when nothing groups them).  Those of a key are in
order; keys that may run something take turns.  A key may not when it runs as many as it
may, or while it is blocked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator

from iii.modules.queue.message import Message
from iii.rabbitmq import Delivery


class Job:
    """A message, and what the broker wants to be told about it."""

    __slots__ = ("delivery", "key", "message")

    def __init__(self, delivery: Delivery, message: Message, key: str) -> None:
        self.delivery = delivery
        self.message = message
        self.key = key


class Waiting:
    """The messages of one lane that wait.

    :param per_key: how many of one key may run at once
    :ivar blocked: keys of which nothing may run
    """

    def __init__(self, per_key: int) -> None:
        self.per_key = per_key
        self.blocked: set[str] = set()
        self._rows: dict[str, deque[Job]] = {}
        self._running: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def __iter__(self) -> Iterator[Job]:
        return iter(sorted((j for row in self._rows.values() for j in row), key=_arrival))

    def offer(self, job: Job) -> None:
        """One more; one that was here before goes back to its place."""
        row = self._rows.get(job.key)
        if row is None:
            row = self._rows[job.key] = deque()
        if not row or job.message.seq > row[-1].message.seq:
            row.append(job)
        else:
            row.insert(bisect_left(row, job.message.seq, key=_arrival), job)

    def pop(self) -> Job | None:
        """The next one that may run; it counts as running until ``release``."""
        for key, row in self._rows.items():
            if key in self.blocked or self._running[key] >= self.per_key:
                continue
            job = row.popleft()
            self._running[key] += 1
            del self._rows[key]
            if row:
                self._rows[key] = row  # to the end
            return job
        return None

    def taken(self, key: str) -> None:
        """One of ``key`` runs that was taken from elsewhere."""
        self._running[key] += 1

    def release(self, job: Job) -> None:
        """It runs no more."""
        left = self._running[job.key] - 1
        if left > 0:
            self._running[job.key] = left
        else:
            del self._running[job.key]

    def clear(self) -> list[Job]:
        """Nothing waits any more; what did."""
        jobs = list(self)
        self._rows.clear()
        return jobs


def _arrival(job: Job) -> int:
    return job.message.seq
