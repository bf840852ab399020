"""What the queue functions take and give (docs/queues.md, "Functions").

Payloads are ``Raw``: JSON that passes through unread.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from iii.engine.inputs import Input, InputError
from iii.engine.invocations import NULL
from iii.modules.queue.message import DEFAULT_PRIORITY

MAX_KEY_CHARS = 256
MAX_PAGE = 1_000
MAX_IDS = 1_000
DEFAULT_PAGE = 50
DEFAULT_KEY_TTL_MS = 24 * 3600 * 1000
#: A hundred years; longer waits are mistakes.
LONGEST_WAIT_MS = 100 * 366 * 24 * 3600 * 1000
#: The end of the year 9999.
LAST_MS = 253_402_300_799_999

Wait = Annotated[int, Meta(ge=0, le=LONGEST_WAIT_MS)]
Instant = str | Annotated[int, Meta(ge=0, le=LAST_MS)]
Page = Annotated[int, Meta(ge=0)]


class Job(Input, kw_only=True):
    """What may be said about any message.  Giving one of these asks for a receipt."""

    receipt: bool | None = None
    delay_ms: Wait | None = None
    deliver_at: Instant | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARS)] | None = None
    idempotency_ttl_ms: Annotated[int, Meta(ge=1, le=LONGEST_WAIT_MS)] | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] | None = None
    ttl_ms: Annotated[int, Meta(ge=1, le=LONGEST_WAIT_MS)] | None = None

    @property
    def wants_receipt(self) -> bool:
        """Whether any of the fields was given."""
        return bool(self.receipt) or self.says_more

    @property
    def says_more(self) -> bool:
        """Whether it is more than a plain message."""
        return not (
            self.delay_ms is None
            and self.deliver_at is None
            and self.idempotency_key is None
            and self.idempotency_ttl_ms is None
            and self.priority is None
            and self.ttl_ms is None
        )

    @property
    def urgency(self) -> int:
        """The priority, 4 unless it is given."""
        return DEFAULT_PRIORITY if self.priority is None else self.priority

    def due_ms(self, now_ms: int) -> int:
        """When it is due; 0: now.

        :raises InputError: ``deliver_at`` is no time, or there are two
        """
        if self.deliver_at is not None:
            if self.delay_ms is not None:
                raise InputError("`delay_ms` and `deliver_at` exclude each other")
            return instant_ms(self.deliver_at)
        return now_ms + self.delay_ms if self.delay_ms else 0


class PublishInput(Job, kw_only=True):
    """``enqueue``, ``iii::durable::publish``."""

    aliases: ClassVar[dict[str, tuple[str, ...]]] = {"topic": ("queue",)}

    topic: str
    data: Raw


class EnqueueInput(Job, kw_only=True):
    """``engine::queue::enqueue``: what ``action: {"type": "enqueue"}`` becomes."""

    queue: str
    function_id: str
    data: Raw = msgspec.field(default_factory=lambda: NULL)
    messageReceiptId: str | None = None
    traceparent: str | None = None
    baggage: str | None = None
    namespace: str | None = None


class DefineInput(Input, kw_only=True):
    """``queue::define``."""

    queue: Annotated[str, Meta(min_length=1)]
    config: dict[str, Any] = {}


class Receipt(Struct):
    """The answer to a message that wants one."""

    messageReceiptId: str
    duplicate: bool


class QueueInput(Input, kw_only=True):
    """About one queue, by either name."""

    aliases: ClassVar[dict[str, tuple[str, ...]]] = {"queue": ("topic",)}

    queue: str = ""


class TopicInput(Input, kw_only=True):
    """About one topic, by either name."""

    aliases: ClassVar[dict[str, tuple[str, ...]]] = {"topic": ("queue",)}

    topic: str = ""


class MessageInput(QueueInput, kw_only=True):
    """About one dead letter."""

    message_id: str = ""


class DeadInput(TopicInput, kw_only=True):
    """``engine::queue::dlq_messages``."""

    offset: Page = 0
    limit: Annotated[int, Meta(ge=0, le=MAX_PAGE)] = DEFAULT_PAGE


class ListInput(TopicInput, kw_only=True):
    """``engine::queue::messages``, ``engine::queue::scheduled``."""

    state: Literal["waiting", "delayed", "active"] | None = None
    offset: Page = 0
    limit: Annotated[int, Meta(ge=0, le=MAX_PAGE)] = DEFAULT_PAGE


class PurgeInput(TopicInput, kw_only=True):
    """``engine::queue::purge``."""

    state: Literal["waiting", "delayed", "dead"] | None = None


class MoveInput(Input, kw_only=True):
    """``engine::queue::move``."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    limit: Annotated[int, Meta(ge=0)] | None = None


class DeadSelection(Struct, kw_only=True):
    """Which dead letters; what is absent doesn't matter."""

    error_code: str | None = None
    older_than_ms: Wait | None = None
    function_id: str | None = None

    @property
    def says_something(self) -> bool:
        """Whether it leaves anything out."""
        return any(v is not None for v in (self.error_code, self.older_than_ms, self.function_id))


class BulkInput(TopicInput, kw_only=True):
    """``engine::queue::dlq_bulk``."""

    action: Literal["redrive", "discard"]
    ids: Annotated[list[str], Meta(max_length=MAX_IDS)] | None = None
    filter: DeadSelection | None = None
    error_code: str | None = None
    older_than_ms: Wait | None = None
    function_id: str | None = None
    payload: Raw = msgspec.field(default_factory=Raw)

    @property
    def selection(self) -> DeadSelection:
        """The filter, wherever it was given."""
        return self.filter or DeadSelection(
            error_code=self.error_code,
            older_than_ms=self.older_than_ms,
            function_id=self.function_id,
        )


class IdInput(Input, kw_only=True):
    """About one message, by its receipt."""

    id: str


class RescheduleInput(IdInput, kw_only=True):
    """``engine::queue::reschedule``."""

    deliver_at: Instant


class TopicRow(Struct):
    """A row of ``engine::queue::list_topics``."""

    name: str
    broker_type: str
    subscriber_count: int


class DeadRow(Struct):
    """A row of ``engine::queue::dlq_topics``."""

    topic: str
    broker_type: str
    message_count: int


class Stats(Struct):
    """``engine::queue::topic_stats``."""

    depth: int
    consumer_count: int
    dlq_depth: int
    config: None
    delivered: int
    failed: int
    waiting: int
    delayed: int
    active: int
    paused: bool
    waiting_for_worker: bool


class Attempt(Struct):
    """One failed attempt of a dead letter."""

    at_ms: int
    code: str
    message: str
    stacktrace: str | None


class DeadLetter(Struct, omit_defaults=True):
    """A row of ``engine::queue::dlq_messages``."""

    id: str
    payload: Raw
    error: str
    failed_at: int
    retries: int
    size_bytes: int
    code: str | None
    stacktrace: str | None
    reason: str | None
    attempts: list[Attempt]
    created_at_ms: int
    group: str | None = None
    function_id: str | None = None


class MessageRow(Struct, omit_defaults=True):
    """A row of ``engine::queue::messages`` and ``engine::queue::scheduled``."""

    id: str
    payload: Raw
    state: str
    attempts: int
    created_at_ms: int
    due_at_ms: int | None = None
    group: str | None = None
    function_id: str | None = None
    topic: str | None = None
    queue: str | None = None
    priority: int = DEFAULT_PRIORITY


def instant_ms(given: str | int) -> int:
    """Milliseconds since the epoch of an ISO 8601 time, or of such milliseconds.

    :raises InputError: it is neither
    """
    if isinstance(given, int):
        return given
    try:
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        raise InputError(f"`deliver_at` is no ISO 8601 time: {error}") from error
