"""One worker's conversation: messages in, engine calls out, and back.

Messages are handled in the order they came in.  A registration may have to wait
for a module (Deferred); registrations behind it wait too, and so do calls of a
function whose registration waits, but results, pings and everything else go on,
so a provider on the same connection can always answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.engine.bindings import Registration, TriggerType
from iii.engine.core import Engine
from iii.engine.functions import DEFAULT_NAMESPACE, FunctionOwner, FunctionSpec
from iii.engine.ids import is_uuid, uuid4_text
from iii.engine.invocations import Call, ErrorBody
from iii.engine.triggers import WorkerProvider
from iii.engine.workers import Worker
from iii.errors import Code, IIIError, RegistrationError
from iii.websocket.outbox import Outbox
from iii.wire import messages as m
from iii.wire import telemetry
from iii.wire.backlog import Backlog
from iii.wire.codec import (
    Lost,
    encode,
    error_body,
    lost_trigger_id,
    shortened,
    with_caller,
)
from iii.wire.enqueue import enqueue
from iii.wire.link import Wire, WorkerLink

log = Logger()

MAX_FUNCTIONS = 10_000
MAX_TRIGGERS = 10_000
MAX_ID_BYTES = 1024


Handler = Callable[[Any, Any], Deferred[None] | None]
"""``handler(session, message)``: the Deferred of a registration that has to wait."""


class Session:
    """The role of a connection on ``/``: a worker.

    :cvar handlers: what is done with each kind of message
    """

    handlers: ClassVar[dict[type[m.Message], Handler]]

    def __init__(self, engine: Engine, wire: Wire, ip_address: str) -> None:
        self._engine = engine
        self._invocations = engine.invocations
        self._link = self.make_link(wire)
        self.worker = Worker(self._link, ip_address, engine.clock.wall_ms())
        self._caller = self.worker.id.encode()
        self._waiting: Backlog | None = None

    def make_link(self, wire: Wire) -> WorkerLink:
        """What messages to the worker go through."""
        return WorkerLink(self._engine.invocations, wire, self.closed)

    def opened(self, outbox: Outbox) -> None:
        """The upgrade is done."""
        self._engine.workers.add(self.worker)
        self._link.opened(self.worker, outbox)

    def closed(self, clean: bool) -> None:
        """The connection ended, or is to be treated as if it had."""
        if not self._link.open:
            return
        self._link.open = False
        self._waiting = None
        self._engine.worker_gone(self.worker)

    # In --------------------------------------------------------------------------------

    def received(self, payload: bytes, is_binary: bool) -> None:
        """One message of the worker; what still comes after its end is nobody's."""
        if not self._link.open:
            return
        if is_binary and payload[:4] in telemetry.KINDS:
            self.worker.telemetry_frames += 1
            self._engine.telemetry(telemetry.KINDS[payload[:4]], payload[4:])
            return
        try:
            if is_binary:
                payload.decode()  # it may go on to others as text
            message = m.decode(payload)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            self._undecodable(payload, error)
            return
        self.worker.spoke = True
        if self._waiting is not None and self._must_wait(message):
            self._wait(message, len(payload))
            return
        done = self.handlers[type(message)](self, message)
        if done is not None:
            self._wait_for(done)

    def _wait_for(self, done: Deferred[None]) -> None:
        """A registration may be answered later."""
        if not done.called:
            if self._waiting is None:
                self._waiting = Backlog()
            done.addBoth(self._go_on)

    def _must_wait(self, message: m.Message) -> bool:
        """Whether ``message`` may only be handled after the waiting registration."""
        assert self._waiting is not None
        if isinstance(message, m.InvokeFunction):
            return self._waiting.brings(message.function_id)
        return type(message) in _REGISTRATIONS

    def _wait(self, message: m.Message, size: int) -> None:
        """``message`` is handled later.  Where no more fits, the connection ends."""
        assert self._waiting is not None
        if self._waiting.has_room(size):
            brings = self.brought_by(message) if isinstance(message, m.RegisterFunction) else None
            self._waiting.add(message, size, brings)
        else:
            self._link.overloaded("too much waits behind a registration")

    def brought_by(self, message: m.RegisterFunction) -> str:
        """The id that the function of ``message`` will have."""
        return message.id

    def _go_on(self, outcome: object) -> None:
        """A registration was answered: handle what waited behind it."""
        waiting, self._waiting = self._waiting, None
        while waiting and self._link.open:
            if self._waiting is not None:
                # The next one has to wait as well; the rest stays behind it.
                self._waiting = waiting
                return
            message = waiting.next()
            done = self.handlers[type(message)](self, message)
            if done is not None:
                self._wait_for(done)

    def _undecodable(self, payload: bytes, error: Exception) -> None:
        """Ignore it, say so once in the log, and let nobody hang (01 §2)."""
        if not payload.strip():
            return
        log.warn(
            "{worker}: ignored a message that can't be decoded: {error}",
            worker=self.worker.describe,
            error=shortened(str(error)),
        )
        lost = Lost.find(payload)
        if lost is None:
            self._tell_broken_trigger(payload, error)
            return
        malformed = isinstance(error, (msgspec.DecodeError, RecursionError))
        body = ErrorBody(
            Code.INVALID_JSON
            if malformed and not isinstance(error, msgspec.ValidationError)
            else Code.DESERIALIZATION_ERROR,
            f"the message can't be decoded: {shortened(str(error), 400)}",
        )
        if lost.is_result:
            self._invocations.finish(self.worker, lost.invocation_id, None, body)
        else:
            self._link.send_result(lost.invocation_id, lost.function_id, None, body)

    def _tell_broken_trigger(self, payload: bytes, error: Exception) -> None:
        """A trigger that can't be read is refused like any other, when it says its id."""
        id = lost_trigger_id(payload)
        if id is not None:
            body = ErrorBody(Code.TRIGGER_REGISTRATION_FAILED, f"it can't be decoded: {error}")
            self._link.send(m.TriggerRegistrationResult(id, "", "", Raw(encode(body))))

    # Calls -----------------------------------------------------------------------------

    def _invoke(self, message: m.InvokeFunction) -> None:
        """worker -> engine: call a function."""
        id, namespace = message.invocation_id, message.namespace
        if len(message.function_id) > MAX_ID_BYTES:
            text = f"function_id may have {MAX_ID_BYTES} bytes"
            message.function_id = message.function_id[:64] + "…"
            if message.invocation_id is None:
                log.warn("{worker}: refused a call: {text}", worker=self.worker.describe, text=text)
            self._refuse_call(message, ErrorBody(Code.INVALID_ARGUMENTS, text))
            return
        if namespace is not None and not namespace.strip():
            text = "`namespace` is empty: leave it out or name one"
            self._refuse_call(message, ErrorBody(Code.INVALID_NAMESPACE, text))
            return
        if message.action is not m.ABSENT:
            action = self._action_of(message)
            if action == "answered":
                return
            if action == "void":
                id = None
        traceparent, baggage = message.traceparent, message.baggage
        metadata = message.metadata
        call = Call(
            id if id is not None and is_uuid(id) else uuid4_text(),
            message.function_id,
            with_caller(message.data, self._caller),
            self._unheard if id is None else self._answer,
            id,
            # Whatever is no string can't be passed on and must not fail the call.
            traceparent if type(traceparent) is str else None,
            # Empty text counts as absent.
            baggage if baggage and type(baggage) is str else None,
            None if metadata is m.ABSENT else m.given(metadata),
            namespace,
            self.worker.id,
        )
        if id is not None:
            self.worker.issued += 1
        self._invocations.start(call)

    def _refuse_call(self, message: m.InvokeFunction, error: ErrorBody) -> None:
        """Answer a call that is not even started, when somebody waits for it."""
        if message.invocation_id is not None:
            self._link.send_result(message.invocation_id, message.function_id, None, error)

    def _action_of(self, message: m.InvokeFunction) -> str | None:
        """``void``, ``answered`` (here, or later by the queue), or None for a plain call."""
        present = m.given(message.action)
        if present is None:
            return None
        try:
            action = m.require_readable(present)
        except RegistrationError as unreadable:
            error = ErrorBody(unreadable.code, f"action: {unreadable.message}")
            self._refuse_call(message, error)
            return "answered"
        kind = action.get("type") if isinstance(action, dict) else None
        if kind == "void":
            return "void"
        if kind == "enqueue":
            self._enqueue(message, action)
            return "answered"
        log.warn(
            "{worker}: invokefunction {function} has an unknown action {action}",
            worker=self.worker.describe,
            function=message.function_id,
            action=shortened(str(action)),
        )
        error = ErrorBody(Code.INVALID_ARGUMENTS, f"unknown action {shortened(repr(kind))}")
        self._refuse_call(message, error)
        return "answered"

    def _enqueue(self, message: m.InvokeFunction, action: dict[str, Any]) -> None:
        """worker -> engine: put a call on a queue."""
        enqueue(self._invocations, self._link, message, action)

    def _answer(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        """The outcome of a call this worker made and waits for."""
        self.worker.issued -= 1
        self._link.send_result(
            call.requester,
            call.function_id,
            result,
            error,
            call.received or call.traceparent,
            call.baggage,
        )

    def _unheard(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        """The outcome of a call nobody waits for: only failures are worth a line."""
        if error is not None:
            log.warn(
                "{worker}: fire-and-forget call of {function} failed: {code}: {message}",
                worker=self.worker.describe,
                function=call.function_id,
                code=error.code,
                message=error.message,
            )

    def _result(self, message: m.InvocationResult) -> None:
        """worker -> engine: the answer to a call it ran."""
        if message.invocation_id is None:
            return
        error = None if message.error is m.ABSENT else error_body(message.error)
        result = None if error is not None else m.given(message.result)
        if not self._invocations.finish(self.worker, message.invocation_id, result, error):
            log.debug(
                "{worker}: Did not find caller for invocation {id}",
                worker=self.worker.describe,
                id=message.invocation_id,
            )

    # Registrations ---------------------------------------------------------------------

    def _register_function(self, message: m.RegisterFunction) -> None:
        namespace = message.namespace or self.worker.namespace
        key = (namespace, message.id)
        functions = self.worker.functions
        formats = (message.request_format, message.response_format, message.metadata)
        invocation = m.given(message.invocation)
        try:
            self._check_limits(message.id, key in functions, len(functions), MAX_FUNCTIONS)
            self._check_limits(namespace, True, 0, 0)
            m.require_readable(*formats)
            spec = FunctionSpec(
                self.worker if invocation is None else self._external(message.id, invocation),
                message.description,
                m.given(message.request_format),
                m.given(message.response_format),
                m.given(message.metadata),
                registrant=self.worker,
            )
            self._engine.functions.register(message.id, spec, namespace)
        except RegistrationError as error:
            self._log_refusal("registerfunction", message.id, error, grave=invocation is not None)
            new_enough = (self.worker.version_tuple or (0, 0, 0)) >= (0, 23, 0)
            if error.code == Code.FUNCTION_NAMESPACE_CONFLICT and new_enough:
                self._link.send(m.RegistrationRejected(error.code, namespace, message.id, "engine"))
            return
        functions[key] = None

    def _external(self, id: str, invocation: Raw) -> FunctionOwner:
        """Who runs a function with an ``invocation``.

        :raises RegistrationError: nobody does, or not this one
        """
        external = self._engine.functions.external
        if external is None:
            raise RegistrationError(Code.NOT_SUPPORTED, "HTTP functions module not loaded")
        return external(self.worker, id, invocation)

    def _unregister_function(self, message: m.UnregisterFunction) -> None:
        namespace = message.namespace or self.worker.namespace
        if self._engine.functions.unregister(message.id, self.worker, namespace):
            self.worker.functions.pop((namespace, message.id), None)

    def _register_trigger_type(self, message: m.RegisterTriggerType) -> Deferred[None] | None:
        namespace = message.namespace or self.worker.namespace
        key = (namespace, message.id)
        types = self.worker.trigger_types
        type = TriggerType(
            message.id,
            WorkerProvider(self.worker),
            description=message.description or "",
            owner=self.worker,
            shared=False,
            namespace=namespace,
            trigger_request_format=m.given(message.trigger_request_format),
            call_request_format=m.given(message.call_request_format),
        )
        try:
            self._check_limits(message.id, key in types, len(types), MAX_TRIGGERS)
            self._check_limits(namespace, True, 0, 0)
            m.require_readable(message.trigger_request_format, message.call_request_format)
            types[key] = None
            return self._engine.triggers.add_type(type)
        except RegistrationError as error:
            types.pop(key, None)
            self._log_refusal("registertriggertype", message.id, error)
            return None

    def _unregister_trigger_type(self, message: m.UnregisterTriggerType) -> None:
        namespace = message.namespace or self.worker.namespace
        if self._engine.triggers.remove_type(message.id, self.worker, namespace):
            self.worker.trigger_types.pop((namespace, message.id), None)

    def _register_trigger(self, message: m.RegisterTrigger) -> Deferred[None] | None:
        triggers = self.worker.triggers
        known = message.id in triggers
        try:
            self._check_limits(message.id, known, len(triggers), MAX_TRIGGERS)
            names = (message.trigger_type, message.function_id)
            for name in (*names, message.namespace, message.trigger_namespace):
                self._check_limits(name or "", True, 0, 0)
            registration = Registration(
                message.id,
                message.trigger_type,
                message.function_id,
                message.config,
                owner=self.worker,
                metadata=m.given(message.metadata),
                namespace=message.namespace or DEFAULT_NAMESPACE,
                trigger_namespace=message.trigger_namespace,
            )
        except RegistrationError as error:
            self._log_refusal("registertrigger", message.id, error)
            self._link.send(
                m.TriggerRegistrationResult(
                    message.id,
                    message.trigger_type,
                    message.function_id,
                    Raw(encode(ErrorBody(error.code, error.message))),
                )
            )
            return None
        done = self._engine.triggers.register(registration)
        # Refusals were reported and logged where they arose.
        done.addErrback(lambda failure: failure.trap(IIIError) and None)
        return done

    def _unregister_trigger(self, message: m.UnregisterTrigger) -> None:
        self._engine.triggers.unregister(message.id, self.worker)

    def _trigger_result(self, message: m.TriggerRegistrationResult) -> None:
        """A provider says how a registration went."""
        error = error_body(message.error)
        if error is None:
            self._engine.triggers.accepted(self.worker, message.id)
        else:
            self._engine.triggers.refused(self.worker, message.id, error)

    def _reattach(self, message: m.Reattach) -> None:
        """End the worker's old connection before anything else of the new one."""
        old = self._engine.workers.get(str(message.previous_worker_id))
        if old is None or old is self.worker:
            return
        token = str(message.reattach_token or "").encode()
        if not hmac.compare_digest(old.reattach_token.encode(), token):
            return
        log.info("{old}: replaced by its reconnect {new}", old=old.describe, new=self.worker.id)
        old.link.evict()

    def _ping(self, message: m.Ping) -> None:
        self._link.send(m.Pong())

    def _ignore(self, message: m.Message) -> None:
        """Services have no behaviour of their own; pongs and echoes need none."""

    def _check_limits(self, id: str, known: bool, count: int, limit: int) -> None:
        """Registering must not fill the memory (docs/limits.md).

        :raises RegistrationError: the id is too long, or there are too many
        """
        size = len(id.encode())
        if size > MAX_ID_BYTES:
            text = f"an id may have {MAX_ID_BYTES} bytes, this one has {size}"
            raise RegistrationError(Code.LIMIT_EXCEEDED, text)
        if not known and count >= limit:
            text = f"one connection may hold {limit} of them"
            raise RegistrationError(Code.LIMIT_EXCEEDED, text)

    def _log_refusal(self, what: str, id: str, error: IIIError, *, grave: bool = False) -> None:
        (log.error if grave else log.warn)(
            "{worker}: refused {what} {id}: {error}",
            worker=self.worker.describe,
            what=what,
            id=shortened(id),
            error=error.message,
        )


Session.handlers = {
    m.InvokeFunction: Session._invoke,
    m.InvocationResult: Session._result,
    m.RegisterFunction: Session._register_function,
    m.UnregisterFunction: Session._unregister_function,
    m.RegisterTriggerType: Session._register_trigger_type,
    m.UnregisterTriggerType: Session._unregister_trigger_type,
    m.RegisterTrigger: Session._register_trigger,
    m.UnregisterTrigger: Session._unregister_trigger,
    m.TriggerRegistrationResult: Session._trigger_result,
    m.Reattach: Session._reattach,
    m.Ping: Session._ping,
    m.RegisterService: Session._ignore,
    m.Pong: Session._ignore,
    m.WorkerRegistered: Session._ignore,
    m.RegistrationRejected: Session._ignore,
}

_REGISTRATIONS = frozenset(
    (
        m.RegisterFunction,
        m.UnregisterFunction,
        m.RegisterTriggerType,
        m.UnregisterTriggerType,
        m.RegisterTrigger,
        m.UnregisterTrigger,
    )
)
