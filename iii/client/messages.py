"""The client's side of the worker protocol.

First what the client sends, in the order of a conversation, then what it
understands.  A field with a default is left out when it has that value; ``data``
and ``result`` have none, so they are always there, as ``null`` if need be.

What comes in is read leniently: only what can't be done without is required,
and a message of an unknown type is somebody else's business (``decode`` raises,
the reader logs and goes on).
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType


class TriggerActionEnqueue(
    Struct, tag="enqueue", tag_field="type", frozen=True, omit_defaults=True
):
    """Put the call on the named queue instead of running it now (docs/queues.md).

    Giving anything but ``queue`` makes the answer ``{"messageReceiptId", "duplicate"}``.

    :ivar delay_ms: run it so much later
    :ivar deliver_at: run it at this time: ISO 8601, or milliseconds since the epoch
    :ivar priority: 0 to 9, higher goes first
    :ivar idempotency_key: a second message with it is not kept
    :ivar ttl_ms: dead when it has not run by then
    """

    queue: str
    delay_ms: int | None = None
    deliver_at: str | int | None = None
    priority: int | None = None
    idempotency_key: str | None = None
    idempotency_ttl_ms: int | None = None
    ttl_ms: int | None = None
    receipt: bool | None = None


class TriggerActionVoid(Struct, tag="void", tag_field="type", frozen=True):
    """Run the function, send no answer."""


class TriggerAction:
    """How a call is delivered, when not at once and with an answer."""

    @staticmethod
    def Enqueue(*, queue: str, **options: Any) -> TriggerActionEnqueue:
        """Deliver through a queue; the answer is ``{"messageReceiptId": …}``.

        :param options: the other fields of ``TriggerActionEnqueue``
        """
        return TriggerActionEnqueue(queue, **options)

    @staticmethod
    def Void() -> TriggerActionVoid:
        """Deliver without an answer."""
        return TriggerActionVoid()


class Message(Struct, tag_field="type", tag=str.lower, omit_defaults=True, kw_only=True):
    """One JSON object; ``type`` is the class name in lower case unless given."""


# --- client -> engine -----------------------------------------------------------------


class Reattach(Message):
    """The first message of a reconnect: this connection replaces that one."""

    previous_worker_id: str
    reattach_token: str


class RegisterTriggerType(Message):
    """This worker runs triggers of type ``id``."""

    id: str
    description: str
    trigger_request_format: Any = None
    call_request_format: Any = None


class UnregisterTriggerType(Message):
    """This worker no longer runs them."""

    id: str


class RegisterService(Message):
    """A name for a group of functions."""

    id: str
    name: str
    description: str | None = None
    parent_service_id: str | None = None


class RegisterFunction(Message):
    """This worker answers calls of ``id``."""

    id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None


class UnregisterFunction(Message):
    """It no longer does."""

    id: str


class RegisterTrigger(Message):
    """Run ``function_id`` when a trigger of this type and configuration fires."""

    id: str
    trigger_type: str
    function_id: str
    config: Any
    metadata: Any = None
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(Message):
    """No longer."""

    id: str
    trigger_type: str


class InvokeFunction(Message):
    """Run a function.  Without ``invocation_id`` nobody waits for an answer."""

    function_id: str
    data: Any
    invocation_id: str | None = None
    traceparent: str | None = None
    baggage: str | None = None
    action: TriggerActionEnqueue | TriggerActionVoid | None = None
    metadata: Any = None
    namespace: str | None = None


class ErrorBody(Struct, omit_defaults=True):
    """A failure, as an object."""

    code: str
    message: str
    stacktrace: str | None = None


class InvocationResult(Message):
    """The answer to an ``Invocation``: what the function returned."""

    invocation_id: str
    function_id: str
    result: Any
    traceparent: str | None = None
    baggage: str | None = None


class InvocationFailure(Message, tag="invocationresult"):
    """The answer to an ``Invocation``: why there is no result."""

    invocation_id: str
    function_id: str
    error: ErrorBody
    traceparent: str | None = None
    baggage: str | None = None


class TriggerRegistrationResult(Message):
    """The answer to a ``ProvideTrigger``."""

    id: str
    trigger_type: str
    function_id: str
    error: ErrorBody | None = None


# --- engine -> client -----------------------------------------------------------------


class WorkerRegistered(Message):
    """The engine's first message: who this connection is."""

    worker_id: str
    reattach_token: str | None = None


class Invocation(Message, tag="invokefunction"):
    """Run one of this worker's functions."""

    function_id: str
    data: Any = None
    invocation_id: str | None = None
    traceparent: str | None = None
    baggage: str | None = None
    metadata: Any = None


class Answer(Message, tag="invocationresult"):
    """What came of a call this client made.  Any true ``error`` is a failure."""

    invocation_id: str | None = None
    result: Raw | UnsetType = UNSET
    error: Any = None


class ProvideTrigger(Message, tag="registertrigger"):
    """Somebody wants a trigger of a type this worker provides."""

    id: str
    trigger_type: str
    function_id: str
    config: Any = None
    metadata: Any = None
    namespace: str | None = None


class WithdrawTrigger(Message, tag="unregistertrigger"):
    """Somebody no longer wants it.  Only newer engines say what it was."""

    id: str
    trigger_type: str | None = None
    function_id: str = ""
    config: Any | UnsetType = UNSET
    metadata: Any = None


class TriggerRefused(Message, tag="triggerregistrationresult"):
    """A trigger this worker registered was refused (``error``)."""

    id: str
    trigger_type: str = ""
    function_id: str = ""
    error: Any = None


class RegistrationRejected(Message):
    """A function, or this worker itself, is refused."""

    code: str
    namespace: str | None = None
    worker_name: str | None = None
    function_id: str | None = None
    owner_worker_id: str | None = None


class EngineError(Message, tag="error"):
    """Said before the engine closes a connection it does not let in."""

    error: Any = None


class Ping(Message):
    """Asks for a ``Pong``."""


class Pong(Message):
    """Both ways.  The answer to a ``Ping``."""


Inbound = (
    WorkerRegistered
    | Invocation
    | Answer
    | ProvideTrigger
    | WithdrawTrigger
    | TriggerRefused
    | RegistrationRejected
    | EngineError
    | Ping
    | Pong
)
