"""How many requests are under way, and how much memory they may hold.

Calls beyond the number wait for their turn in order of arrival, host by host, so that one
slow host can't keep the others' calls from being made; beyond ``MAX_WAITING`` they are
refused.  ``Room`` counts the bytes of all requests, waiting ones included, and of the
responses that are being read.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

from iii.errors import Code, InvocationError

MAX_WAITING = 10_000
MAX_HELD_BYTES = 256 * 1024 * 1024


class Slots:
    """Requests at once.

    :param total: to all hosts
    :param per_host: to one
    """

    def __init__(self, total: int, per_host: int) -> None:
        self._total = total
        self._per_host = per_host
        self._busy: dict[str, int] = {}
        self.running = 0
        self.waiting = 0
        self._queues: dict[str, deque[Deferred[None]]] = {}

    async def enter(self, host: str) -> None:
        """Take a slot, when there is one.

        :raises InvocationError: too many wait already
        """
        if self._is_free(host) and host not in self._queues:
            self._take(host)
            return
        if self.waiting >= MAX_WAITING:
            raise InvocationError(Code.OVERLOADED, "too many calls wait for a connection")
        turn: Deferred[None] = Deferred()
        self._queues.setdefault(host, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except BaseException:
            # Given up while it waited: whoever is served later finds it gone.
            queue = self._queues.get(host)
            if queue is not None and turn in queue:
                queue.remove(turn)
                self.waiting -= 1
                self._forget(host)
            raise

    def leave(self, host: str) -> None:
        """Give a slot back; the next that may have it takes it."""
        self.running -= 1
        self._busy[host] -= 1
        if not self._busy[host]:
            del self._busy[host]
        waiting = next(filter(self._is_free, self._queues), None)
        if waiting is not None:
            self._serve(waiting)

    def _serve(self, host: str) -> None:
        queue = self._queues.pop(host)
        turn = queue.popleft()
        if queue:
            self._queues[host] = queue  # behind the other hosts
        self.waiting -= 1
        self._take(host)
        turn.callback(None)

    def _is_free(self, host: str) -> bool:
        return self.running < self._total and self._busy.get(host, 0) < self._per_host

    def _take(self, host: str) -> None:
        self.running += 1
        self._busy[host] = self._busy.get(host, 0) + 1

    def _forget(self, host: str) -> None:
        if not self._queues.get(host, True):
            del self._queues[host]


class Room:
    """Bytes held at once."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Hold ``size`` bytes more.  False: there is no room."""
        if self.held + size > self._limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Hold so many less."""
        self.held -= size
