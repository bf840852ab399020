"""The settings of the queue module and of its own adapter (docs/queues.md, "Settings").

Keys of all generations load; what has no effect any more is accepted as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from iii.checking import Fault
from iii.modules.queue.settings import (
    DEFAULT_ATTEMPTS,
    DEFAULT_BACKOFF_MS,
    DEFAULT_CONCURRENCY,
    DEFAULT_DISPATCH_TIMEOUT_MS,
    Backoff,
    Count,
    LaneSettings,
    NamedQueue,
)
from iii.storage.kvstore import StoreConfig

DEFAULT_RETENTION_MS = 24 * 3600 * 1000


class QueueConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The ``config:`` block of ``iii-queue``.

    :ivar queue_configs: the named queues; ``default`` is always there
    """

    queue_configs: dict[str, NamedQueue] = {}

    def faults(self) -> Iterator[Fault]:
        """Queues that make no sense as a whole."""
        for name, queue in self.queue_configs.items():
            problem = queue.problem(name)
            if problem is not None:
                yield Fault(problem, ("queue_configs", name))


class BuiltinConfig(StoreConfig, frozen=True, kw_only=True):
    """``config:`` of the adapter ``builtin``: where messages are kept, and how topics run.

    :ivar max_attempts: calls for one message of a topic until it is dead; 0 is 1
    :ivar mode: ``fifo``: topics run one message at a time, in order
    :ivar subscriber_retention_ms: how long a durable group without a trigger keeps messages
    :ivar dlq_max: dead letters kept of one queue, the oldest go first
    :ivar dlq_ttl_ms: how long dead letters are kept
    :ivar poll_interval_ms: accepted; nothing is polled
    :ivar function_wait_ms: accepted; messages wait for their function as long as it takes
    """

    max_attempts: Count = DEFAULT_ATTEMPTS
    backoff_ms: Count = DEFAULT_BACKOFF_MS
    backoff: Backoff = "exponential"
    max_backoff_ms: Count | None = None
    jitter: bool = False
    concurrency: Count = DEFAULT_CONCURRENCY
    mode: str = "concurrent"
    dispatch_timeout_ms: Count = DEFAULT_DISPATCH_TIMEOUT_MS
    ttl_ms: Annotated[int, Meta(ge=1)] | None = None
    subscriber_retention_ms: Count = DEFAULT_RETENTION_MS
    dlq_max: Annotated[int, Meta(ge=1)] | None = None
    dlq_ttl_ms: Annotated[int, Meta(ge=1)] | None = None
    poll_interval_ms: Any = None
    function_wait_ms: Any = None

    def topics(self) -> LaneSettings:
        """How topics run unless their trigger says otherwise."""
        return LaneSettings(
            concurrency=self.concurrency,
            serial=self.mode.lower() == "fifo",
            max_attempts=max(1, self.max_attempts),
            backoff_ms=self.backoff_ms,
            backoff=self.backoff,
            max_backoff_ms=self.max_backoff_ms,
            jitter=self.jitter,
            dispatch_timeout_ms=self.dispatch_timeout_ms,
            ttl_ms=self.ttl_ms,
        )
