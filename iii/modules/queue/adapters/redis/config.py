"""``config:`` of the queue adapter on Redis (docs/adapters.md, "Redis")."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from iii.modules.queue.config import DEFAULT_RETENTION_MS
from iii.modules.queue.settings import (
    DEFAULT_ATTEMPTS,
    DEFAULT_BACKOFF_MS,
    DEFAULT_CONCURRENCY,
    DEFAULT_DISPATCH_TIMEOUT_MS,
    Backoff,
    Count,
    LaneSettings,
)
from iii.redis import RedisConfig

SHORTEST_LEASE_MS = 300
DEFAULT_LEASE_MS = 30_000


class RedisQueueConfig(RedisConfig, frozen=True, kw_only=True):
    """Where messages are kept, and how topics run.

    :ivar key_prefix: of all keys and channels; engines with another one share nothing
    :ivar lease_ms: within this a message comes again whose engine died
    :ivar legacy_pubsub: what is published on the channel of a topic is put into its queue
    :ivar legacy_publish: messages of topics are published on its channel as well
    :ivar max_attempts: calls for one message of a topic until it is dead; 0 is 1
    :ivar mode: ``fifo``: topics run one message at a time, in order; ``pubsub``: the
        original's form, in which nothing is kept
    :ivar subscriber_retention_ms: how long a durable group without a trigger keeps messages
    :ivar dlq_max: dead letters kept of one queue, the oldest go first
    :ivar dlq_ttl_ms: how long dead letters are kept
    :ivar poll_interval_ms: accepted; nothing is polled
    """

    key_prefix: Annotated[str, Meta(min_length=1, pattern=r"^[^{}\s]+$")] = "iii"
    lease_ms: Annotated[int, Meta(ge=SHORTEST_LEASE_MS)] = DEFAULT_LEASE_MS
    legacy_pubsub: bool = True
    legacy_publish: bool = False
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
