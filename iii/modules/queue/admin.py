"""The functions for people and consoles: look at queues, and mend them.

A name that is a named queue means that one; any other is a topic with all its groups, or
``topic::function`` one of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from iii.engine.module import FunctionRow, ModuleApi
from iii.errors import Code, IIIError
from iii.modules.queue import shapes
from iii.modules.queue.adapter import Counts, DeadFilter, NotSupported, QueueAdapter, Status
from iii.modules.queue.message import HIGHEST_PRIORITY, Message
from iii.modules.queue.named import NamedQueues
from iii.modules.queue.names import QueueName, named, topic
from iii.modules.queue.topics import Topics

T = TypeVar("T")

FUNCTION_QUEUE = "function_queue"
#: How the original calls a named queue in its lists.
NAMED_PREFIX = "__fn_queue::"


class Admin:
    """The administrative functions."""

    def __init__(
        self, engine: ModuleApi, adapter: QueueAdapter, topics: Topics, queues: NamedQueues
    ) -> None:
        self._clock = engine.clock
        self._adapter = adapter
        self._topics = topics
        self._queues = queues

    def install(self, engine: ModuleApi) -> None:
        """Offer them."""
        engine.functions(self._table(), {})

    def _table(self) -> tuple[FunctionRow, ...]:
        s = shapes
        rows: tuple[FunctionRow, ...] = (
            (
                "iii::queue::redrive",
                self.redrive,
                s.QueueInput,
                None,
                "Redrive all DLQ messages back to the main queue",
            ),
            (
                "iii::queue::redrive_message",
                self.redrive_message,
                s.MessageInput,
                None,
                "Redrive a single DLQ message by ID back to the main queue",
            ),
            (
                "iii::queue::discard_message",
                self.discard_message,
                s.MessageInput,
                None,
                "Discard (purge) a single DLQ message by ID",
            ),
            (
                "engine::queue::list_topics",
                self.list_topics,
                s.TopicInput,
                list[s.TopicRow],
                "List all queue topics",
            ),
            (
                "engine::queue::topic_stats",
                self.topic_stats,
                s.TopicInput,
                s.Stats,
                "Get stats for a queue topic",
            ),
            (
                "engine::queue::dlq_topics",
                self.dlq_topics,
                s.TopicInput,
                list[s.DeadRow],
                "List DLQ topics with counts",
            ),
            (
                "engine::queue::dlq_messages",
                self.dlq_messages,
                s.DeadInput,
                None,
                "Browse DLQ messages",
            ),
            (
                "engine::queue::dlq_bulk",
                self.dlq_bulk,
                s.BulkInput,
                None,
                "Redrive or discard DLQ messages by ids or filter",
            ),
            (
                "engine::queue::messages",
                self.messages,
                s.ListInput,
                None,
                "Browse the messages of a queue",
            ),
            (
                "engine::queue::scheduled",
                self.scheduled,
                s.ListInput,
                None,
                "Browse messages that are due later",
            ),
            ("engine::queue::cancel", self.cancel, s.IdInput, None, "Take a message back"),
            ("engine::queue::run_now", self.run_now, s.IdInput, None, "Run a delayed message now"),
            (
                "engine::queue::reschedule",
                self.reschedule,
                s.RescheduleInput,
                None,
                "Run a message at another time",
            ),
            ("engine::queue::purge", self.purge, s.PurgeInput, None, "Throw messages away"),
            (
                "engine::queue::move",
                self.move,
                s.MoveInput,
                None,
                "Move messages to another queue",
            ),
            ("engine::queue::pause", self.pause, s.TopicInput, None, "Stop working a queue off"),
            ("engine::queue::resume", self.resume, s.TopicInput, None, "Go on with a queue"),
        )
        return rows

    # Lists -----------------------------------------------------------------------------

    async def list_topics(self, asked: shapes.TopicInput) -> list[shapes.TopicRow]:
        """Every topic and every named queue."""
        rows = [
            shapes.TopicRow(name, self._adapter.kind, triggers)
            for name, triggers in self._topics.names().items()
        ]
        rows += [
            shapes.TopicRow(name, FUNCTION_QUEUE, queue.slots)
            for name, queue in self._queues.queues.items()
        ]
        return sorted(rows, key=lambda row: row.name)

    async def topic_stats(self, asked: shapes.TopicInput) -> shapes.Stats:
        """How much there is, how much has been done."""
        name = self._required(asked)
        counts = await _told(Code.TOPIC_STATS_FAILED, "get topic stats", self._counts(name))
        queue = self._queues.queues.get(name)
        consumers = self._topics.names().get(name, 0) if queue is None else queue.slots
        return shapes.Stats(
            depth=counts.waiting + counts.delayed + counts.active,
            consumer_count=consumers,
            dlq_depth=counts.dead,
            config=None,
            delivered=counts.delivered,
            failed=counts.failed,
            waiting=counts.waiting,
            delayed=counts.delayed,
            active=counts.active,
            paused=counts.paused,
            waiting_for_worker=counts.waiting_for_worker,
        )

    async def dlq_topics(self, asked: shapes.TopicInput) -> list[shapes.DeadRow]:
        """How many dead letters there are of what."""
        adapter, rows = self._adapter, []
        kinds = dict.fromkeys(self._topics.names(), adapter.kind)
        kinds |= dict.fromkeys(self._queues.queues, FUNCTION_QUEUE)
        dead = dict.fromkeys(kinds, 0)
        for queue in adapter.facts():
            # A topic with the name of a named queue can't be addressed.
            if (queue.kind == "named") is (kinds.get(queue.name) == FUNCTION_QUEUE):
                counting = _call(adapter.counts, queue)
                counts = await _told(Code.DLQ_TOPICS_FAILED, "list DLQ topics", counting)
                dead[queue.name] += counts.dead
        for name in sorted(kinds):
            rows.append(shapes.DeadRow(name, kinds[name], dead[name]))
        return rows

    async def dlq_messages(self, asked: shapes.DeadInput) -> list[shapes.DeadLetter]:
        """Dead letters, newest first."""
        queues = self._resolve(self._required(asked))
        found = await _told(
            Code.DLQ_MESSAGES_FAILED,
            "browse DLQ messages",
            _call(self._adapter.messages, queues, "dead", asked.offset, asked.limit),
        )
        return [_dead_letter(queue, message) for queue, _, message in found]

    async def messages(self, asked: shapes.ListInput) -> list[shapes.MessageRow]:
        """Messages that are there, next ones first."""
        queues = self._resolve(self._required(asked))
        found = await self._adapter.messages(queues, asked.state, asked.offset, asked.limit)
        return [_row(*one) for one in found]

    async def scheduled(self, asked: shapes.ListInput) -> list[shapes.MessageRow]:
        """Messages that are due later, of one topic or queue, or of all."""
        queues = self._resolve(asked.topic) if asked.topic else list(self._adapter.facts())
        found = await self._adapter.messages(queues, "delayed", asked.offset, asked.limit)
        return [_row(*one, whole=True) for one in found]

    # Single messages -------------------------------------------------------------------

    async def cancel(self, asked: shapes.IdInput) -> dict[str, Any]:
        """``{cancelled}``; false tells the state it is in."""
        state = await self._adapter.cancel(asked.id)
        if state in ("waiting", "delayed"):
            return {"cancelled": True}
        return {"cancelled": False, "state": state}

    async def run_now(self, asked: shapes.IdInput) -> dict[str, Any]:
        """``{changed}``; false tells the state it is in."""
        return _changed(await self._adapter.reschedule(asked.id, 0))

    async def reschedule(self, asked: shapes.RescheduleInput) -> dict[str, Any]:
        """``{changed}``; false tells the state it is in."""
        due_ms = shapes.instant_ms(asked.deliver_at)
        return _changed(await self._adapter.reschedule(asked.id, due_ms))

    # Queues ----------------------------------------------------------------------------

    async def purge(self, asked: shapes.PurgeInput) -> dict[str, int]:
        """Throw away what waits."""
        queues = self._resolve(self._required(asked))
        return {"purged": await self._adapter.purge(queues, asked.state)}

    async def move(self, asked: shapes.MoveInput) -> dict[str, int]:
        """Bring what waits to another queue.

        :raises IIIError: a topic's messages have no function for a named queue
        """
        sources, target = self._resolve(asked.source), asked.target
        into_named = target in self._queues.queues
        if into_named and sources[0].kind != "named":
            text = f"messages of topic '{asked.source}' name no function: '{target}' needs one"
            raise IIIError(Code.INVALID_ARGUMENTS, text)
        targets = [named(target)] if into_named else self._targets(target)
        if set(sources) & set(targets):
            raise IIIError(Code.INVALID_ARGUMENTS, f"'{target}' is where they are")
        moved = 0
        for source in sources:
            left = None if asked.limit is None else asked.limit - moved
            moved += await self._adapter.move(source, targets, left)
        return {"moved": moved}

    async def pause(self, asked: shapes.TopicInput) -> dict[str, bool]:
        """Take nothing until ``resume``, also after a restart."""
        await self._adapter.pause(self._resolve(self._required(asked)), True)
        return {"paused": True}

    async def resume(self, asked: shapes.TopicInput) -> dict[str, bool]:
        """Go on."""
        await self._adapter.pause(self._resolve(self._required(asked)), False)
        return {"paused": False}

    # Dead letters ----------------------------------------------------------------------

    async def redrive(self, asked: shapes.QueueInput) -> dict[str, Any]:
        """All dead letters of a queue run again."""
        queues = self._resolve(self._named(asked))
        redriven = await _told(
            Code.REDRIVE_FAILED,
            f"redrive DLQ for queue '{asked.queue}'",
            _call(self._adapter.redrive, queues, DeadFilter()),
        )
        return {"queue": asked.queue, "redriven": len(redriven)}

    async def redrive_message(self, asked: shapes.MessageInput) -> dict[str, Any]:
        """One dead letter runs again."""
        what = f"redrive DLQ message '{asked.message_id}' for queue '{asked.queue}'"
        return await self._one_dead(asked, Code.REDRIVE_MESSAGE_FAILED, what, self._adapter.redrive)

    async def discard_message(self, asked: shapes.MessageInput) -> dict[str, Any]:
        """One dead letter goes."""
        code, what = Code.DISCARD_MESSAGE_FAILED, "discard DLQ message"
        return await self._one_dead(asked, code, what, self._adapter.discard)

    async def _one_dead(
        self, asked: shapes.MessageInput, code: str, what: str, change: Callable[..., Any]
    ) -> dict[str, Any]:
        queues = self._resolve(self._named(asked))
        if not asked.message_id:
            raise IIIError(Code.MESSAGE_ID_NOT_SET, "Message ID is required")
        which = DeadFilter(ids=frozenset((asked.message_id,)))
        changed = await _told(code, what, _call(change, queues, which))
        answer: dict[str, Any] = {
            "queue": asked.queue,
            "message_id": asked.message_id,
            "redriven": 1 if changed else 0,
        }
        if not changed:
            answer["missing"] = [asked.message_id]
        return answer

    async def dlq_bulk(self, asked: shapes.BulkInput) -> dict[str, Any]:
        """Some dead letters run again or go; ids that were not found are told.

        :raises IIIError: it says neither which ids nor a filter
        """
        queues = self._resolve(self._required(asked))
        chosen = asked.selection
        if asked.ids is None and not chosen.says_something:
            text = "ids or a filter (error_code, older_than_ms, function_id) is required"
            raise IIIError(Code.INVALID_ARGUMENTS, text)
        older = chosen.older_than_ms
        which = DeadFilter(
            ids=None if asked.ids is None else frozenset(asked.ids),
            error_code=chosen.error_code,
            function_id=chosen.function_id,
            died_before_ms=None if older is None else self._clock.wall_ms() - older,
        )
        if asked.action == "redrive":
            done = await self._adapter.redrive(queues, which, asked.payload or None)
        else:
            done = await self._adapter.discard(queues, which)
        found = set(done)
        missing = [id for id in dict.fromkeys(asked.ids or ()) if id not in found]
        return {"done": len(done), "missing": missing}

    # Names -----------------------------------------------------------------------------

    def _resolve(self, name: str) -> list[QueueName]:
        for one in (name, name.removeprefix(NAMED_PREFIX)):
            if one in self._queues.queues:
                return [named(one)]
        if self._adapter.known(topic(name)) is None:
            group = self._topics.group(name)
            if group is not None:
                return [group]
            if self._adapter.known(named(name)) is not None:
                return [named(name)]  # it is not in the configuration any more
        return self._topics.queues(name)

    def _targets(self, name: str) -> list[QueueName]:
        group = self._topics.group(name)
        return [group] if group is not None else list(self._topics.route(name))

    def _required(self, asked: shapes.TopicInput) -> str:
        if not asked.topic:
            raise IIIError(Code.TOPIC_REQUIRED, "topic is required")
        return asked.topic

    def _named(self, asked: shapes.QueueInput) -> str:
        if not asked.queue:
            raise IIIError(Code.QUEUE_NOT_SET, "Queue name is required")
        return asked.queue

    async def _counts(self, name: str) -> Counts:
        total = Counts()
        for queue in self._resolve(name):
            total.add(await self._adapter.counts(queue))
        return total


async def _call(function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """So that what is raised at once is raised in ``_told``."""
    return await function(*arguments)


async def _told(code: str, what: str, doing: Awaitable[T]) -> T:
    """A backend's trouble as the function's own error."""
    try:
        return await doing
    except NotSupported:
        raise
    except IIIError as error:
        raise IIIError(code, f"Failed to {what}: {error.message}") from error


def _changed(state: Status) -> dict[str, Any]:
    if state in ("waiting", "delayed"):
        return {"changed": True}
    return {"changed": False, "state": state}


def _row(
    queue: QueueName, state: Status, message: Message, *, whole: bool = False
) -> shapes.MessageRow:
    row = shapes.MessageRow(
        message.id,
        message.data,
        state,
        message.details.attempts,
        message.created_ms,
        due_at_ms=message.due_ms or None,
        group=queue.group,
        function_id=message.function_id,
        priority=HIGHEST_PRIORITY - message.urgency,
    )
    if whole:
        if queue.kind == "named":
            row.queue = queue.name
        else:
            row.topic = queue.name
    return row


def _dead_letter(queue: QueueName, message: Message) -> shapes.DeadLetter:
    details = message.details
    last = details.failures[-1] if details.failures else None
    if details.reason == "expired" or last is None:
        code, error = str(details.reason), f'ErrorBody {{ code: "{details.reason}", '
        error += f'message: "{details.reason}", stacktrace: None }}'
    else:
        code, error = last.code, last.text
    return shapes.DeadLetter(
        message.id,
        message.data,
        error,
        message.due_ms // 1000,
        details.attempts,
        len(message.data) + len(msgspec.json.encode(details)),
        code,
        None if last is None else last.stacktrace,
        details.reason,
        [shapes.Attempt(f.at_ms, f.code, f.message, f.stacktrace) for f in details.failures],
        message.created_ms,
        group=queue.group,
        function_id=message.function_id or (queue.function_id or None),
    )
