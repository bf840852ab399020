"""What a queue holds: one message, and what happened to it so far."""

from __future__ import annotations

from copy import copy
from enum import IntEnum
from typing import Any

import msgspec
from msgspec import Raw

LOWEST_PRIORITY, DEFAULT_PRIORITY, HIGHEST_PRIORITY = 0, 4, 9


class State(IntEnum):
    """Where a message is; which messages *run* is known in memory only."""

    WAITING = 0
    DELAYED = 1
    DEAD = 2


class Failure(msgspec.Struct, omit_defaults=True):
    """Why an attempt failed.

    :ivar at_ms: when it ended
    :ivar condition: it was the condition function that failed
    """

    at_ms: int
    code: str
    message: str
    stacktrace: str | None = None
    condition: bool = False

    @property
    def text(self) -> str:
        """As the original wrote it; consoles look for ``message: "…"``."""
        prefix = "Condition function error: " if self.condition else ""
        return (
            f'{prefix}ErrorBody {{ code: "{_escaped(self.code)}", '
            f'message: "{_escaped(self.message)}", stacktrace: None }}'
        )


class Details(msgspec.Struct, omit_defaults=True, gc=False):
    """What is kept with a message and never searched for.

    :ivar failures: one for each attempt so far
    :ivar attempts: how many were made; more than ``failures`` when only the last are kept
    :ivar reason: why it is dead
    """

    namespace: str | None = None
    traceparent: str | None = None
    baggage: str | None = None
    attempts: int = 0
    failures: list[Failure] = msgspec.field(default_factory=list)
    reason: str | None = None


class Message(msgspec.Struct, array_like=True, eq=False, gc=False):
    """One message of one lane, with the columns of its row, in their order.

    ``urgency`` and ``rank`` order it among those that wait.  It is in no cycle, so the
    collector has nothing to do with it.

    :ivar function_id: the target, for messages of a named queue
    """

    seq: int
    id: str
    lane: int
    state: State
    urgency: int
    rank: int
    due_ms: int
    expires_ms: int | None
    key: str | None
    created_ms: int
    function_id: str | None
    details: Details
    data: Raw

    @classmethod
    def new(
        cls,
        seq: int,
        id: str,
        lane: int,
        data: Raw,
        details: Details,
        *,
        created_ms: int,
        state: State = State.WAITING,
        priority: int = DEFAULT_PRIORITY,
        rank: int | None = None,
        due_ms: int = 0,
        expires_ms: int | None = None,
        key: str | None = None,
        function_id: str | None = None,
    ) -> Message:
        """A message that was not there before."""
        return cls(
            seq,
            id,
            lane,
            state,
            HIGHEST_PRIORITY - priority,
            seq if rank is None else rank,
            due_ms,
            expires_ms,
            key,
            created_ms,
            function_id,
            details,
            data,
        )

    @property
    def place(self) -> tuple[int, int]:
        """Its place among the waiting messages of its lane; smaller runs first."""
        return (self.urgency, self.rank)

    def copy(self) -> Message:
        """One that can be changed on its own."""
        twin = copy(self)
        twin.details = copy(self.details)
        return twin

    def row(self) -> tuple[Any, ...]:
        """As the table has it."""
        return (
            self.seq,
            self.id,
            self.lane,
            int(self.state),
            self.urgency,
            self.rank,
            self.due_ms,
            self.expires_ms,
            self.key,
            self.created_ms,
            self.function_id,
            _encode(self.details),
            bytes(self.data),
        )


def of_json(text: str) -> Message:
    """A message from the array of its columns."""
    return _free(_decode(text))


def all_of_json(text: str) -> list[Message]:
    """Messages from an array of such arrays."""
    return [_free(message) for message in _decode_all(text)]


def _free(message: Message) -> Message:
    # What was decoded still lies in the text of all of them.
    message.data = message.data.copy()
    return message


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode
_decode_all = msgspec.json.Decoder(list[Message]).decode
