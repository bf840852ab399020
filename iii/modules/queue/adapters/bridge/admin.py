"""Looking at the other engine's queues, and mending them.

What is asked of a topic is asked of the whole topic over there, with the groups of everybody
who has a subscriber.  A group of ours is one of the groups over there, that of our handler.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from iii.bridge import BridgeError, Link, RemoteError
from iii.bridge.calls import DEFAULT_TIMEOUT_S
from iii.errors import Code, IIIError
from iii.modules.queue.adapter import Counts, DeadFilter, NotSupported, Status
from iii.modules.queue.adapters.bridge.lane import handler_of
from iii.modules.queue.message import (
    DEFAULT_PRIORITY,
    HIGHEST_PRIORITY,
    Details,
    Failure,
    Message,
)
from iii.modules.queue.names import QueueName

T = TypeVar("T")

#: As engines take them.
PAGE = 1_000
STATS = "engine::queue::topic_stats"
NO_ADMIN = "Bridge queue adapter does not support DLQ operations"
#: Figures are asked for by whoever scrapes them, who does not wait for long.
COUNTS_LIMIT_S = 3.0


class NoAdmin(NotSupported):
    """The other engine has no such function, or can't be asked now."""

    def __init__(self, text: str) -> None:
        IIIError.__init__(self, Code.NOT_SUPPORTED, text)


class _Stats(Struct):
    depth: int = 0
    dlq_depth: int = 0
    waiting: int | None = None
    delayed: int = 0
    active: int = 0
    delivered: int = 0
    failed: int = 0
    paused: bool = False
    waiting_for_worker: bool = False


class _Attempt(Struct):
    at_ms: int
    code: str
    message: str
    stacktrace: str | None = None


class _Dead(Struct):
    id: str
    payload: Raw
    error: str = ""
    failed_at: int = 0
    retries: int = 0
    code: str | None = None
    stacktrace: str | None = None
    reason: str | None = None
    attempts: list[_Attempt] = []
    created_at_ms: int = 0
    function_id: str | None = None


class _Row(Struct):
    id: str
    payload: Raw
    state: Status
    attempts: int = 0
    created_at_ms: int = 0
    due_at_ms: int | None = None
    function_id: str | None = None
    priority: int = DEFAULT_PRIORITY


class _Bulk(Struct):
    done: int
    missing: list[str] = []


class _Number(Struct):
    purged: int = 0
    moved: int = 0


class _State(Struct):
    cancelled: bool = False
    changed: bool = False
    state: Status = "waiting"


class Remote:
    """The administrative functions of the other engine."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def counts(self, queue: QueueName) -> Counts:
        """How much a queue has over there; a topic: with everybody's groups."""
        if not self._link.connected:
            raise NoAdmin(f"{self._link.remote} is not connected")
        asked = {"topic": _address(queue)}
        try:
            stats = await self._ask(STATS, _Stats, asked, COUNTS_LIMIT_S)
        except IIIError as error:
            # Nobody who asks for figures may be in trouble because there are none.
            raise NoAdmin(error.message) from error
        waiting = stats.depth if stats.waiting is None else stats.waiting
        return Counts(
            waiting=waiting,
            delayed=stats.delayed,
            active=stats.active,
            dead=stats.dlq_depth,
            delivered=stats.delivered,
            failed=stats.failed,
            waiting_for_worker=stats.waiting_for_worker,
            paused=stats.paused,
        )

    async def messages(
        self, queues: list[QueueName], state: Status | None, offset: int, limit: int
    ) -> list[tuple[QueueName, Status, Message]]:
        """Messages of a topic or named queue."""
        queue = _whole(queues)
        page: dict[str, Any] = {"topic": _address(queue), "offset": offset, "limit": limit}
        if state == "dead":
            dead = await self._ask("engine::queue::dlq_messages", list[_Dead], page)
            return [(queue, "dead", _dead_message(row)) for row in dead]
        if state is not None:
            page["state"] = state
        rows = await self._ask("engine::queue::messages", list[_Row], page)
        return [(queue, row.state, _message(row)) for row in rows]

    async def change_dead(
        self, queues: list[QueueName], which: DeadFilter, action: str, payload: Raw | None = None
    ) -> list[str]:
        """Redrive or discard dead letters; the ids of those that were found."""
        queue = _whole(queues)
        found: list[str] = []
        offset = 0
        while True:
            page = await self.messages([queue], "dead", offset, PAGE)
            found += [message.id for _, _, message in page if which.takes(message)]
            offset += len(page)
            if len(page) < PAGE:
                break
        done: list[str] = []
        for id in found:
            if payload is not None:
                chosen = {"action": action, "ids": [id], "payload": payload}
                asked: dict[str, Any] = {"topic": _address(queue), **chosen}
                bulk = await self._ask("engine::queue::dlq_bulk", _Bulk, asked)
                changed = bool(bulk.done)
            else:
                function = f"iii::queue::{action}_message"
                asked = {"queue": _address(queue), "message_id": id}
                answer = await self._ask(function, dict[str, Any], asked)
                changed = bool(answer.get("redriven"))
            if changed:
                done.append(id)
        return done

    async def purge(self, queues: list[QueueName], state: Status | None) -> int:
        """Throw away what waits."""
        asked: dict[str, Any] = {"topic": _address(_whole(queues))}
        if state is not None:
            asked["state"] = state
        return (await self._ask("engine::queue::purge", _Number, asked)).purged

    async def move(self, source: QueueName, target: QueueName, limit: int | None) -> int:
        """Bring what waits to another queue."""
        asked: dict[str, Any] = {"from": _address(source), "to": _address(target)}
        if limit is not None:
            asked["limit"] = limit
        return (await self._ask("engine::queue::move", _Number, asked)).moved

    async def pause(self, queues: list[QueueName], paused: bool) -> None:
        """Stop or go on handing out."""
        function = f"engine::queue::{'pause' if paused else 'resume'}"
        await self._ask(function, dict[str, Any], {"topic": _address(_whole(queues))})

    async def cancel(self, id: str) -> Status:
        """Take a message back."""
        answer = await self._ask("engine::queue::cancel", _State, {"id": id})
        return "waiting" if answer.cancelled else answer.state

    async def reschedule(self, id: str, due_ms: int) -> Status:
        """A message is due at another time."""
        if due_ms:
            asked: dict[str, Any] = {"id": id, "deliver_at": due_ms}
            answer = await self._ask("engine::queue::reschedule", _State, asked)
        else:
            answer = await self._ask("engine::queue::run_now", _State, {"id": id})
        return "delayed" if answer.changed else answer.state

    async def _ask(
        self,
        function_id: str,
        type: type[T],
        data: dict[str, Any],
        limit_s: float = DEFAULT_TIMEOUT_S,
    ) -> T:
        try:
            answer = await self._link.call(function_id, data, timeout_s=limit_s)
        except RemoteError as error:
            if error.code == Code.FUNCTION_NOT_FOUND:
                raise NoAdmin(NO_ADMIN) from error
            raise IIIError(error.code, error.text) from error
        except BridgeError as error:
            raise IIIError(error.code, f"{self._link.remote}: {error.message}") from error
        try:
            return msgspec.json.decode(b"null" if answer is None else answer, type=type)
        except msgspec.ValidationError as error:
            text = f"{self._link.remote}: this is no answer of {function_id}: {error}"
            raise IIIError(Code.BRIDGE_ERROR, text) from error


def _address(queue: QueueName) -> str:
    """What the other engine calls it."""
    return f"{queue.name}::{handler_of(queue)}" if queue.kind == "group" else queue.name


def _whole(queues: list[QueueName]) -> QueueName:
    """The topic or named queue that is meant."""
    return next((queue for queue in queues if queue.kind != "group"), queues[0])


def _dead_message(row: _Dead) -> Message:
    failures = [Failure(a.at_ms, a.code, a.message, a.stacktrace) for a in row.attempts]
    if not failures:
        code = row.code or Code.INVOCATION_FAILED
        failures = [Failure(row.failed_at * 1000, code, row.error, row.stacktrace)]
    message = _new(row.id, row.payload, row.created_at_ms, row.function_id)
    message.due_ms = row.failed_at * 1000
    message.details.attempts = row.retries
    message.details.failures = failures
    message.details.reason = row.reason
    return message


def _message(row: _Row) -> Message:
    message = _new(row.id, row.payload, row.created_at_ms, row.function_id)
    message.due_ms = row.due_at_ms or 0
    message.urgency = HIGHEST_PRIORITY - row.priority
    message.details.attempts = row.attempts
    return message


def _new(id: str, data: Raw, created_ms: int, function_id: str | None) -> Message:
    return Message.new(
        0, id, 0, data.copy(), Details(), created_ms=created_ms, function_id=function_id
    )
