"""What decides how a queue is worked off.

Three vocabularies say it: ``queue_configs`` of the module (named queues), the adapter's
keys (topics), and the camelCase ``queue_config`` of one trigger.  All become one
``LaneSettings``.  docs/queues.md has the table.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from iii.modules.queue.limits import RateLimit

DEFAULT_CONCURRENCY = 10
DEFAULT_ATTEMPTS = 3
DEFAULT_BACKOFF_MS = 1_000
#: No back-off is longer, however often a message failed: a year.
LONGEST_WAIT_MS = 365 * 24 * 3600 * 1000
DEFAULT_DISPATCH_TIMEOUT_MS = 30 * 60 * 1000
HIGHEST_BROKER_PRIORITY = 255

Count = Annotated[int, msgspec.Meta(ge=0)]
Backoff = Literal["fixed", "exponential"]
Kind = Literal["standard", "fifo"]


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one lane is worked off.

    :ivar concurrency: messages at once; 0: nothing is taken
    :ivar serial: one at a time, a failed one is tried again before the next (a FIFO topic)
    :ivar key_field: the member of ``data`` whose value groups messages
    :ivar per_key: messages of one group at once
    :ivar ordered: a failed message holds its group back (a FIFO queue)
    :ivar max_attempts: calls until it is dead, at least 1
    :ivar backoff_ms: wait before the second attempt
    :ivar backoff: ``exponential`` doubles it each time
    :ivar jitter: adds up to a quarter, so that messages that failed together part
    :ivar dispatch_timeout_ms: bound of one attempt; 0: none
    :ivar delay_ms: wait before the first attempt
    :ivar max_priority: of a broker that has to be told beforehand (RabbitMQ); None: it has none
    :ivar priority_field: there, the member of ``data`` that is the priority
    """

    concurrency: int = DEFAULT_CONCURRENCY
    serial: bool = False
    key_field: str | None = None
    per_key: int = 1
    ordered: bool = False
    max_attempts: int = DEFAULT_ATTEMPTS
    backoff_ms: int = DEFAULT_BACKOFF_MS
    backoff: Backoff = "exponential"
    max_backoff_ms: int | None = None
    jitter: bool = False
    dispatch_timeout_ms: int = DEFAULT_DISPATCH_TIMEOUT_MS
    delay_ms: int = 0
    ttl_ms: int | None = None
    rate_limit: RateLimit | None = None
    max_priority: int | None = None
    priority_field: str | None = None

    def wait_ms(self, attempts: int, chance: float) -> int:
        """The back-off after so many attempts.

        :param chance: 0 to 1, for the jitter
        """
        wait = self.backoff_ms
        if self.backoff == "exponential":
            wait *= 2 ** min(attempts - 1, 40)
        wait = min(wait, LONGEST_WAIT_MS if self.max_backoff_ms is None else self.max_backoff_ms)
        if self.jitter:
            wait += int(wait * chance / 4)
        return min(wait, LONGEST_WAIT_MS)


class NamedQueue(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``queue_configs``.

    :ivar backoff: None: what the adapter does by itself
    """

    type: str = "standard"
    concurrency: Count | None = None
    max_retries: Count = DEFAULT_ATTEMPTS
    message_group_field: str | None = None
    backoff_ms: Count = DEFAULT_BACKOFF_MS
    backoff: Backoff | None = None
    max_backoff_ms: Count | None = None
    jitter: bool = False
    poll_interval_ms: Count = 100
    dispatch_timeout_ms: Count = DEFAULT_DISPATCH_TIMEOUT_MS
    timeout_ms: Count | None = None
    ttl_ms: Annotated[int, msgspec.Meta(ge=1)] | None = None
    concurrency_key: str | None = None
    concurrency_per_key: Annotated[int, msgspec.Meta(ge=1)] = 1
    rate_limit: RateLimit | None = None
    max_priority: Any = None
    priority_field: str | None = None

    def problem(self, name: str) -> str | None:
        """What is wrong with the entry as a whole."""
        if self.type not in ("standard", "fifo"):
            return f"Queue '{name}' has invalid type '{self.type}'. Must be 'standard' or 'fifo'"
        if self.type == "fifo" and not self.message_group_field:
            return f"Queue '{name}' is of type 'fifo' but 'message_group_field' is not set"
        if self.type == "fifo" and self.concurrency_key is not None:
            return (
                f"Queue '{name}' is of type 'fifo', whose groups run one message at a time: "
                "'concurrency_key' is for standard queues"
            )
        highest = self.max_priority
        if isinstance(highest, int) and not 1 <= highest <= HIGHEST_BROKER_PRIORITY:
            return (
                f"Queue '{name}' has 'max_priority' {highest}; it must be between 1 and "
                f"{HIGHEST_BROKER_PRIORITY}"
            )
        key = self.key_field
        rate_key = None if self.rate_limit is None else self.rate_limit.key_field
        if rate_key is not None and key is not None and rate_key != key:
            return (
                f"Queue '{name}' groups by '{key}' and limits the rate by '{rate_key}': "
                "both need the same field"
            )
        return None

    @property
    def fifo(self) -> bool:
        """Whether groups are kept in order."""
        return self.type == "fifo"

    @property
    def key_field(self) -> str | None:
        """What groups messages."""
        if self.fifo:
            return self.message_group_field
        if self.concurrency_key is not None:
            return self.concurrency_key
        return None if self.rate_limit is None else self.rate_limit.key_field

    @property
    def slots(self) -> int:
        """Messages at once; 0: none.  Groups of a FIFO queue run beside each other on request."""
        if self.concurrency is not None:
            return self.concurrency
        return 1 if self.fifo else DEFAULT_CONCURRENCY

    def lane(self) -> LaneSettings:
        """The settings of the queue's lane."""
        fifo = self.fifo
        limit = self.dispatch_timeout_ms if self.timeout_ms is None else self.timeout_ms
        if fifo:
            per_key = 1
        elif self.concurrency_key is not None:
            per_key = self.concurrency_per_key
        else:
            per_key = max(1, self.slots)
        return LaneSettings(
            concurrency=self.slots,
            key_field=self.key_field,
            per_key=per_key,
            ordered=fifo,
            max_attempts=max(1, self.max_retries),
            backoff_ms=self.backoff_ms,
            backoff=self.backoff or "exponential",
            max_backoff_ms=self.max_backoff_ms,
            jitter=self.jitter,
            dispatch_timeout_ms=limit,
            ttl_ms=self.ttl_ms,
            rate_limit=self.rate_limit,
            max_priority=_whole(self.max_priority),
            priority_field=self.priority_field,
        )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
