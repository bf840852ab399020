"""Messages as RabbitMQ has them: the original's bodies and headers, and what we add.

A message of a named queue is its payload; everything else is in headers.  One of a topic
is a JSON object around the payload.  The payload itself is never parsed.  What the
original does not know (when a message is due, why it failed) is in headers of ours,
which it ignores.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from iii.errors import Code
from iii.modules.queue.message import DEFAULT_PRIORITY, HIGHEST_PRIORITY, Details, Failure, Message
from iii.modules.queue.names import QueueName
from iii.rabbitmq import Headers, Properties

ATTEMPT = "x-attempt"
JOB_ID, ATTEMPTS, MAX_ATTEMPTS = "x-iii-job-id", "x-iii-attempts", "x-iii-max-attempts"
CREATED = "x-iii-created-at"
UNTIL = "x-iii-until"
DUE, EXPIRES, DIED, DETAILS = "x-iii-due", "x-iii-expires", "x-iii-died-at", "x-iii-details"
#: Headers have to fit into one frame: what is told of failed attempts is cut to this.
MAX_DETAILS_BYTES = 48 * 1024
KEPT_FAILURES = 20
#: How the ids of messages begin that have none; the rest is made from the body.
NO_ID = "dlq-"
_LONGEST_TEXT = 4096
#: The first words of the original's error texts.
_ERROR = re.compile(r'code:\s*"((?:[^"\\]|\\.)*)".*?message:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)


class Unreadable(Exception):
    """A message that nobody of us has published."""


class _Job(msgspec.Struct):
    """The body of a topic's message."""

    data: Raw
    id: str = ""
    attempts_made: int = 0
    created_at: Any = None
    traceparent: str | None = None
    baggage: str | None = None
    priority: int | None = None


class _Dead(msgspec.Struct):
    """The body of a topic's dead letter."""

    job: Raw
    error: Any = None
    exhausted_at: int = 0


class _History(msgspec.Struct, omit_defaults=True):
    """The header ``x-iii-details``."""

    failures: list[Failure] = []
    attempts: int = 0
    reason: str | None = None


# Out -----------------------------------------------------------------------------------


def encode(
    queue: QueueName,
    message: Message,
    max_attempts: int,
    priority: int | None,
    until_ms: int = 0,
) -> tuple[Properties, bytes]:
    """A message for ``queue``: properties and body.

    :param priority: AMQP's, for queues that have priorities
    :param until_ms: when a wait that it goes into is over
    """
    headers: Headers = {}
    attempts = message.details.attempts
    if queue.kind == "named":
        _named_headers(headers, message)
        if attempts:
            headers[ATTEMPT] = attempts
        body = bytes(message.data)
    else:
        headers[JOB_ID] = message.id
        headers[ATTEMPTS] = attempts
        headers[MAX_ATTEMPTS] = max_attempts
        body = _job(queue.name, message, max_attempts, priority)
    headers[CREATED] = str(message.created_ms)
    if message.due_ms:
        headers[DUE] = message.due_ms
    if until_ms:
        headers[UNTIL] = until_ms
    if message.expires_ms is not None:
        headers[EXPIRES] = message.expires_ms
    if message.details.failures:
        headers[DETAILS] = _history(message.details)
    return Properties(message.id, headers, priority), body


def encode_dead(queue: QueueName, message: Message, max_attempts: int) -> tuple[Properties, bytes]:
    """A dead letter of ``queue``: when it died is its ``due_ms``."""
    headers: Headers = {CREATED: str(message.created_ms), DIED: message.due_ms}
    headers[DETAILS] = _history(message.details)
    if queue.kind == "named":
        _named_headers(headers, message)
        headers[ATTEMPT] = max(0, message.details.attempts - 1)
        return Properties(message.id, headers), bytes(message.data)
    headers[JOB_ID] = message.id
    failures = message.details.failures
    error = failures[-1].text if failures else str(message.details.reason)
    body = b'{"job":%b,"error":%b,"exhausted_at":%d}' % (
        _job(queue.name, message, max_attempts, None),
        msgspec.json.encode(error),
        message.due_ms,
    )
    return Properties(message.id, headers), body


def _named_headers(headers: Headers, message: Message) -> None:
    details = message.details
    if message.function_id is not None:
        headers["function_id"] = message.function_id
    if details.traceparent is not None:
        headers["traceparent"] = details.traceparent
    if details.baggage is not None:
        headers["baggage"] = details.baggage
    if details.namespace is not None:
        headers["namespace"] = details.namespace


def _job(topic: str, message: Message, max_attempts: int, priority: int | None) -> bytes:
    details = message.details
    more = b"" if priority is None else b',"priority":%d' % priority
    return (
        b'{"id":%b,"topic":%b,"data":%b,"attempts_made":%d,"max_attempts":%d,'
        b'"created_at":%d,"traceparent":%b,"baggage":%b%b}'
        % (
            _json(message.id),
            _json(topic),
            bytes(message.data),
            details.attempts,
            max_attempts,
            message.created_ms,
            _json(details.traceparent),
            _json(details.baggage),
            more,
        )
    )


def _history(details: Details) -> str:
    """What is kept of failed attempts, the newest ones, as much as fits."""
    failures = [_cut(failure) for failure in details.failures[-KEPT_FAILURES:]]
    while True:
        text = _json(_History(failures, details.attempts, details.reason))
        if len(text) <= MAX_DETAILS_BYTES or not failures:
            return text.decode()
        failures = failures[1:]


def _cut(failure: Failure) -> Failure:
    stack = failure.stacktrace
    return msgspec.structs.replace(
        failure,
        code=failure.code[:_LONGEST_TEXT],
        message=failure.message[:_LONGEST_TEXT],
        stacktrace=None if stack is None else stack[:_LONGEST_TEXT],
    )


# In ------------------------------------------------------------------------------------


def decode(queue: QueueName, seq: int, properties: Any, body: bytes, now_ms: int) -> Message:
    """The message that came from ``queue``.

    :raises Unreadable: it can't be one
    """
    headers: dict[str, Any] = properties.headers or {}
    if queue.kind == "named":
        return _named(seq, properties, headers, body, now_ms)
    job = _read_job(body)
    attempts = _whole(headers.get(ATTEMPTS))
    details = Details(None, job.traceparent, job.baggage)
    details.attempts = job.attempts_made if attempts is None else attempts
    return _message(
        seq, job.id or _id_of(properties, body), headers, details, job.data, job.created_at, now_ms
    )


def unreadable(seq: int, properties: Any, body: bytes, why: str, now_ms: int) -> Message:
    """The dead letter that a message becomes which can't be read."""
    data = Raw(_json(body.decode(errors="replace")))
    id = properties.message_id or "unreadable"
    details = Details(reason="unreadable")
    details.failures = [Failure(now_ms, Code.DESERIALIZATION_ERROR, why)]
    return Message.new(seq, id, 0, data, details, created_ms=now_ms, due_ms=now_ms)


def until_of(properties: Any) -> int:
    """When the wait is over in which a message is; 0: nobody said."""
    return _whole((properties.headers or {}).get(UNTIL)) or 0


def decode_dead(queue: QueueName, seq: int, properties: Any, body: bytes) -> Message:
    """The dead letter that is in the DLQ of ``queue``; anything can be shown."""
    headers: dict[str, Any] = properties.headers or {}
    try:
        message, error, died_ms = _read_dead(queue, seq, properties, headers, body)
    except (Unreadable, msgspec.MsgspecError):
        details = Details()
        if DETAILS in headers:
            _restore(details, headers[DETAILS])
        message = Message.new(seq, _id_of(properties, body), 0, _shown(body), details, created_ms=0)
        error, died_ms = "unreadable", 0
    message.due_ms = _whole(headers.get(DIED)) or died_ms
    if not message.details.failures and message.details.reason is None:
        # The original keeps no history.
        message.details.reason = "attempts exhausted"
        message.details.failures = [_failure(error, message.due_ms)]
        if queue.kind == "named":
            message.details.attempts += 1
    return message


def _read_dead(
    queue: QueueName, seq: int, properties: Any, headers: dict[str, Any], body: bytes
) -> tuple[Message, str, int]:
    if queue.kind == "named":
        message = _named(seq, properties, headers, body, 0)
        return message, f"Function {message.function_id} exhausted retries", 0
    dead = _decode_dead(body)
    job = _read_job(bytes(dead.job))
    details = Details(None, job.traceparent, job.baggage, attempts=job.attempts_made)
    id = job.id or _id_of(properties, body)
    message = _message(seq, id, headers, details, job.data, job.created_at, 0)
    return message, str(dead.error), dead.exhausted_at


def _named(seq: int, properties: Any, headers: dict[str, Any], body: bytes, now_ms: int) -> Message:
    function_id = headers.get("function_id")
    try:
        data = _any(body)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the payload is no JSON: {error}") from error
    if not isinstance(function_id, str):
        raise Unreadable("the header 'function_id' is missing")
    details = Details(
        _text(headers.get("namespace")),
        _text(headers.get("traceparent")),
        _text(headers.get("baggage")),
        attempts=_whole(headers.get(ATTEMPT)) or 0,
    )
    message = _message(seq, _id_of(properties, body), headers, details, data, None, now_ms)
    message.function_id = function_id
    if properties.priority is not None:
        message.urgency = HIGHEST_PRIORITY - properties.priority
    return message


def _message(
    seq: int,
    id: str,
    headers: dict[str, Any],
    details: Details,
    data: Raw,
    created: Any,
    now_ms: int,
) -> Message:
    if DETAILS in headers:
        _restore(details, headers[DETAILS])
    made_ms = _whole(headers.get(CREATED))
    if made_ms is None:
        made_ms = _whole(created)
    return Message.new(
        seq,
        id,
        0,
        data,
        details,
        created_ms=now_ms if made_ms is None else made_ms,
        due_ms=_whole(headers.get(DUE)) or 0,
        expires_ms=_whole(headers.get(EXPIRES)),
        priority=DEFAULT_PRIORITY,
    )


def _restore(details: Details, text: Any) -> None:
    try:
        history = msgspec.json.decode(text, type=_History)
    except (msgspec.MsgspecError, TypeError):
        return
    details.failures = history.failures
    details.reason = history.reason
    details.attempts = max(details.attempts, history.attempts)


def _read_job(body: bytes) -> _Job:
    try:
        return _decode_job(body)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error


def _failure(error: str, at_ms: int) -> Failure:
    # The original wraps its texts in quotes, and escapes what is in them.
    found = _ERROR.search(error.replace('\\"', '"')) or _ERROR.search(error)
    condition = "Condition function error: " in error
    if found is None:
        return Failure(at_ms, "invocation_failed", error)
    return Failure(at_ms, found[1], found[2], condition=condition)


def _id_of(properties: Any, body: bytes) -> str:
    if properties.message_id:
        return str(properties.message_id)
    return f"{NO_ID}{sha256(body).hexdigest()[:16]}"


def _shown(body: bytes) -> Raw:
    try:
        return _any(body)
    except msgspec.MsgspecError:
        return Raw(_json(body.decode(errors="replace")))


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    # pika's 64 bit numbers are a class of their own.
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_json = msgspec.json.Encoder().encode
_any = msgspec.json.Decoder(Raw).decode
_decode_job = msgspec.json.Decoder(_Job).decode
_decode_dead = msgspec.json.Decoder(_Dead).decode
