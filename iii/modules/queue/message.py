"""What a queue holds: one message, and what happened to it so far."""

from __future__ import annotations

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


class Details(msgspec.Struct, omit_defaults=True):
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


class Message:
    """One message of one lane.  ``urgency`` and ``rank`` order it among those that wait.

    :ivar function_id: the target, for messages of a named queue
    """

    __slots__ = (
        "created_ms",
        "data",
        "details",
        "due_ms",
        "expires_ms",
        "function_id",
        "id",
        "key",
        "lane",
        "rank",
        "seq",
        "state",
        "urgency",
    )

    def __init__(
        self,
        seq: int,
        id: str,
        lane: int,
        data: bytes,
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
    ) -> None:
        self.seq = seq
        self.id = id
        self.lane = lane
        self.state = state
        self.urgency = HIGHEST_PRIORITY - priority
        self.rank = seq if rank is None else rank
        self.due_ms = due_ms
        self.expires_ms = expires_ms
        self.key = key
        self.created_ms = created_ms
        self.function_id = function_id
        self.details = details
        self.data = data

    @property
    def place(self) -> tuple[int, int]:
        """Its place among the waiting messages of its lane; smaller runs first."""
        return (self.urgency, self.rank)

    @property
    def payload(self) -> Raw:
        """What the function gets."""
        return Raw(self.data)

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
            self.data,
        )

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Message:
        """The message of a row of the table."""
        seq, id, lane, state, urgency, rank, due_ms, expires_ms, key, created_ms = row[:10]
        function_id, details, data = row[10:]
        return cls(
            seq,
            id,
            lane,
            data,
            _decode(details),
            created_ms=created_ms,
            state=State(state),
            priority=HIGHEST_PRIORITY - urgency,
            rank=rank,
            due_ms=due_ms,
            expires_ms=expires_ms,
            key=key,
            function_id=function_id,
        )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Details).decode
