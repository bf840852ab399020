"""Every message of the worker protocol, in the order a conversation uses them.

One JSON object per WebSocket message; ``type`` selects the struct.  What is
optional on the wire is optional here, and defaults are the protocol's.  Fields
nobody here looks into are ``Raw``: they travel as the bytes they came in.

    worker                                             engine
      ->  (WebSocket upgrade on /)
      <-  workerregistered
      ->  registertriggertype, registerfunction, registertrigger …
      <-  triggerregistrationresult      (refusals only)
      ->  invokefunction                 (a call of any function)
      <-  invocationresult
      <-  invokefunction                 (a call of one of the worker's functions)
      ->  invocationresult

``docs/protocol.md`` is checked against this file by a test.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from iii.errors import Code, RegistrationError

NULL = Raw(b"null")
EMPTY = Raw(b"{}")
ABSENT = Raw(b"")


def given(value: Raw) -> Raw | None:
    """An optional field: null is the same as absent."""
    return None if value is ABSENT or value == NULL else value


class Message(msgspec.Struct, tag_field="type", omit_defaults=True):
    """Base of all messages.  Unknown fields are ignored."""


# Connecting ----------------------------------------------------------------------------


class WorkerRegistered(Message, tag="workerregistered"):
    """engine -> worker.  First message of every worker connection."""

    worker_id: str = ""
    reattach_token: str | None = None


class Reattach(Message, tag="reattach"):
    """worker -> engine.  First message of a reconnect: end my old connection now."""

    previous_worker_id: Any = None
    reattach_token: Any = None


class Ping(Message, tag="ping"):
    """worker -> engine.  Answered with ``Pong``; the engine never sends it."""


class Pong(Message, tag="pong"):
    """engine -> worker, worker -> engine.  The answer to ``Ping``."""


# Offering ------------------------------------------------------------------------------


class RegisterTriggerType(Message, tag="registertriggertype"):
    """worker -> engine.  I make triggers of type ``id`` fire."""

    id: str
    description: str | None = ""
    trigger_request_format: Raw = ABSENT
    call_request_format: Raw = ABSENT
    namespace: str | None = None


class UnregisterTriggerType(Message, tag="unregistertriggertype"):
    """worker -> engine.  I don't any more."""

    id: str
    namespace: str | None = None


class RegisterService(Message, tag="registerservice"):
    """worker -> engine.  A label for a group of functions."""

    id: str
    name: str | None = None
    description: str | None = None
    parent_service_id: str | None = None


class RegisterFunction(Message, tag="registerfunction"):
    """worker -> engine.  I run calls of ``id``.

    With ``invocation`` the engine runs them itself, by HTTP.
    """

    id: str
    description: str | None = None
    request_format: Raw = ABSENT
    response_format: Raw = ABSENT
    metadata: Raw = ABSENT
    invocation: Raw = ABSENT
    namespace: str | None = None


class UnregisterFunction(Message, tag="unregisterfunction"):
    """worker -> engine.  I don't any more."""

    id: str
    namespace: str | None = None


class RegistrationRejected(Message, tag="registrationrejected"):
    """engine -> worker.  The id belongs to a module of the engine."""

    code: str = ""
    namespace: str = ""
    function_id: str | None = None
    owner_worker_id: str = ""


class RegisterTrigger(Message, tag="registertrigger"):
    """worker -> engine, engine -> worker.  Run ``function_id`` when ``config`` says so.

    The engine passes it on to the worker that provides ``trigger_type``.
    """

    id: str
    trigger_type: str
    function_id: str
    config: Raw = EMPTY
    metadata: Raw = ABSENT
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(Message, tag="unregistertrigger"):
    """worker -> engine, engine -> worker.  No more.  Found by ``id`` alone."""

    id: str
    trigger_type: str | None = None
    function_id: str | None = None
    config: Raw = ABSENT
    metadata: Raw = ABSENT


class TriggerRegistrationResult(Message, tag="triggerregistrationresult"):
    """worker -> engine: how a provider's registration went.  engine -> worker: refused."""

    id: str
    trigger_type: str | None = None
    function_id: str | None = None
    error: Raw = ABSENT


# Calling -------------------------------------------------------------------------------


class InvokeFunction(Message, tag="invokefunction"):
    """worker -> engine, engine -> worker.  Run ``function_id`` with ``data``.

    Without ``invocation_id`` nobody waits for an answer; ``action`` chooses
    another way to run it: ``{"type": "void"}``, ``{"type": "enqueue", "queue": …}``.
    """

    function_id: str
    data: Raw = NULL
    invocation_id: str | None = None
    traceparent: Any = None
    baggage: Any = None
    action: Raw = ABSENT
    metadata: Raw = ABSENT
    namespace: str | None = None


class InvocationResult(Message, tag="invocationresult"):
    """worker -> engine, engine -> worker.  The answer to one ``InvokeFunction``.

    ``error`` wins when both are there; a null ``result`` is no result.
    """

    invocation_id: str | None = None
    function_id: str | None = None
    result: Raw = ABSENT
    error: Raw = ABSENT
    traceparent: Any = None
    baggage: Any = None


Inbound = (
    InvokeFunction
    | InvocationResult
    | RegisterFunction
    | UnregisterFunction
    | RegisterTriggerType
    | UnregisterTriggerType
    | RegisterTrigger
    | UnregisterTrigger
    | TriggerRegistrationResult
    | RegisterService
    | Reattach
    | Ping
    | Pong
    | WorkerRegistered
    | RegistrationRejected
)
"""What a worker may send; the last two are ignored."""

CATALOGUE: tuple[type[Message], ...] = tuple(Message.__subclasses__())
"""All messages, for the documentation test."""

decode = msgspec.json.Decoder(Inbound).decode


def require_readable(*values: Raw) -> Any:
    """Decode ``values``, which are well-formed, and return the last one's value.

    A ``Raw`` is only skipped over when a message is decoded; a number out of range
    shows when somebody looks into it, and that must not be somebody else's list.

    :raises RegistrationError: one of them can't be read
    """
    last: Any = None
    for value in values:
        if value is not ABSENT:
            try:
                last = msgspec.json.decode(value)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise RegistrationError(Code.INVALID_JSON, f"it can't be read: {error}") from error
    return last
