"""Messages of one worker that wait behind a registration, in their order.

Bounded in number and bytes: a module that is slow to answer, or a hook, must not make the
engine keep whatever a worker sends meanwhile.
"""

from __future__ import annotations

from collections import Counter, deque

from iii.wire import messages as m

MAX_WAITING_REGISTRATIONS = 20_000
MAX_WAITING_BYTES = 64 * 1024 * 1024


class Backlog:
    """What waits, oldest first."""

    def __init__(self) -> None:
        self._messages: deque[tuple[m.Message, int, str | None]] = deque()
        self._bytes = 0
        #: A call looks for its function among thousands of registrations.
        self._brought: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._messages)

    def has_room(self, size: int) -> bool:
        """Whether one more message of ``size`` bytes may wait."""
        return (
            len(self._messages) < MAX_WAITING_REGISTRATIONS
            and self._bytes + size <= MAX_WAITING_BYTES
        )

    def add(self, message: m.Message, size: int, brings: str | None) -> None:
        """``message`` waits.

        :param size: how many bytes it came in
        :param brings: the id of the function that it registers
        """
        self._messages.append((message, size, brings))
        self._bytes += size
        if brings is not None:
            self._brought[brings] += 1

    def brings(self, function_id: str) -> bool:
        """Whether a registration of that function waits."""
        return function_id in self._brought

    def next(self) -> m.Message:
        """The oldest one, which waits no more."""
        message, size, brings = self._messages.popleft()
        self._bytes -= size
        if brings is not None:
            self._brought[brings] -= 1
            if not self._brought[brings]:
                del self._brought[brings]
        return message
