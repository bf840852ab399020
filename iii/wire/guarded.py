"""The session of a worker that may not do everything.

``rbac`` decides what is passed on to the plain ``Session``, and under which id; with a
middleware, calls go there instead.  Hooks are asked like any registration that has to wait
for a module: what was sent behind it waits in order, while results and pings go on, so a
hook may well be a function of the same connection.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iii.access.gate import Gate
from iii.access.grant import Grant
from iii.engine.bindings import functions_in
from iii.engine.core import Engine
from iii.engine.functions import DEFAULT_NAMESPACE, ENGINE_PREFIX
from iii.engine.ids import next_id, uuid4_text
from iii.engine.invocations import Call, ErrorBody
from iii.errors import Code, IIIError, RegistrationError
from iii.wire import messages as m
from iii.wire.codec import encode, shortened, without_caller
from iii.wire.link import Wire, WorkerLink
from iii.wire.names import Names, RenamingLink
from iii.wire.session import MAX_ID_BYTES, Session

log = Logger()
T = TypeVar("T", bound=msgspec.Struct)

HOOK_LIMIT_S = 10.0
#: Of one connection; what else it tries is told at debug level.
TOLD_REFUSALS = 10
#: Release after which refusals say what to change.
_TERSE_UNTIL = (0, 11, 2)
_TERSE = "function not allowed"


class FunctionSaid(msgspec.Struct):
    """What ``on_function_registration_function_id`` may change."""

    function_id: str | None = None
    description: str | None = None
    metadata: Raw = m.ABSENT


class TriggerSaid(msgspec.Struct):
    """What ``on_trigger_registration_function_id`` may change."""

    trigger_id: str | None = None
    trigger_type: str | None = None
    function_id: str | None = None
    config: Raw = m.ABSENT


class TypeSaid(msgspec.Struct):
    """What ``on_trigger_type_registration_function_id`` may change."""

    trigger_type_id: str | None = None
    description: str | None = None


class GuardedSession(Session):
    """A worker on a listener with ``rbac`` or a middleware.

    :param gate: the listener's
    :param grant: the connection's rights; None: all, but there is a middleware
    """

    def __init__(
        self, engine: Engine, wire: Wire, ip_address: str, gate: Gate, grant: Grant | None
    ) -> None:
        super().__init__(engine, wire, ip_address)
        self.worker.access = grant
        self._grant = grant
        self._rbac = gate.rbac
        self._middleware = gate.middleware
        self._names = self._guarded_link.names
        self._names.prefix = "" if grant is None else grant.prefix
        self._context = m.EMPTY if grant is None else grant.context
        self._registering: str | None = None
        self._refusals = 0

    def make_link(self, wire: Wire) -> WorkerLink:
        """Session: one that knows the worker's own names."""
        link = RenamingLink(self._engine.invocations, wire, self.closed)
        link.names = Names()
        self._guarded_link = link
        return link

    # Calls -----------------------------------------------------------------------------

    def _call(self, message: m.InvokeFunction) -> None:
        """worker -> engine: call a function, if it may."""
        id, namespace = message.function_id, message.namespace
        malformed = len(id) > MAX_ID_BYTES or (namespace is not None and not namespace.strip())
        if malformed:
            self._invoke(message)  # refuses it
            return
        refusal = None if self._grant is None else self._grant.refusal(id, namespace)
        if refusal is not None:
            self._forbid(message, refusal)
            return
        if self._engine.functions.aliases.get(id, id).startswith(ENGINE_PREFIX):
            if message.data == m.NULL:
                # Without an object there is no room for who asks, and lists show everything.
                message.data = m.EMPTY
        elif self._middleware is not None and not self._runs_middleware:
            self._ask_middleware(message, self._middleware)
            return
        self._invoke(message)

    def _enqueue(self, message: m.InvokeFunction, action: dict[str, Any]) -> None:
        """Session: only what a trigger might call, too; a queue tells nobody whose call it is."""
        grant = self._grant
        if grant is None or grant.may_fire(message.function_id, message.namespace):
            super()._enqueue(message, action)
            return
        id = shortened(message.function_id)
        self._forbid(message, f"function '{id}' not allowed through a queue, call it instead")

    def _forbid(self, message: m.InvokeFunction, reason: str) -> None:
        self._tell_refusal(f"call of {shortened(message.function_id)}", reason)
        version = self.worker.version_tuple
        # Our own client counts its releases anew; unlike those of old, it has features.
        old = version is not None and version <= _TERSE_UNTIL and not self.worker.features
        error = ErrorBody(Code.FORBIDDEN, _TERSE if old else reason)
        # Answered even when nobody waits (01 §17.5).
        id = message.invocation_id or uuid4_text()
        self._link.send_result(id, message.function_id, None, error)

    @property
    def _runs_middleware(self) -> bool:
        return (DEFAULT_NAMESPACE, self._middleware) in self.worker.functions

    def _ask_middleware(self, message: m.InvokeFunction, middleware: str) -> None:
        """Call the middleware instead: its result is the call's."""
        action = m.given(message.action)
        try:
            kind = m.require_readable(action) if action is not None else None
            data = without_caller(message.data)
        except (RegistrationError, msgspec.MsgspecError, RecursionError) as error:
            body = ErrorBody(Code.INVALID_JSON, f"it can't be read: {shortened(str(error))}")
            self._refuse_call(message, body)
            return
        asked = {
            "function_id": message.function_id,
            "payload": data,
            "action": action,
            "context": self._context,
        }
        if message.namespace is not None:
            asked["namespace"] = message.namespace
        void = isinstance(kind, dict) and kind.get("type") == "void"
        id = None if void else message.invocation_id
        traceparent, baggage = message.traceparent, message.baggage
        call = Call(
            next_id(),
            middleware,
            Raw(encode(asked)),
            self._unheard if id is None else self._middleware_answered,
            (id, message.function_id),
            traceparent if type(traceparent) is str else None,
            baggage if baggage and type(baggage) is str else None,
            None if message.metadata is m.ABSENT else m.given(message.metadata),
            None,
            self.worker.id,
        )
        if id is not None:
            self.worker.issued += 1
        self._invocations.start(call)

    def _middleware_answered(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        self.worker.issued -= 1
        id, function_id = call.requester
        trace = call.received or call.traceparent
        self._link.send_result(id, function_id, result, error, trace, call.baggage)

    # Functions -------------------------------------------------------------------------

    def _offer(self, message: m.RegisterFunction) -> Deferred[None] | None:
        """worker -> engine: register a function, if it may."""
        own = message.id
        why = self._refuses_functions(message.namespace)
        if why is not None:
            self._tell_refusal(f"registerfunction {shortened(own)}", why)
            return None
        hook = None if self._rbac is None else self._rbac.on_function_registration_function_id
        if hook is None or (self._grant is not None and self._grant.is_decider(own)):
            self._register_as(own, f"{self._names.prefix}{own}", message)
            return None
        self._registering = f"{self._names.prefix}{own}"
        return self._waiting_for(self._offer_with_hook(hook, own, message))

    def _refuses_functions(self, namespace: str | None) -> str | None:
        if self._grant is not None and not self._grant.may_register_functions:
            return "allow_function_registration is false"
        return self._refuses_namespace(namespace)

    async def _offer_with_hook(self, hook: str, own: str, message: m.RegisterFunction) -> None:
        asked = {
            "function_id": own,
            "description": message.description,
            "metadata": m.given(message.metadata),
            "namespace": message.namespace or DEFAULT_NAMESPACE,
        }
        what = f"registerfunction {shortened(own)}"
        said = await self._ask_hook(hook, asked, FunctionSaid, what)
        self._registering = None
        if said is None:
            return
        registered = f"{self._names.prefix}{said.function_id or own}"
        if said.description is not None:
            message.description = said.description
        if m.given(said.metadata) is not None:
            message.metadata = said.metadata.copy()
        self._register_as(own, registered, message)

    def _register_as(self, own: str, registered: str, message: m.RegisterFunction) -> None:
        namespace = message.namespace or self.worker.namespace
        grant = self._grant
        why = None if grant is None else grant.offer_refusal(registered, namespace)
        if why is not None:
            self._tell_refusal(f"registerfunction {shortened(registered)}", why)
            return
        former = self._names.functions.registered(own)
        if former not in (None, registered):
            self._unregister_function(m.UnregisterFunction(former or "", message.namespace))
        message.id = registered
        self._register_function(message)
        if (namespace, registered) in self.worker.functions:
            self._names.functions.add(own, registered)

    def _withdraw(self, message: m.UnregisterFunction) -> None:
        """worker -> engine: unregister a function."""
        own = message.id
        message.id = self._names.function(own)
        self._unregister_function(message)
        self._names.functions.discard(own)
        namespace = message.namespace or self.worker.namespace
        self._engine.drop_triggers(self.worker, message.id, namespace)

    def brought_by(self, message: m.RegisterFunction) -> str:
        """Session: it may become something else than its id says."""
        return self._names.function(message.id)

    def _must_wait(self, message: m.Message) -> bool:
        """Session: also a call of the function that the hook is asked about."""
        if isinstance(message, m.InvokeFunction) and message.function_id == self._registering:
            return True
        return super()._must_wait(message)

    # Triggers --------------------------------------------------------------------------

    def _bind(self, message: m.RegisterTrigger) -> Deferred[None] | None:
        """worker -> engine: register a trigger, if it may."""
        if self._grant is not None and not self._grant.may_bind(message.trigger_type):
            text = f"trigger type '{shortened(message.trigger_type)}' not allowed"
            self._forbid_trigger(message, text)
            return None
        hook = None if self._rbac is None else self._rbac.on_trigger_registration_function_id
        if hook is None:
            return self._bind_as(message.id, message.function_id, message)
        return self._waiting_for(self._bind_with_hook(hook, message))

    async def _bind_with_hook(self, hook: str, message: m.RegisterTrigger) -> None:
        asked = {
            "trigger_id": message.id,
            "trigger_type": message.trigger_type,
            "function_id": message.function_id,
            "config": message.config,
            "metadata": m.given(message.metadata),
            "namespace": message.namespace or DEFAULT_NAMESPACE,
        }
        what = f"registertrigger {shortened(message.id)}"
        said = await self._ask_hook(hook, asked, TriggerSaid, what)
        if said is None:
            self._tell_trigger(message, "the registration hook refused it")
            return
        own, function_id = message.id, message.function_id
        message.id = said.trigger_id or own
        message.trigger_type = said.trigger_type or message.trigger_type
        config = m.given(said.config)
        if config is not None:
            message.config = config.copy()
        registered = f"{self._names.prefix}{said.function_id}" if said.function_id else None
        done = self._bind_as(own, function_id, message, registered, trusted=config is not None)
        if done is not None:
            await done

    def _bind_as(
        self,
        own: str,
        function_id: str,
        message: m.RegisterTrigger,
        chosen: str | None = None,
        *,
        trusted: bool = False,
    ) -> Deferred[None] | None:
        """Register the trigger ``own`` of the worker.

        :param function_id: its function, as the worker calls it
        :param chosen: its function, as the hook wants it
        :param trusted: its configuration is the hook's
        """
        registered, message.function_id = message.id, chosen or self._names.function(function_id)
        called = [] if chosen else [message.function_id]
        try:
            called += [] if trusted else functions_in(message.config)
        except RegistrationError:
            message.id, message.function_id = own, function_id
            return self._register_trigger(message)  # refuses it
        refused = next((id for id in called if not self._may_fire(id, message.namespace)), None)
        if refused is not None:
            shown = function_id if refused == message.function_id else refused
            message.id, message.function_id = own, function_id
            text = f"function '{shortened(shown)}' not allowed, nor is a trigger of it"
            self._forbid_trigger(message, text)
            return None
        former = self._names.triggers.registered(own)
        if former not in (None, registered):
            self._unregister_trigger(m.UnregisterTrigger(former or ""))
        done = self._register_trigger(message)
        if registered in self.worker.triggers:
            self._names.triggers.add(own, registered)
        return done

    def _may_fire(self, id: str, namespace: str | None) -> bool:
        """A trigger is a call in another shape: of one's own functions, or of allowed ones."""
        grant, namespace = self._grant, namespace or DEFAULT_NAMESPACE
        return (
            grant is None
            or (namespace, id) in self.worker.functions
            or grant.may_fire(id, namespace)
        )

    def _unbind(self, message: m.UnregisterTrigger) -> None:
        """worker -> engine: unregister a trigger."""
        own = message.id
        message.id = self._names.trigger(own)
        self._unregister_trigger(message)
        self._names.triggers.discard(own)

    def _forbid_trigger(self, message: m.RegisterTrigger, reason: str) -> None:
        self._tell_refusal(f"registertrigger {shortened(message.id)}", reason)
        self._tell_trigger(message, reason)

    def _tell_trigger(self, message: m.RegisterTrigger, reason: str) -> None:
        error = Raw(encode(ErrorBody(Code.FORBIDDEN, reason)))
        self._link.send(
            m.TriggerRegistrationResult(
                message.id, message.trigger_type, message.function_id, error
            )
        )

    # Trigger types ---------------------------------------------------------------------

    def _provide(self, message: m.RegisterTriggerType) -> Deferred[None] | None:
        """worker -> engine: register a trigger type, if it may."""
        why = None
        if self._grant is not None:
            why = self._refuses_namespace(message.namespace)
            if not self._grant.may_register_types:
                why = "allow_trigger_type_registration is false"
        if why is not None:
            self._tell_refusal(f"registertriggertype {shortened(message.id)}", why)
            return None
        hook = None if self._rbac is None else self._rbac.on_trigger_type_registration_function_id
        if hook is None:
            return self._provide_as(message)
        return self._waiting_for(self._provide_with_hook(hook, message))

    def _provide_as(self, message: m.RegisterTriggerType) -> Deferred[None] | None:
        namespace = message.namespace or self.worker.namespace
        grant, known = self._grant, self._engine.triggers.find_type(message.id, namespace)
        provider = None if known is None else known.owner
        why = None if grant is None or provider is None else grant.share_refusal(provider)
        if why is not None:
            self._tell_refusal(f"registertriggertype {shortened(message.id)}", why)
            return None
        return self._register_trigger_type(message)

    async def _provide_with_hook(self, hook: str, message: m.RegisterTriggerType) -> None:
        own = message.id
        asked = {"trigger_type_id": own, "description": message.description or ""}
        what = f"registertriggertype {shortened(own)}"
        said = await self._ask_hook(hook, asked, TypeSaid, what)
        if said is None:
            return
        message.id = said.trigger_type_id or own
        if said.description is not None:
            message.description = said.description
        # Its provider is told of waiting triggers while it is registered.
        self._names.types.add(own, message.id)
        done = self._provide_as(message)
        namespace = message.namespace or self.worker.namespace
        if (namespace, message.id) not in self.worker.trigger_types:
            self._names.types.discard(own)
        if done is not None:
            await done

    def _retract(self, message: m.UnregisterTriggerType) -> None:
        """worker -> engine: unregister a trigger type."""
        own = message.id
        message.id = self._names.type(own)
        self._unregister_trigger_type(message)
        self._names.types.discard(own)

    # Hooks -----------------------------------------------------------------------------

    async def _ask_hook(
        self, hook: str, asked: dict[str, Any], type_: type[T], what: str
    ) -> T | None:
        """What ``hook`` makes of a registration; None: it is refused, or nobody waits any more."""
        asked["context"] = self._context
        try:
            answer = await self._engine.invoke(hook, asked, timeout_s=HOOK_LIMIT_S)
            said = None if answer is None else msgspec.json.decode(answer, type=type_ | None)
        except (IIIError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._tell_refusal(what, f"hook {hook}: {shortened(str(error), 300)}")
            return None
        if said is None:
            self._tell_refusal(what, f"hook {hook} returned nothing")
            return None
        return said if self._link.open else None

    def _waiting_for(self, asking: Coroutine[Any, Any, None]) -> Deferred[None]:
        return Deferred.fromCoroutine(asking).addErrback(
            lambda failure: log.failure(
                "{worker}: its registration failed", failure, worker=self.worker.describe
            )
        )

    def _refuses_namespace(self, namespace: str | None) -> str | None:
        if namespace is None or self._grant is None or self._grant.may_declare(namespace):
            return None
        return f"namespace '{shortened(namespace)}' is not among its namespaces"

    def _tell_refusal(self, what: str, reason: str) -> None:
        """In the log; what a connection tries again and again does not fill it."""
        self._refusals += 1
        (log.warn if self._refusals <= TOLD_REFUSALS else log.debug)(
            "{worker}: refused {what}: {reason}",
            worker=self.worker.describe,
            what=what,
            reason=reason,
        )


_Handler = Callable[[Any, Any], Deferred[None] | None]

_OWN: dict[type[m.Message], _Handler] = {
    m.InvokeFunction: GuardedSession._call,
    m.RegisterFunction: GuardedSession._offer,
    m.UnregisterFunction: GuardedSession._withdraw,
    m.RegisterTriggerType: GuardedSession._provide,
    m.UnregisterTriggerType: GuardedSession._retract,
    m.RegisterTrigger: GuardedSession._bind,
    m.UnregisterTrigger: GuardedSession._unbind,
}
GuardedSession.handlers = {**Session.handlers, **_OWN}
