"""The least an adapter can be: messages in a dict.

Enough for topics, groups, named queues, conditions, retries and waiting for workers,
because the module does most of it.
"""

from __future__ import annotations

from collections import deque
from random import random
from typing import Any

from iii.engine.module import ModuleApi
from iii.modules.queue.adapter import (
    Counts,
    Details,
    Executor,
    Message,
    New,
    Once,
    Outcome,
    QueueAdapter,
    QueueName,
    Receipt,
    Verdict,
)
from iii.modules.queue.settings import LaneSettings


class Queue:
    """One queue: what waits, and how it is worked off once somebody consumes it."""

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.running = 0
        self.settings: LaneSettings | None = None
        self.executor: Executor | None = None


class DictAdapter(QueueAdapter):
    """Messages in a dict."""

    kind = "dict"

    def __init__(self, config: dict[str, Any]) -> None:
        self.topic_settings = LaneSettings(max_attempts=config.get("max_attempts", 3))
        self._queues: dict[QueueName, Queue] = {}
        self._closing = False
        self._seq = 0

    def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Nothing to open."""
        self._clock = engine.clock

    def stop(self) -> None:
        """Nothing to close."""
        self._closing = True

    def closing(self) -> None:
        """Hand out nothing more."""
        self._closing = True

    async def put(self, new: New, once: Once | None = None) -> Receipt:
        """Keep one copy in each queue; delays, priorities and keys are not for us."""
        for name in new.queues:
            self._seq += 1
            details = Details(new.namespace, new.traceparent, new.baggage)
            message = Message.new(
                self._seq,
                new.id,
                0,
                new.data.copy(),
                details,
                created_ms=self._clock.wall_ms(),
                function_id=new.function_id,
            )
            self._queue(name).waiting.append(message)
            self._pump(name)
        return Receipt(new.id)

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Work ``queue`` off from now on."""
        here = self._queue(queue)
        here.settings, here.executor = settings, executor
        self._pump(queue)

    def look_again(self, queue: QueueName | None = None) -> None:
        """Workers came: what waited for them may run."""
        for name in list(self._queues) if queue is None else [queue]:
            self._pump(name)

    async def counts(self, queue: QueueName) -> Counts:
        """For ``engine::queue::topic_stats``."""
        here = self._queue(queue)
        return Counts(waiting=len(here.waiting), active=here.running)

    async def move(
        self, source: QueueName, targets: list[QueueName], limit: int | None = None
    ) -> int:
        """A topic's first group takes what waited for it."""
        waiting = self._queue(source).waiting
        moved = len(waiting) if limit is None else min(limit, len(waiting))
        for _ in range(moved):
            message = waiting.popleft()
            for target in targets:
                self._queue(target).waiting.append(message)
        return moved

    def _queue(self, name: QueueName) -> Queue:
        return self._queues.setdefault(name, Queue())

    def _pump(self, name: QueueName) -> None:
        """Start what can be started."""
        here = self._queue(name)
        settings, executor = here.settings, here.executor
        if settings is None or executor is None or self._closing:
            return
        for _ in range(len(here.waiting)):
            if here.running >= settings.concurrency:
                return
            message = here.waiting.popleft()
            if not executor.ready(message):
                here.waiting.append(message)  # its function is away; others may run
                continue
            here.running += 1

            def done(outcome: Outcome, message: Message = message) -> None:
                here.running -= 1
                self._ended(name, message, outcome)

            executor.run(message, settings.dispatch_timeout_ms, done)

    def _ended(self, name: QueueName, message: Message, outcome: Outcome) -> None:
        here = self._queue(name)
        settings = here.settings
        assert settings is not None
        if outcome.verdict is Verdict.FAILED:
            message.details.attempts += 1
            if message.details.attempts < settings.max_attempts:
                wait_ms = outcome.after_ms
                if wait_ms is None:
                    wait_ms = settings.wait_ms(message.details.attempts, random())
                self._clock.call_later(wait_ms / 1000, self._again, name, message)
        elif outcome.verdict is not Verdict.DONE:
            here.waiting.appendleft(message)
        self._pump(name)

    def _again(self, name: QueueName, message: Message) -> None:
        self._queue(name).waiting.appendleft(message)
        self._pump(name)
