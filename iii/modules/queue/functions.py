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
from iii.engine.ids import next_id
from iii.engine.inputs import InputError
from iii.engine.invocations import Call
from iii.engine.module import ModuleApi
from iii.engine.tracecontext import UNRECORDED
from iii.errors import Code, IIIError
from iii.modules.queue.adapter import New, NotSupported, Once, QueueAdapter
from iii.modules.queue.adapter import Receipt as Kept
from iii.modules.queue.figures import Figures
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
from iii.modules.queue.spans import Putting
from iii.modules.queue.topics import Topics

T = TypeVar("T")


class Publishing:
    """The functions that take messages."""

    def __init__(
        self,
        engine: ModuleApi,
        adapter: QueueAdapter,
        topics: Topics,
        queues: NamedQueues,
        figures: Figures,
    ) -> None:
        self._engine = engine
        self._clock = engine.clock
        self._adapter = adapter
        self._topics = topics
        self._queues = queues
        self._figures = figures

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
            wants_call=True,
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
        figures = self._figures.of(asked.topic, "topic")
        putting = Putting(self._engine, figures, call.traceparent, asked.topic)
        new = New(
            next_id(),
            asked.data,
            list(route),
            traceparent=putting.context,
            baggage=call.baggage,
        )
        once = self._once("topic", asked.topic, asked)
        self._say(new, asked)
        wanted = asked.wants_receipt

        def answer(kept: Kept) -> Receipt | None:
            return Receipt(kept.id, kept.duplicate) if wanted else None

        return self._put(new, once, putting, answer)

    def enqueue(self, asked: EnqueueInput, call: Call) -> Deferred[dict[str, Any]]:
        """``engine::queue::enqueue``: a call of a function, on a named queue.

        :raises IIIError: the queue doesn't take it, or (through the Deferred) can't keep it
        """
        queue = self._queues.check(asked.queue, asked.data)
        if asked.priority is not None:
            self._check_priority(asked.queue, queue.fifo)
        parent = asked.traceparent
        if parent is None and (call.received or call.parent) and call.parent != UNRECORDED:
            parent = call.traceparent  # somebody's own call, not what an action became
        figures = self._figures.of(asked.queue, "named")
        putting = Putting(self._engine, figures, parent, asked.queue, asked.function_id)
        new = New(
            asked.messageReceiptId or next_id(),
            asked.data,
            [named(asked.queue)],
            function_id=asked.function_id,
            namespace=None if asked.namespace == DEFAULT_NAMESPACE else asked.namespace,
            traceparent=putting.context,
            baggage=asked.baggage,
        )
        once = self._once("queue", asked.queue, asked)
        self._say(new, asked)
        wanted = asked.wants_receipt

        def answer(kept: Kept) -> dict[str, Any]:
            receipt: dict[str, Any] = {"messageReceiptId": kept.id}
            return {**receipt, "duplicate": kept.duplicate} if wanted else receipt

        return self._put(new, once, putting, answer)

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

    def _put(
        self, new: New, once: Once | None, putting: Putting, answer: Callable[[Kept], T]
    ) -> Deferred[T]:
        keeping = self._adapter.put(new, once)
        if not isinstance(keeping, Deferred):
            keeping = Deferred.fromCoroutine(_awaited(keeping))
        return keeping.addCallbacks(
            self._kept, self._not_kept, callbackArgs=(putting, answer), errbackArgs=(putting,)
        )

    def _kept(self, kept: Kept, putting: Putting, answer: Callable[[Kept], T]) -> T:
        putting.kept(duplicate=kept.duplicate)
        return answer(kept)

    def _not_kept(self, failure: Failure, putting: Putting) -> NoReturn:
        error = failure.value
        if not isinstance(error, IIIError):
            putting.refused(Code.INTERNAL_ERROR, str(error))
            failure.raiseException()
        if isinstance(error, NotSupported):
            putting.refused(error.code, error.message)
            raise error
        text = f"{self._adapter.kind}: {error.message}"
        putting.refused(Code.ENQUEUE_ERROR, text)
        raise IIIError(Code.ENQUEUE_ERROR, text) from error


async def _awaited(keeping: Awaitable[Kept]) -> Kept:
    return await keeping
