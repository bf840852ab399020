"""Where messages wait: what an adapter is.

An adapter keeps *queues* under names.  ``put`` takes messages and answers when they are
safe; ``consume`` says how a queue is worked off and who does it.  When a message's turn
has come, the adapter hands it to the ``Executor`` and is told the outcome: done (forget
it), failed (the attempt counts: try again after ``settings.wait_ms``, or it is dead),
returned (it doesn't count: try again), absent (nobody can run it: wait until
``look_again``).  The module does everything else: topics and their groups, conditions,
calls of functions, time limits.

``start``, ``put``, ``consume`` and ``stop`` are an adapter
(``examples/custom_queue_adapter``).  Whatever more it can do it says by overriding the
rest; what it leaves is answered with ``not_supported``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Raw
from twisted.internet.defer import succeed

from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError
from iii.modules.queue.journal import LaneFacts
from iii.modules.queue.lane import Executor, Outcome, Verdict
from iii.modules.queue.message import DEFAULT_PRIORITY, Details, Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings, NamedQueue

__all__ = [
    "Counts",
    "DeadFilter",
    "Details",
    "Executor",
    "LaneFacts",
    "Message",
    "New",
    "NotSupported",
    "Once",
    "Outcome",
    "QueueAdapter",
    "QueueName",
    "Receipt",
    "Verdict",
]


Status = Literal["waiting", "delayed", "active", "dead", "unknown"]


class NotSupported(IIIError):
    """The adapter can't do that."""

    def __init__(self, adapter: QueueAdapter, what: str) -> None:
        super().__init__(Code.NOT_SUPPORTED, f"the queue adapter '{adapter.kind}' has no {what}")


class New:
    """A message to be kept in one or more queues.

    :ivar id: its receipt
    :ivar due_ms: when it may run at the earliest; 0: now
    :ivar ttl_ms: how long it is good for; None: what the queue says
    """

    __slots__ = (
        "baggage",
        "data",
        "due_ms",
        "function_id",
        "id",
        "namespace",
        "priority",
        "queues",
        "traceparent",
        "ttl_ms",
    )

    def __init__(
        self,
        id: str,
        data: Raw,
        queues: list[QueueName],
        *,
        function_id: str | None = None,
        namespace: str | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
        due_ms: int = 0,
        ttl_ms: int | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        self.id = id
        self.data = data
        self.queues = queues
        self.function_id = function_id
        self.namespace = namespace
        self.traceparent = traceparent
        self.baggage = baggage
        self.due_ms = due_ms
        self.ttl_ms = ttl_ms
        self.priority = priority


class Once(msgspec.Struct, frozen=True):
    """An idempotency key and how long it counts."""

    scope: str
    key: str
    ttl_ms: int


class Receipt(msgspec.Struct, frozen=True):
    """What became of a put.

    :ivar duplicate: nothing was stored, ``id`` is that of the first message
    """

    id: str
    duplicate: bool = False


class Counts(msgspec.Struct):
    """How many messages a queue has."""

    waiting: int = 0
    delayed: int = 0
    active: int = 0
    dead: int = 0
    delivered: int = 0
    failed: int = 0
    waiting_for_worker: bool = False
    paused: bool = False

    def add(self, other: Counts) -> None:
        """Sum up: of the groups of a topic."""
        self.waiting += other.waiting
        self.delayed += other.delayed
        self.active += other.active
        self.dead += other.dead
        self.delivered += other.delivered
        self.failed += other.failed
        self.waiting_for_worker = self.waiting_for_worker or other.waiting_for_worker
        self.paused = self.paused or other.paused


class DeadFilter(msgspec.Struct, frozen=True):
    """Which dead letters are meant; what is None doesn't matter.

    :ivar ids: receipts
    :ivar died_before_ms: dead since before then
    """

    ids: frozenset[str] | None = None
    error_code: str | None = None
    function_id: str | None = None
    died_before_ms: int | None = None

    def takes(self, message: Message) -> bool:
        """Whether ``message``, which is dead, is meant."""
        failures = message.details.failures
        code = failures[-1].code if failures else message.details.reason
        return (
            (self.ids is None or message.id in self.ids)
            and (self.error_code is None or self.error_code == code)
            and (self.function_id is None or self.function_id == message.function_id)
            and (self.died_before_ms is None or message.due_ms < self.died_before_ms)
        )


class QueueAdapter(ABC):
    """Base of all adapters.

    :cvar kind: ``broker_type`` in lists
    :ivar topic_settings: how a topic is worked off unless its trigger says otherwise
    :ivar retention_ms: how long a durable group without a trigger keeps its messages
    """

    kind: ClassVar[str] = "custom"
    topic_settings = LaneSettings()
    retention_ms = 24 * 3600 * 1000

    # What every adapter does -----------------------------------------------------------

    @abstractmethod
    def start(self, engine: ModuleApi, stores: dict[str, str]) -> Awaitable[None] | None:
        """Open the backend.

        :param stores: enter where messages are kept, for the start-up summary
        :raises StartError: it can't be used
        """

    @abstractmethod
    def put(self, new: New, once: Once | None = None) -> Awaitable[Receipt]:
        """Keep one copy of a message in each of its queues.

        :raises IIIError: it is not kept
        """

    @abstractmethod
    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Hand messages of ``queue`` to ``executor``; again: with other settings."""

    @abstractmethod
    def stop(self) -> Awaitable[None] | None:
        """Let go of the backend; what runs is to be delivered again."""

    # What most do ----------------------------------------------------------------------

    def closing(self) -> None:  # noqa: B027 (an adapter may have nothing to do)
        """Hand out no more messages; outcomes of those that run still come."""

    def look_again(self, queue: QueueName | None = None) -> None:  # noqa: B027
        """Functions or triggers came: what was ``absent`` may run. None: every queue."""

    def named_settings(self, queue: NamedQueue) -> LaneSettings:
        """What an entry of ``queue_configs`` means here."""
        return queue.lane()

    def facts(self) -> dict[QueueName, LaneFacts]:
        """Every queue that is known, and what has to survive a restart about it."""
        return self._facts

    def known(self, queue: QueueName) -> LaneFacts | None:
        """The facts of one queue; None: nobody has heard of it."""
        return self.facts().get(queue)

    def remember(self, queue: QueueName, **changes: Any) -> Awaitable[None]:
        """Change facts of a queue, which may be new."""
        known = self._facts.get(queue, LaneFacts())
        self._facts[queue] = msgspec.structs.replace(known, **changes)
        return succeed(None)

    def drop(self, queue: QueueName) -> Awaitable[int]:
        """Throw away what waits in a queue, and forget it unless it has dead letters.

        :returns: how many messages went
        """
        self._facts.pop(queue, None)
        return succeed(0)

    @property
    def _facts(self) -> dict[QueueName, LaneFacts]:
        # Not made in __init__, so that a subclass need not call it.
        facts: dict[QueueName, LaneFacts] = self.__dict__.setdefault("_known_queues", {})
        return facts

    # What one may do -------------------------------------------------------------------

    def counts(self, queue: QueueName) -> Awaitable[Counts]:
        """How many messages ``queue`` has."""
        raise NotSupported(self, "counts")

    def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> Awaitable[list[tuple[QueueName, Status, Message]]]:
        """Messages for people, next ones first; dead ones newest first."""
        raise NotSupported(self, "lists of messages")

    def redrive(
        self, queues: list[QueueName], which: DeadFilter, payload: Raw | None = None
    ) -> Awaitable[list[str]]:
        """Dead letters wait again, at the end; the ids of those that were found."""
        raise NotSupported(self, "redrive")

    def discard(self, queues: list[QueueName], which: DeadFilter) -> Awaitable[list[str]]:
        """Dead letters go for good; the ids of those that were found."""
        raise NotSupported(self, "discard")

    def purge(self, queues: list[QueueName], state: Status | None) -> Awaitable[int]:
        """Messages that wait or are delayed go for good."""
        raise NotSupported(self, "purge")

    def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> Awaitable[int]:
        """Messages that wait or are delayed go to other queues, one copy to each."""
        raise NotSupported(self, "move")

    def pause(self, queues: list[QueueName], paused: bool) -> Awaitable[None]:
        """Stop or go on handing out messages of ``queues``."""
        raise NotSupported(self, "pause")

    def cancel(self, id: str) -> Awaitable[Status]:
        """Take a message back; its state before, ``waiting`` or ``delayed`` when it is gone."""
        raise NotSupported(self, "cancel")

    def reschedule(self, id: str, due_ms: int) -> Awaitable[Status]:
        """A message that waits or is delayed is due at another time; its state before."""
        raise NotSupported(self, "reschedule")
