"""How messages come in: ``enqueue``, ``iii::durable::publish``, ``engine::queue::enqueue``.

The answer is sent when the adapter says that the message is safe, and not before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from iii.engine.functions import DEFAULT_NAMESPACE
from iii.engine.ids import uuid4_text
from iii.engine.inputs import InputError
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError
from iii.modules.queue.adapter import New, Once, QueueAdapter
from iii.modules.queue.adapter import Receipt as Kept
from iii.modules.queue.named import NamedQueues
from iii.modules.queue.names import named
from iii.modules.queue.settings import NamedQueue
from iii.modules.queue.shapes import (
    DEFAULT_KEY_TTL_MS,
    DefineInput,
    EnqueueInput,
    Job,
    PublishInput,
    Receipt,
)
from iii.modules.queue.topics import Topics

T = TypeVar("T")


class Publishing:
    """The functions that take messages."""

    def __init__(
        self, engine: ModuleApi, adapter: QueueAdapter, topics: Topics, queues: NamedQueues
    ) -> None:
        self._clock = engine.clock
        self._adapter = adapter
        self._topics = topics
        self._queues = queues

    def install(self, engine: ModuleApi) -> None:
        """Offer them."""
        for id in ("enqueue", "iii::durable::publish"):
            engine.function(
                id,
                self.publish,
                takes=PublishInput,
                gives=Receipt | None,
                description="Enqueue a message",
                wants_call=True,
            )
        engine.function(
            "engine::queue::enqueue",
            self.enqueue,
            takes=EnqueueInput,
            description="Put a call of a function on a named queue",
        )
        engine.function(
            "queue::define",
            self.define,
            takes=DefineInput,
            description="Make a named queue, or change its settings",
        )

    def publish(self, asked: PublishInput, call: Call) -> Deferred[Receipt | None]:
        """``enqueue``: to every group of a topic.

        :raises IIIError: it names no topic, or (through the Deferred) is not kept
        """
        if not asked.topic:
            raise IIIError(Code.TOPIC_NOT_SET, "Topic is not set")
        route = self._topics.route(asked.topic)
        if asked.says_more and asked.priority is not None:
            self._check_priority(asked.topic, any(self._topics.settings(q).serial for q in route))
        new = New(
            uuid4_text(),
            asked.data,
            list(route),
            traceparent=call.traceparent,
            baggage=call.baggage,
        )
        once = self._once("topic", asked.topic, asked)
        self._say(new, asked)
        wanted = asked.wants_receipt

        def answer(kept: Kept) -> Receipt | None:
            return Receipt(kept.id, kept.duplicate) if wanted else None

        return self._put(new, once, answer)

    def enqueue(self, asked: EnqueueInput) -> Deferred[dict[str, Any]]:
        """``engine::queue::enqueue``: a call of a function, on a named queue.

        :raises IIIError: the queue doesn't take it, or (through the Deferred) can't keep it
        """
        queue = self._queues.check(asked.queue, asked.data)
        if asked.priority is not None:
            self._check_priority(asked.queue, queue.fifo)
        new = New(
            asked.messageReceiptId or uuid4_text(),
            asked.data,
            [named(asked.queue)],
            function_id=asked.function_id,
            namespace=None if asked.namespace == DEFAULT_NAMESPACE else asked.namespace,
            traceparent=asked.traceparent,
            baggage=asked.baggage,
        )
        once = self._once("queue", asked.queue, asked)
        self._say(new, asked)
        wanted = asked.wants_receipt

        def answer(kept: Kept) -> dict[str, Any]:
            receipt: dict[str, Any] = {"messageReceiptId": kept.id}
            return {**receipt, "duplicate": kept.duplicate} if wanted else receipt

        return self._put(new, once, answer)

    async def define(self, asked: DefineInput) -> dict[str, Any]:
        """``queue::define``.

        :raises InputError: a setting has the wrong type
        """
        try:
            queue = msgspec.convert(asked.config, NamedQueue)
        except msgspec.ValidationError as error:
            raise InputError(f"config: {error}") from error
        return {"queue": asked.queue, "changed": await self._queues.define(asked.queue, queue)}

    # Inside ----------------------------------------------------------------------------

    def _say(self, new: New, job: Job) -> None:
        """What ``job`` says about the message."""
        if job.says_more:
            new.due_ms = job.due_ms(self._clock.wall_ms())
            new.ttl_ms = job.ttl_ms
            new.priority = job.urgency

    def _once(self, kind: str, name: str, job: Job) -> Once | None:
        if job.idempotency_key is None:
            return None
        ttl_ms = job.idempotency_ttl_ms or DEFAULT_KEY_TTL_MS
        return Once(f"{kind}:{name}", job.idempotency_key, ttl_ms)

    def _check_priority(self, name: str, fifo: bool) -> None:
        if fifo:
            text = f"Queue '{name}' is FIFO: 'priority' is for standard queues"
            raise IIIError(Code.ENQUEUE_ERROR, text)

    def _put(self, new: New, once: Once | None, answer: Callable[[Kept], T]) -> Deferred[T]:
        putting = self._adapter.put(new, once)
        if not isinstance(putting, Deferred):
            putting = Deferred.fromCoroutine(_awaited(putting))
        return putting.addCallbacks(answer, self._not_kept)

    def _not_kept(self, failure: Failure) -> NoReturn:
        error = failure.value
        if not isinstance(error, IIIError):
            failure.raiseException()
        text = f"{self._adapter.kind}: {error.message}"
        raise IIIError(Code.ENQUEUE_ERROR, text) from error


async def _awaited(putting: Awaitable[Kept]) -> Kept:
    return await putting
