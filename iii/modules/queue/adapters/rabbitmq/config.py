"""The settings of the adapter ``rabbitmq`` (docs/adapters.md)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from iii.modules.queue.config import DEFAULT_RETENTION_MS
from iii.modules.queue.settings import (
    DEFAULT_ATTEMPTS,
    DEFAULT_BACKOFF_MS,
    DEFAULT_DISPATCH_TIMEOUT_MS,
    Backoff,
    Count,
    LaneSettings,
)
from iii.rabbitmq import RabbitConfig

DEFAULT_PREFETCH = 10
DEFAULT_PREFIX = "iii"

Prefix = Annotated[str, Meta(min_length=1, max_length=60)]
Bound = Annotated[int, Meta(ge=1)]


class RabbitQueueConfig(RabbitConfig, frozen=True, kw_only=True):
    """``config:`` of the adapter.

    :ivar prefix: what every name on the broker begins with; ``iii`` is the original's
    :ivar max_attempts: calls for one message of a topic until it is dead; 0 is 1
    :ivar prefetch_count: messages of a topic at once, unless its trigger says otherwise
    :ivar queue_mode: ``fifo``: topics run one message at a time, in order
    :ivar exponential_backoff: named queues double their back-off unless they say otherwise
    :ivar priority_field: the member of ``data`` that is the priority of a topic's message
    :ivar subscriber_retention_ms: how long a durable group without a trigger keeps messages
    :ivar dlq_max: dead letters kept of one queue, the oldest go first
    :ivar dlq_ttl_ms: how long dead letters are kept
    """

    prefix: Prefix = DEFAULT_PREFIX
    max_attempts: Count = DEFAULT_ATTEMPTS
    prefetch_count: Count = DEFAULT_PREFETCH
    queue_mode: str = "standard"
    backoff_ms: Count = DEFAULT_BACKOFF_MS
    backoff: Backoff = "exponential"
    max_backoff_ms: Count | None = None
    jitter: bool = False
    exponential_backoff: bool = False
    dispatch_timeout_ms: Count = DEFAULT_DISPATCH_TIMEOUT_MS
    ttl_ms: Bound | None = None
    priority_field: str | None = None
    subscriber_retention_ms: Count = DEFAULT_RETENTION_MS
    dlq_max: Bound | None = None
    dlq_ttl_ms: Bound | None = None

    def topics(self) -> LaneSettings:
        """How topics run unless their trigger says otherwise."""
        return LaneSettings(
            concurrency=self.prefetch_count,
            serial=self.queue_mode.lower() == "fifo",
            max_attempts=max(1, self.max_attempts),
            backoff_ms=self.backoff_ms,
            backoff=self.backoff,
            max_backoff_ms=self.max_backoff_ms,
            jitter=self.jitter,
            dispatch_timeout_ms=self.dispatch_timeout_ms,
            ttl_ms=self.ttl_ms,
            priority_field=self.priority_field,
        )
