"""A message as it lies in Redis: a line of JSON about it, then its data as they came.

Neither Redis nor an engine that only passes it on reads the data.  What failed attempts
were is kept beside it, for the few messages that have any.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from iii.modules.queue.adapter import New
from iii.modules.queue.message import Details, Failure, Message, State

#: Scores: an urgency, then fresh or not, then the order (``script_parts``).
_URGENCY = 2**49


class _Head(Struct, array_like=True):
    """What is known of a message when it is put, and never changes."""

    id: str
    created_ms: int
    function_id: str | None = None
    namespace: str | None = None
    traceparent: str | None = None
    baggage: str | None = None


class Past(Struct, omit_defaults=True):
    """What became of a message so far.

    :ivar reason: why it is dead
    """

    attempts: int = 0
    failures: list[Failure] = []
    reason: str | None = None


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_past = msgspec.json.Decoder(Past).decode


def body_of(new: New, now_ms: int) -> bytes:
    """A new message."""
    head = _Head(new.id, now_ms, new.function_id, new.namespace, new.traceparent, new.baggage)
    return b"%b\n%b" % (_encode(head), bytes(new.data))


def with_data(body: bytes, data: Raw) -> bytes:
    """The same message with other data."""
    return b"%b\n%b" % (body.partition(b"\n")[0], bytes(data))


def data_of(body: bytes) -> bytes:
    """Its data only."""
    return body.partition(b"\n")[2]


def past_of(details: Details) -> bytes:
    """What its attempts were."""
    return _encode(Past(details.attempts, details.failures, details.reason))


def message_of(
    body: bytes,
    past: bytes,
    score: bytes,
    due: bytes,
    expires: bytes,
    key: bytes,
    *,
    state: State = State.WAITING,
    reason: bytes = b"",
) -> Message:
    """A message from what a script gives of it."""
    line, _, data = body.partition(b"\n")
    head = _decode_head(line)
    details = Details(head.namespace, head.traceparent, head.baggage)
    if past:
        known = _decode_past(past)
        details.attempts, details.failures = known.attempts, known.failures
        details.reason = known.reason
    if reason:
        details.reason = reason.decode()
    place, until = int(score), int(expires)
    return Message(
        0,
        head.id,
        0,
        state,
        place // _URGENCY,
        place % _URGENCY,
        int(due),
        until or None,
        key.decode() or None,
        head.created_ms,
        head.function_id,
        details,
        Raw(data),
    )


def pieces(reply: list[Any], size: int) -> list[list[Any]]:
    """A flat answer as rows."""
    return [reply[at : at + size] for at in range(0, len(reply), size)]
