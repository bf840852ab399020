"""Named queues: those of the configuration, those of ``queue::define``, and ``default``."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.logger import Logger

from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError
from iii.modules.queue.adapter import QueueAdapter
from iii.modules.queue.delivery import Delivery, NamedExecutor, Target
from iii.modules.queue.figures import Figures
from iii.modules.queue.names import named
from iii.modules.queue.settings import NamedQueue

log = Logger()

DEFAULT_QUEUE = "default"


class NamedQueues:
    """All named queues."""

    def __init__(
        self, engine: ModuleApi, adapter: QueueAdapter, delivery: Delivery, figures: Figures
    ) -> None:
        self._engine = engine
        self._adapter = adapter
        self._delivery = delivery
        self._figures = figures
        self._configured: frozenset[str] = frozenset()
        self.queues: dict[str, NamedQueue] = {}

    def start(self, configured: dict[str, NamedQueue]) -> None:
        """Begin with the queues of the configuration."""
        self._configured = frozenset(configured)
        queues = {DEFAULT_QUEUE: NamedQueue(), **self._defined(), **configured}
        for name, queue in queues.items():
            self._use(name, queue)

    def _defined(self) -> dict[str, NamedQueue]:
        """What ``queue::define`` made in an earlier run."""
        return {
            queue.name: msgspec.convert(facts.settings, NamedQueue)
            for queue, facts in self._adapter.facts().items()
            if queue.kind == "named" and facts.settings is not None
        }

    async def report_left(self) -> None:
        """Tell of queues that have messages and are in no configuration any more."""
        for queue in list(self._adapter.facts()):
            if queue.kind != "named" or queue.name in self.queues:
                continue
            counts = await self._adapter.counts(queue)
            left = counts.waiting + counts.delayed
            if left:
                log.warn(
                    "queue '{name}' is not configured any more: its {count} message(s) wait; "
                    "engine::queue::move brings them to another queue",
                    name=queue.name,
                    count=left,
                )

    def _use(self, name: str, queue: NamedQueue) -> None:
        self.queues[name] = queue
        target = Target(name, self._figures.of(name, "named"))
        executor = NamedExecutor(self._engine, self._delivery, target)
        self._adapter.consume(named(name), self._adapter.named_settings(queue), executor)

    async def define(self, name: str, queue: NamedQueue) -> bool:
        """Make a queue, or change one; whether anything changed.

        :raises IIIError: it makes no sense, or the configuration has it otherwise
        """
        problem = queue.problem(name)
        if problem is not None:
            raise IIIError(Code.INVALID_QUEUE_CONFIG, problem)
        if self.queues.get(name) == queue:
            return False
        if name in self._configured:
            text = f"Queue '{name}' is set in the configuration and can't be changed here"
            raise IIIError(Code.INVALID_QUEUE_CONFIG, text)
        settings: dict[str, Any] = msgspec.to_builtins(queue)
        await self._adapter.remember(named(name), settings=settings)
        self._use(name, queue)
        return True

    def check(self, name: str, data: Raw) -> NamedQueue:
        """The queue ``name``, which is to take ``data``.

        :raises IIIError: there is none, or it can't take it
        """
        queue = self.queues.get(name)
        if queue is None:
            raise IIIError(Code.ENQUEUE_ERROR, f"Queue '{name}' not found")
        if queue.fifo:
            _check_group(name, queue.message_group_field, data)
        return queue


def _check_group(name: str, field: str | None, data: Raw) -> None:
    if field is None:
        text = f"FIFO queue '{name}' requires 'message_group_field' to be configured"
        raise IIIError(Code.ENQUEUE_ERROR, text)
    try:
        members = msgspec.json.decode(data, type=dict[str, Raw])
    except msgspec.MsgspecError:
        members = {}
    value = members.get(field)
    if value is None:
        text = f"FIFO queue '{name}' requires field '{field}' in data, but it was not found"
        raise IIIError(Code.ENQUEUE_ERROR, text)
    if bytes(value).strip() == b"null":
        text = f"FIFO queue '{name}': field '{field}' must not be null"
        raise IIIError(Code.ENQUEUE_ERROR, text)
