"""What a test has to know of an adapter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar
from unittest import SkipTest, TestCase

from iii.modules.queue.module import QueueModule

Test = Callable[[Any], Awaitable[None]]

DELAY = "delay_ms, deliver_at"
TTL = "ttl_ms"
PRIORITY = "priority"
IDEMPOTENCY = "idempotency_key"
CANCEL = "cancel"
RESCHEDULE = "reschedule"
SCHEDULED = "lists of delayed messages"
ACTIVE = "lists of running messages"
MESSAGES = "lists of waiting messages"
FIFO_GROUPS = "order per group, across retries"
KEYS = "concurrency per key"
RATES = "rate limits"
PAUSE = "pause"
PURGE = "purge"
MOVE = "move"
RETENTION = "retention of groups"
BACKOFF_SETTINGS = "back-off of a named queue: exponential, retry_after"
HISTORY = "dead letters tell every attempt"
REPLACING = "redrive with another payload"
FILTERS = "dead letters by error code or age"
BOUNDS = "dlq_max, dlq_ttl_ms"
SHARING = "several engines share a queue"
GLOBAL_ORDER = "order per group, across engines"

EVERYTHING = frozenset(
    (
        *(DELAY, TTL, PRIORITY, IDEMPOTENCY, CANCEL, RESCHEDULE, SCHEDULED, ACTIVE, MESSAGES),
        *(FIFO_GROUPS, KEYS, RATES, PAUSE, PURGE, MOVE, RETENTION, BACKOFF_SETTINGS),
        *(HISTORY, REPLACING, FILTERS, BOUNDS, SHARING, GLOBAL_ORDER),
    )
)


class Needing:
    """A test for backends that have some abilities: ``suite.over`` makes it one of theirs."""

    def __init__(self, abilities: frozenset[str], test: Test) -> None:
        self.abilities = abilities
        self.test = test


def needs(*abilities: str) -> Callable[[Test], Needing]:
    """Mark a test of what not every adapter can do; ``refusals`` has their side of it."""
    return lambda test: Needing(frozenset(abilities), test)


class Backend:
    """One adapter, for one test.

    :cvar name: of the adapter, in configurations and as ``broker_type``
    :cvar abilities: what it can do
    :param case: the test; what is started for it ends with it
    """

    name: ClassVar[str]
    abilities: ClassVar[frozenset[str]] = EVERYTHING

    def __init__(self, case: TestCase) -> None:
        self.case = case
        if self.name not in QueueModule.adapters:
            raise SkipTest(f"the queue module has no adapter '{self.name}' yet")

    async def prepare(self) -> None:
        """Start what the adapter needs; before the first engine of a test."""

    async def done(self) -> None:
        """After the last engine of a test has stopped."""

    def adapter(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The ``config:`` of the adapter; the same data for every engine of a test.

        :param settings: what a test wants of it, in the words of the embedded adapter
        """
        raise NotImplementedError

    # 03 §1.12 --------------------------------------------------------------------------

    def topic_attempts(self, max_attempts: int) -> int:
        """Calls for a message of a topic, whose adapter says ``max_attempts``."""
        return max(1, max_attempts)

    def named_attempts(self, max_retries: int) -> int:
        """Calls for a message of a named queue that says ``max_retries``."""
        return max(1, max_retries)

    def topic_gap_ms(self, backoff_ms: int, attempts: int) -> int:
        """The wait after so many attempts, on a topic."""
        return int(backoff_ms * 2 ** (attempts - 1))

    def named_gap_ms(self, backoff_ms: int, attempts: int) -> int:
        """The wait after so many attempts, on a named queue."""
        return int(backoff_ms * 2 ** (attempts - 1))
