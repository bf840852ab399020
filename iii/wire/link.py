"""What goes out to one worker: calls, answers, and the engine's own messages.

Two limits are kept here.  A message a Python SDK would end its connection over
is answered with ``payload_too_large`` instead of being sent; and for a worker
that does not read, calls are refused once ``MAX_QUEUED_BYTES`` wait, while
results, which nobody can refuse, end the connection with 1013.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Raw
from twisted.logger import Logger

from iii.engine.bindings import Registration
from iii.engine.functions import DEFAULT_NAMESPACE
from iii.engine.invocations import Call, ErrorBody, Invocations
from iii.engine.workers import Observer, Worker
from iii.errors import Code
from iii.websocket.codes import CLOSE_OVERLOAD, CLOSE_RESTART
from iii.websocket.frames import MAX_MESSAGE_BYTES, Receive
from iii.websocket.outbox import Outbox
from iii.wire import messages as m
from iii.wire.codec import encode, invoke_message, result_message
from iii.wire.tap import Tap

log = Logger()

PYTHON_LIMIT_BYTES = 1024 * 1024
PYTHON_RAISED_LIMIT = (0, 24, 6)
LARGE_MESSAGES = "large-messages.v1"


class Wire(Protocol):
    """The connection below."""

    def receive_with(self, receive: Receive) -> Receive: ...

    def sendClose(self, code: int, reason: str) -> None: ...


class WorkerLink:
    """The engine's ``Link`` to one worker (``engine.workers``).

    :param gone: cleans up after the worker, when it is replaced before it closed
    """

    def __init__(self, invocations: Invocations, wire: Wire, gone: Callable[[bool], None]) -> None:
        self._invocations = invocations
        self._wire = wire
        self._gone = gone
        self._outbox: Outbox
        self._tap: Tap | None = None
        self.worker: Worker
        self.open = False

    def opened(self, worker: Worker, outbox: Outbox) -> None:
        """The connection is open; the engine speaks first."""
        self.worker = worker
        self._outbox = outbox
        self.open = True
        self.send(m.WorkerRegistered(worker.id, worker.reattach_token))

    def invoke(self, call: Call) -> None:
        """Send a call; refuse it when it can't arrive."""
        payload = invoke_message(call)
        size = len(payload)
        if size > PYTHON_LIMIT_BYTES and (
            refusal := self._too_large(f"the call of {call.function_id}", size)
        ):
            self._invocations.finish(self.worker, call.id, None, refusal)
            return
        if self._outbox.full:
            text = f"{self.worker.describe} does not read: {self._outbox.queued} bytes are waiting"
            body = ErrorBody(Code.OVERLOADED, text)
            self._invocations.finish(self.worker, call.id, None, body)
            return
        # Sent and never sent again: many large calls in flight would hold their input twice.
        call.data = m.NULL
        self._outbox.send_text(payload)

    def register_trigger(self, registration: Registration) -> None:
        """This worker provides the type: tell it about a trigger."""
        self.send(
            m.RegisterTrigger(
                registration.id,
                registration.trigger_type,
                registration.function_id,
                # Never the default object itself: providers want the key in any case.
                Raw(bytes(registration.config)),
                registration.metadata or m.ABSENT,
                _unless_default(registration.namespace),
                _unless_default(registration.trigger_namespace),
            )
        )

    def unregister_trigger(self, registration: Registration) -> None:
        """This worker provides the type: the trigger is gone."""
        self.send(
            m.UnregisterTrigger(
                registration.id,
                registration.trigger_type,
                registration.function_id,
                registration.config,
                registration.metadata or m.ABSENT,
            )
        )

    def registration_failed(self, registration: Registration, error: ErrorBody) -> None:
        """This worker's trigger was refused."""
        self.send(
            m.TriggerRegistrationResult(
                registration.id,
                registration.trigger_type,
                registration.function_id,
                Raw(encode(error)),
            )
        )

    def close(self, code: int, reason: str) -> None:
        """Close with ``code`` after what is queued."""
        self._wire.sendClose(code, reason)

    def send_result(
        self,
        id: str,
        function_id: str,
        result: Raw | None,
        error: ErrorBody | None,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> None:
        """The answer to a call this worker made; nothing when it is gone."""
        if not self.open:
            return
        payload = result_message(id, function_id, result, error, traceparent, baggage)
        size = len(payload)
        if size > PYTHON_LIMIT_BYTES and (
            refusal := self._too_large(f"the result of {function_id}", size)
        ):
            payload = result_message(id, function_id, None, refusal, traceparent, baggage)
        if self._outbox.full:
            self.overloaded(f"{self._outbox.queued} bytes of results are waiting")
            return
        self._outbox.send_text(payload)

    def send(self, message: m.Message) -> None:
        """Any other message."""
        if self.open and self._outbox.full:
            self.overloaded(f"{self._outbox.queued} bytes are waiting")
        elif self.open:
            self._outbox.send_text(encode(message))

    def _ceiling(self) -> int:
        """The largest message that doesn't end the peer's connection (01 §16.4)."""
        worker = self.worker
        if worker.runtime != "python" or LARGE_MESSAGES in worker.features:
            return MAX_MESSAGE_BYTES
        version = worker.version_tuple
        old = version is None or version < PYTHON_RAISED_LIMIT
        return PYTHON_LIMIT_BYTES if old else MAX_MESSAGE_BYTES

    def _too_large(self, what: str, size: int) -> ErrorBody | None:
        """The refusal of a message of ``size`` bytes, when it would do harm."""
        if size <= PYTHON_LIMIT_BYTES or size <= self._ceiling():
            return None
        text = f"{what} has {size} bytes, {self.worker.describe} takes {self._ceiling()}"
        log.warn("{text}", text=text)
        return ErrorBody(Code.PAYLOAD_TOO_LARGE, text)

    def overloaded(self, reason: str) -> None:
        """The engine can't keep up with this connection: end it, nobody else suffers."""
        log.warn("{worker}: closed, {reason}", worker=self.worker.describe, reason=reason)
        self._wire.sendClose(CLOSE_OVERLOAD, reason)

    def observe(self, observer: Observer | None) -> None:
        """Link: while nobody does, nothing of this is in the way."""
        tap = self._tap
        if tap is not None:
            self._tap, self._outbox = None, tap.outbox
            if self.open:
                self._wire.receive_with(tap.receive)
        if observer is not None and self.open:
            tap = self._tap = Tap(self._outbox, observer)
            self._outbox = tap  # type: ignore[assignment]
            tap.receive = self._wire.receive_with(tap.frame_received)

    def evict(self) -> None:
        """The worker has come back on another connection: clean up now, then close."""
        self._gone(False)
        self._wire.sendClose(CLOSE_RESTART, "replaced by a newer connection")


def _unless_default(namespace: str | None) -> str | None:
    return None if namespace == DEFAULT_NAMESPACE else namespace
