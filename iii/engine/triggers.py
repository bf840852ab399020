"""Trigger types, and the triggers that wait for them.

A *registration* is what one connection asked for, under its own id.  A
*binding* is what a provider is told.  Registrations of different connections
that are alike (type, namespace, function, canonical config, metadata) share one
binding, so N replicas of a worker don't run a schedule N times; the binding goes
with its last registration.  Two ids of one connection stay two bindings.

A registration whose type nobody provides is *parked*: it never fires, is in no
list, and is activated when the type appears.  Types have a stack of providers;
a loaded module's type can't be taken over by a worker.

A provider may answer later (a Deferred, or a worker's
``triggerregistrationresult``).  A refusal is reported to every owner, never
silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.bindings import Binding, Provider, Registration, TriggerType
from iii.engine.functions import DEFAULT_NAMESPACE, Key, key_of
from iii.engine.invocations import ErrorBody
from iii.engine.workers import Worker
from iii.errors import Code, IIIError, RegistrationError

log = Logger()


class Triggers:
    """All trigger types and registrations."""

    def __init__(self) -> None:
        self._types: dict[Key, list[TriggerType]] = {}
        self._parked: dict[Registration, None] = {}
        self._active: dict[Registration, None] = {}
        #: called after the set of those that can fire changed
        self.listeners: list[Callable[[], None]] = []
        self._ownerless: dict[str, Registration] = {}

    def types(self) -> Iterator[TriggerType]:
        """The serving provider of every type."""
        return (stack[-1] for stack in self._types.values())

    def registrations(self) -> Iterator[Registration]:
        """Everything that can fire, each id once (a reconnect may hold it twice)."""
        by_id = {registration.id: registration for registration in self._active}
        return iter(by_id.values())

    def _tell_changed(self) -> None:
        for listener in self.listeners:
            listener()

    def count_by_type(self) -> dict[str, int]:
        """How many of each type can fire."""
        return dict(Counter(registration.trigger_type for registration in self.registrations()))

    @property
    def parked(self) -> int:
        """How many registrations wait for their type."""
        return len(self._parked)

    def find_type(
        self, id: str, trigger_namespace: str | None, worker_namespace: str = DEFAULT_NAMESPACE
    ) -> TriggerType | None:
        """The type; without an explicit namespace the worker's own is tried first."""
        spaces = (
            (worker_namespace, DEFAULT_NAMESPACE)
            if trigger_namespace is None
            else (trigger_namespace,)
        )
        for namespace in spaces:
            stack = self._types.get(key_of(id, namespace))
            if stack:
                return stack[-1]
        return None

    # Types -----------------------------------------------------------------------------

    def add_type(self, type: TriggerType) -> Deferred[None]:
        """A provider appears: it gets every trigger of its type.

        :raises RegistrationError: a worker wants a type that a module provides
        """
        stack = self._types.setdefault(key_of(type.id, type.namespace), [])
        if type.owner is not None and stack and stack[-1].owner is None:
            raise RegistrationError(
                Code.TRIGGER_REGISTRATION_FAILED,
                f"trigger type {type.id} is provided by {stack[-1].module} and can't be replaced",
            )
        for known in stack:
            if known.owner is None and type.owner is None:
                # Two modules of one kind, such as two HTTP listeners, serve alike.
                return self._serve_also(known, type.provider)
            if known.owner is type.owner:
                # Again from the same connection (a replay): nothing moves.
                known.description = type.description
                known.trigger_request_format = type.trigger_request_format
                known.call_request_format = type.call_request_format
                return succeed(None)
        moving: list[Registration] = []
        for known in stack:
            moving += self._take_off(known)  # it lives on, but must not fire as well
        if type.owner is None or type.owner.access is None:
            self._displace_restricted(stack)
        stack.append(type)
        for registration in list(self._parked):
            if self._type_for(registration) is type and registration not in moving:
                moving.append(registration)
        done = [self._activate(registration) for registration in moving]
        return _all_settled(done)

    def _displace_restricted(self, stack: list[TriggerType]) -> None:
        """Who may do everything leaves its triggers to no worker that may not."""
        for known in [type for type in stack if type.owner and type.owner.access]:
            stack.remove(known)
            owner = known.owner
            assert owner is not None
            owner.trigger_types.pop((known.namespace, known.id), None)
            log.warn(
                "{worker}: its trigger type {id} is now that of somebody unrestricted",
                worker=owner.describe,
                id=known.id,
            )

    def _serve_also(self, type: TriggerType, provider: Provider) -> Deferred[None]:
        """One more module provides ``type``: it gets the triggers that are there, too."""
        moving = self._take_off(type)
        type.provider = SeveralProviders(type.provider, provider)
        return _all_settled([self._activate(registration) for registration in moving])

    def _take_off(self, type: TriggerType) -> list[Registration]:
        """Take every registration off ``type``, which goes on without."""
        for bindings in list(type.bindings.values()):
            for binding in bindings:
                self._tell_removed(binding)
        return self._detach_all(type)

    def withdraw(self, id: str, provider: Provider) -> None:
        """A module goes: others that provide the type go on, or its triggers are parked."""
        for type in self._types.get(id, []):
            if type.owner is not None:
                continue
            if type.provider is provider:
                self.remove_type(id, None, type.namespace)
                return
            if isinstance(type.provider, SeveralProviders):
                type.provider = type.provider.without(provider)
                return

    def remove_type(self, id: str, owner: Worker | None, namespace: str) -> bool:
        """A provider goes: the next one takes over, or the triggers are parked."""
        key = key_of(id, namespace)
        stack = self._types.get(key, [])
        mine = [type for type in stack if type.owner is owner]
        if not mine:
            return False
        for type in mine:
            stack.remove(type)
        moving = [registration for type in mine for registration in self._detach_all(type)]
        if not stack:
            self._types.pop(key, None)
            if moving:
                log.info(
                    "[DISABLED] {count} trigger(s) of type {id}: its provider is gone",
                    count=len(moving),
                    id=id,
                )
        _all_settled([self._activate(registration) for registration in moving])
        return True

    def move_type(self, id: str, owner: Worker, old: str, new: str) -> None:
        """``owner`` says late that its type belongs in namespace ``new``."""
        types = [type for type in self._types.get(key_of(id, old), []) if type.owner is owner]
        if types and self.remove_type(id, owner, old):
            types[0].namespace = new
            self.add_type(types[0])

    def _detach_all(self, type: TriggerType) -> list[Registration]:
        """Take every registration off ``type`` without telling its provider."""
        detached: list[Registration] = []
        for bindings in type.bindings.values():
            for binding in bindings:
                for registration in binding.registrations:
                    registration.binding = None
                    self._active.pop(registration, None)
                    self._tell_changed()
                    self._parked[registration] = None
                    detached.append(registration)
        type.bindings.clear()
        return detached

    # Triggers --------------------------------------------------------------------------

    def register(self, registration: Registration) -> Deferred[None]:
        """Activate or park.  The Deferred fires when the provider has answered.

        A failure is a ``RegistrationError``; the caller reports it.
        """
        table = self._table_of(registration)
        known = table.get(registration.id)
        if known is not None:
            if known.likeness == registration.likeness and (known.binding or known in self._parked):
                return succeed(None)
            self.release(known)
        table[registration.id] = registration
        return self._activate(registration)

    def resolve_again(self, owner: Worker) -> None:
        """``owner`` says late which namespace it is in: its triggers may mean another type."""
        for registration in list(owner.triggers.values()):
            known = None if registration.binding is None else registration.binding.type
            if registration.trigger_namespace is None and self._type_for(registration) is not known:
                self.release(registration)
                _all_settled([self.register(registration)])

    def unregister(self, id: str, owner: Worker | None) -> bool:
        """Remove ``owner``'s trigger ``id``.  False when it has none."""
        table = self._ownerless if owner is None else owner.triggers
        registration = table.get(id)
        if registration is None:
            return False
        self.release(registration)
        return True

    def release(self, registration: Registration) -> None:
        """Forget one registration; its binding goes with the last."""
        self._drop_from_table(registration)
        self._parked.pop(registration, None)
        self._active.pop(registration, None)
        self._tell_changed()
        binding, registration.binding = registration.binding, None
        if binding is None:
            return
        if len(binding.registrations) == 1:
            self._drop(binding)
            return
        counted = binding.newest is registration
        binding.leave(registration)
        if counted and binding.newest.likeness != registration.likeness:
            # An older wish under the same id counts again.
            self._tell_removed(binding)
            _all_settled([self._add(binding)])

    def ownerless(self, id: str) -> Registration | None:
        """The trigger ``id``, when it outlives whoever made it."""
        return self._ownerless.get(id)

    def refused(self, owner: Worker, id: str, error: ErrorBody) -> None:
        """A worker that provides a type reports that it could not activate ``id``."""
        for key in owner.trigger_types:
            for type in self._types.get(key_of(key[1], key[0]), []):
                if type.owner is not owner:
                    continue
                for binding in list(type.bindings.get(id, {})):
                    self._refuse(binding, RegistrationError(error.code, error.message), park=True)

    def accepted(self, owner: Worker, id: str) -> None:
        """A worker that provides a type reports that ``id`` is active."""
        for key in owner.trigger_types:
            for type in self._types.get(key_of(key[1], key[0]), []):
                if type.owner is owner:
                    for binding in type.bindings.get(id, {}):
                        _fire(binding.waiting, None)

    def _drop_from_table(self, registration: Registration) -> None:
        """Out of its owner's table, unless a successor with its id is there."""
        table = self._table_of(registration)
        if table.get(registration.id) is registration:
            del table[registration.id]

    def _table_of(self, registration: Registration) -> dict[str, Registration]:
        return self._ownerless if registration.owner is None else registration.owner.triggers

    def _type_for(self, registration: Registration) -> TriggerType | None:
        owner = registration.owner
        return self.find_type(
            registration.trigger_type,
            registration.trigger_namespace,
            DEFAULT_NAMESPACE if owner is None else owner.namespace,
        )

    def _activate(self, registration: Registration) -> Deferred[None]:
        type = self._type_for(registration)
        if type is None:
            if registration not in self._parked:
                log.info(
                    "trigger_type_not_found: {owner}: trigger {id} waits for type {type}",
                    owner=_describe(registration.owner),
                    id=registration.id,
                    type=registration.trigger_type,
                )
            self._parked[registration] = None
            return succeed(None)
        self._parked.pop(registration, None)
        self._active[registration] = None
        self._tell_changed()
        # A worker that provides a type knows triggers by id; a module's bindings are shared.
        likeness = registration.likeness if type.shared else registration.id
        bindings = type.bindings.setdefault(likeness, {})
        for binding in bindings:
            if all(known.owner is not registration.owner for known in binding.registrations):
                return self._join(binding, registration)
        binding = Binding(type, registration, likeness)
        bindings[binding] = None
        registration.binding = binding
        return self._add(binding)

    def _join(self, binding: Binding, registration: Registration) -> Deferred[None]:
        same = binding.newest.likeness == registration.likeness
        binding.join(registration)
        registration.binding = binding
        if not same:
            # One id, another wish: the newest counts, so the provider starts afresh.
            self._tell_removed(binding)
            return self._add(binding)
        if binding.active:
            _tell_renewed(binding.type.provider, binding)
            return succeed(None)
        answer: Deferred[None] = Deferred()
        binding.waiting.append(answer)
        return answer

    def _add(self, binding: Binding) -> Deferred[None]:
        answer: Deferred[None] = Deferred()
        binding.waiting.append(answer)
        try:
            adding = binding.type.provider.add(binding)
        except Exception:
            self._refuse(binding, Failure().value)
            return answer
        if adding is None:
            self._added(binding)
        else:
            adding.addCallbacks(
                lambda _: self._added(binding), lambda failure: self._refuse(binding, failure.value)
            )
        return answer

    def _added(self, binding: Binding) -> None:
        binding.active = True
        _fire(binding.waiting, None)
        if binding.registrations and binding.registrations[0].binding is None:
            # Unregistered while the provider was at it.
            self._tell_removed(binding)

    def _refuse(self, binding: Binding, error: BaseException | None, *, park: bool = False) -> None:
        if not isinstance(error, IIIError):
            log.failure("trigger provider {type} failed", type=binding.type.id)
            error = RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, str(error))
        waiting, binding.waiting = binding.waiting, []
        self._forget(binding)
        for registration in binding.registrations:
            if registration.binding is not binding:
                continue  # replaced or released while the provider was at it
            registration.binding = None
            self._active.pop(registration, None)
            self._tell_changed()
            if park:
                self._parked[registration] = None
            else:
                self._drop_from_table(registration)
            self._report(registration, error)
        _fire(waiting, Failure(error))

    def _report(self, registration: Registration, error: IIIError) -> None:
        log.warn(
            "{owner}: refused registertrigger {type}/{id} for {function}: {error}",
            owner=_describe(registration.owner),
            type=registration.trigger_type,
            id=registration.id,
            function=registration.function_id,
            error=error.message,
        )
        if registration.owner is not None:
            body = ErrorBody(error.code, error.message)
            registration.owner.link.registration_failed(registration, body)

    def _forget(self, binding: Binding) -> None:
        bindings = binding.type.bindings.get(binding.likeness, {})
        bindings.pop(binding, None)
        if not bindings:
            binding.type.bindings.pop(binding.likeness, None)

    def _drop(self, binding: Binding) -> None:
        self._forget(binding)
        if binding.active or binding.type.owner is not None:
            self._tell_removed(binding)

    def _tell_removed(self, binding: Binding) -> None:
        binding.active = False
        try:
            removing = binding.type.provider.remove(binding)
        except Exception:
            log.failure("removing trigger {id} of type {type}", id=binding.id, type=binding.type.id)
            return
        if removing is not None:
            removing.addErrback(
                lambda failure: log.failure(
                    "removing trigger {id} of type {type}",
                    failure,
                    id=binding.id,
                    type=binding.type.id,
                )
            )


class SeveralProviders:
    """A trigger type provided by several modules, each of which gets every binding."""

    def __init__(self, first: Provider, second: Provider) -> None:
        self._first = first
        self._second = second

    def add(self, binding: Binding) -> Deferred[None] | None:
        """Activate in both; refused by one means refused, and taken back by the other."""
        waits: list[Deferred[None]] = []
        for provider, other in ((self._first, self._second), (self._second, self._first)):
            try:
                wait = provider.add(binding)
            except Exception:
                if provider is self._second:
                    other.remove(binding)
                raise
            if wait is not None:
                wait.addErrback(self._take_back, other, binding)
                waits.append(wait)
        return _all_accepted(waits) if waits else None

    def _take_back(self, failure: Failure, other: Provider, binding: Binding) -> Failure:
        other.remove(binding)
        return failure

    def without(self, provider: Provider) -> Provider:
        """The others: what they have activated stays so."""
        if provider is self._first:
            return self._second
        if provider is self._second:
            return self._first
        first, second = (
            known.without(provider) if isinstance(known, SeveralProviders) else known
            for known in (self._first, self._second)
        )
        return SeveralProviders(first, second)

    def renewed(self, binding: Binding) -> None:
        """Tell both."""
        _tell_renewed(self._first, binding)
        _tell_renewed(self._second, binding)

    def remove(self, binding: Binding) -> Deferred[None] | None:
        """Deactivate in both."""
        removals = [self._first.remove(binding), self._second.remove(binding)]
        waits = [wait for wait in removals if wait is not None]
        return _all_accepted(waits) if waits else None


class WorkerProvider:
    """A trigger type provided by a worker: the worker is told, and fires by itself."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def add(self, binding: Binding) -> None:
        """Send ``registertrigger``; a refusal comes back as a message."""
        self._worker.link.register_trigger(binding.newest)

    def remove(self, binding: Binding) -> None:
        """Send ``unregistertrigger``."""
        self._worker.link.unregister_trigger(binding.newest)


def _describe(owner: Worker | None) -> str:
    return "engine" if owner is None else owner.describe


def _fire(waiting: list[Deferred[None]], outcome: Any) -> None:
    """Tell everyone who waits for a binding."""
    while waiting:
        waiter = waiting.pop()
        waiter.callback(outcome) if outcome is None else waiter.errback(outcome)


def _tell_renewed(provider: Provider, binding: Binding) -> None:
    renewed = getattr(provider, "renewed", None)
    if renewed is not None:
        renewed(binding)


def _all_accepted(waits: list[Deferred[None]]) -> Deferred[None]:
    """Fires when all have, fails with the first failure."""
    return gatherResults(waits, consumeErrors=True).addCallbacks(
        lambda _: None, lambda failure: failure.value.subFailure
    )


def _all_settled(waits: list[Deferred[None]]) -> Deferred[None]:
    """Fires when all have; failures were reported where they arose."""
    finished: Deferred[None] = Deferred()
    left = len(waits)

    def one_less(outcome: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            finished.callback(None)

    if not waits:
        finished.callback(None)
    for wait in waits:
        wait.addBoth(one_less)
    return finished
