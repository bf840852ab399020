"""From calls and outcomes to the bytes of messages.

The two messages every relayed call needs are joined from bytes: the payload was
checked when it came in, so it is only passed on.  Everything else is encoded
from its struct in ``messages``.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from iii.engine.invocations import Call, ErrorBody
from iii.errors import Code
from iii.wire.messages import given

encode = msgspec.json.Encoder().encode

_RESULT = b'{"type":"invocationresult","invocation_id":'
_INVOKE = b'{"type":"invokefunction","invocation_id":"'
_FUNCTION = b'","function_id":'
_DATA = b',"data":'
_TRACEPARENT = b',"traceparent":'
_BAGGAGE = b',"baggage":'
_CALLER = b'"_caller_worker_id":"'

_LOST_ID = re.compile(rb'"invocation_id"\s*:\s*"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,128})"')
_LOST_TYPE = re.compile(rb'"type"\s*:\s*"(invokefunction|invocationresult)"')
_LOST_TRIGGER = re.compile(rb'"type"\s*:\s*"registertrigger"')
_LOST_TRIGGER_ID = re.compile(rb'"id"\s*:\s*"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,128})"')
_LOST_FUNCTION = re.compile(rb'"function_id"\s*:\s*"([^"\\]{1,1024})"')


def invoke_message(call: Call) -> bytes:
    """engine -> worker: run ``call``."""
    parts = [_INVOKE, call.id.encode(), _FUNCTION, encode(call.function_id)]
    if call.traceparent is not None:
        parts += (_TRACEPARENT, encode(call.traceparent))
    if call.baggage is not None:
        parts += (_BAGGAGE, encode(call.baggage))
    if call.metadata is not None:
        parts += (b',"metadata":', call.metadata)
    # The data last: a receiver that looks for it need not look through it.
    parts += (_DATA, call.data, b"}")
    return b"".join(parts)


def result_message(
    invocation_id: str,
    function_id: str,
    result: Raw | None,
    error: ErrorBody | None,
    traceparent: str | None = None,
    baggage: str | None = None,
) -> bytes:
    """engine -> worker: the answer to the call it knows as ``invocation_id``."""
    parts: list[bytes | Raw] = [
        _RESULT,
        encode(invocation_id),
        b',"function_id":',
        encode(function_id),
    ]
    if error is not None:
        parts += (b',"error":', encode(error))
    elif result is not None:
        parts += (b',"result":', result)
    if traceparent is not None:
        parts += (_TRACEPARENT, encode(traceparent))
    if baggage is not None:
        parts += (_BAGGAGE, encode(baggage))
    parts.append(b"}")
    return b"".join(parts)


def with_caller(data: Raw, caller: bytes) -> Raw:
    """``data`` with the caller's worker id in it, when it is an object (01 §6.1).

    Appended, because the last of two equal keys counts; a key the client put
    there itself is taken out all the same.
    """
    text = bytes(data)
    if not text.startswith(b"{"):
        return data
    if text.rfind(b"caller_worker_id") >= 0:  # twice as fast as ``in`` on 16 KiB
        fields = msgspec.json.decode(text, type=dict[str, Raw])
        fields.pop("_caller_worker_id", None)
        text = encode(fields)
    # A large object is looked through only when it starts with a lot of white space.
    filled = (len(text) > 64 and text[1:33].strip()) or text[1:-1].strip()
    comma = b"," if filled else b""
    return Raw(b"".join((text[:-1], comma, _CALLER, caller, b'"}')))


def without_caller(data: Raw) -> Raw:
    """``data`` without a caller that somebody put in.

    :raises msgspec.MsgspecError: it can't be read
    """
    text = bytes(data)
    if not text.startswith(b"{") or text.rfind(b"caller_worker_id") < 0:
        return data
    fields = msgspec.json.decode(text, type=dict[str, Raw])
    fields.pop("_caller_worker_id", None)
    return Raw(encode(fields))


def error_body(raw: Raw) -> ErrorBody | None:
    """The ``error`` of a result; whatever a worker sent there becomes code and message."""
    present = given(raw)
    if present is None:
        return None
    try:
        return msgspec.json.decode(present, type=ErrorBody)
    except msgspec.ValidationError:
        try:
            value = msgspec.json.decode(present)
        except msgspec.MsgspecError as error:
            return ErrorBody(Code.INVALID_JSON, f"the error can't be decoded: {error}")
    if isinstance(value, dict):
        code, message = value.get("code"), value.get("message")
        stack = value.get("stacktrace")
        return ErrorBody(
            code if isinstance(code, str) else Code.UNKNOWN,
            message if isinstance(message, str) else "",
            stack if isinstance(stack, str) else None,
        )
    if not value:
        return None
    return ErrorBody(
        Code.INVOCATION_FAILED, value if isinstance(value, str) else bytes(present).decode()
    )


def lost_trigger_id(payload: bytes) -> str | None:
    """The id of a ``registertrigger`` that can't be decoded."""
    id = _LOST_TRIGGER_ID.search(payload)
    return id[1].decode() if id is not None and _LOST_TRIGGER.search(payload) else None


class Lost:
    """What can be saved of a message that can't be decoded, so that nobody hangs."""

    __slots__ = ("function_id", "invocation_id", "is_result")

    def __init__(self, invocation_id: str, function_id: str, is_result: bool) -> None:
        self.invocation_id = invocation_id
        self.function_id = function_id
        self.is_result = is_result

    @classmethod
    def find(cls, payload: bytes) -> Lost | None:
        """The call a broken message was about, when it says so."""
        kind = _LOST_TYPE.search(payload)
        id = _LOST_ID.search(payload)
        if kind is None or id is None:
            return None
        function = _LOST_FUNCTION.search(payload)
        name = "" if function is None else function[1].decode(errors="replace")
        return cls(id[1].decode(), name, kind[1] == b"invocationresult")


def shortened(text: str, chars: int = 80) -> str:
    """What a peer sent, for a log line of bounded length."""
    return text if len(text) <= chars else text[:chars] + "…"
