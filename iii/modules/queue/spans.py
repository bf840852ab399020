"""The spans of messages, and what goes with them as context.

The context that is kept with a message is that of the span of putting it, so all its
attempts, whenever they are made, are below it.  Without tracing, what came is kept and
handed on as it is.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from iii.engine.module import ModuleApi
from iii.engine.tracing import Error
from iii.modules.queue.figures import QueueFigures
from iii.modules.queue.message import Message

Attributes = tuple[Any, ...]

SYSTEM = "iii-queue"
FUNCTION_ID = "iii.function.id"

_PUBLISHED = (
    "messaging.system",
    "messaging.destination.name",
    "messaging.operation.type",
    "baggage.topic",
)
_ENQUEUED = (
    "function_id",
    "queue",
    "messaging.system",
    "messaging.destination.name",
    "messaging.operation.type",
)
_OF_NAMED_QUEUE = (
    "function_id",
    "queue",
    "attempt",
    "delivery_id",
    "messaging.system",
    "messaging.destination.name",
    "messaging.operation.type",
    "iii.tag.kind",
    "iii.tag.display_name",
)
_OF_TOPIC = (
    "function_id",
    "queue",
    "attempt",
    "job_id",
    "messaging.system",
    "messaging.destination.name",
    "messaging.operation.type",
    "baggage.queue",
)

#: Said about the span they came from, not about what follows from it.
_NOT_DELIVERED = frozenset(("iii.tag.kind", "iii.tag.display_name", "iii.tag.hidden", FUNCTION_ID))
_is_plain = re.compile(r"[\w.:/@+-]+", re.ASCII).fullmatch


class Putting:
    """A message on its way into a queue: counted, and followed when there is tracing.

    :param parent: the context it came with
    :param function_id: of a named queue; None: it goes to a topic
    :ivar context: what is kept with it
    """

    __slots__ = (
        "_figures",
        "_function_id",
        "_name",
        "_parent",
        "_queue",
        "_started",
        "_tracing",
        "context",
    )

    def __init__(
        self,
        engine: ModuleApi,
        figures: QueueFigures,
        parent: str | None,
        queue: str,
        function_id: str | None = None,
    ) -> None:
        self._figures = figures
        self.context = self._parent = parent
        tracing = self._tracing = engine.tracing
        if tracing.sink is None:
            return
        name = f"publish {queue}" if function_id is None else f"enqueue {function_id} → {queue}"
        self._name = name
        self._queue = queue
        self._function_id = function_id
        self._started = engine.clock.monotonic()
        self.context = tracing.context(parent, name)

    def kept(self, *, duplicate: bool) -> None:
        """It is safe; or it was there before."""
        if not duplicate:
            self._figures.put()
        self._ended(None)

    def refused(self, code: str, message: str) -> None:
        """It is not kept."""
        self._ended((code, message, None))

    def _ended(self, error: Error | None) -> None:
        context = self.context
        if context is self._parent or context is None or context[-1] != "1":
            return
        queue, function_id = self._queue, self._function_id
        attributes: Attributes = (
            (_PUBLISHED, SYSTEM, queue, "publish", queue)
            if function_id is None
            else (_ENQUEUED, function_id, queue, SYSTEM, queue, "publish")
        )
        self._tracing.span(
            self._name,
            "producer",
            self._parent,
            context,
            self._started,
            error is None,
            error,
            attributes,
        )


def of_named_queue(message: Message, queue: str, function_id: str) -> Attributes:
    """The attributes of an attempt.  The first one has the number 0."""
    return (
        _OF_NAMED_QUEUE,
        function_id,
        queue,
        message.details.attempts,
        message.id,
        SYSTEM,
        queue,
        "process",
        "queue.process",
        f"queue({queue}) {function_id}",
    )


def of_topic(message: Message, topic: str, function_id: str) -> Attributes:
    """The same for a message of a topic."""
    return (
        _OF_TOPIC,
        function_id,
        topic,
        message.details.attempts,
        message.id,
        SYSTEM,
        topic,
        "process",
        topic,
    )


def delivered_baggage(baggage: str | None, function_id: str) -> str:
    """What a function gets of the baggage that came with its message."""
    value = function_id if _is_plain(function_id) else quote(function_id, safe=":/@+")
    entry = f"{FUNCTION_ID}={value}"
    if not baggage:
        return entry
    if "iii." not in baggage:
        return f"{baggage},{entry}"
    members = (member for member in baggage.split(",") if _key(member) not in _NOT_DELIVERED)
    return ",".join((*members, entry))


def _key(member: str) -> str:
    return member.partition("=")[0].strip()
