"""The engine's own functions and trigger types, part of every engine.

What workers call about themselves (``engine::workers::register``), channels,
triggers registered by a call, and the two events of the engine itself:
``engine::functions-available`` and ``engine::workers-available``.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel

from iii.engine.bindings import Binding, Registration, functions_in
from iii.engine.clock import Timer
from iii.engine.core import Engine
from iii.engine.discovery import Discovery, Query
from iii.engine.draining import drain
from iii.engine.functions import DEFAULT_NAMESPACE, ENGINE_PREFIX
from iii.engine.ids import uuid4_text
from iii.engine.invocationcalls import InvocationCalls
from iii.engine.invocations import STOPPED, Call, ErrorBody, as_raw
from iii.engine.module import ModuleApi
from iii.engine.operations import Operations
from iii.engine.tracing import Error
from iii.engine.watching import own as watching
from iii.engine.workers import MAX_LABEL_CHARS, Worker, clean_label
from iii.errors import Code, IIIError, InvocationError, RegistrationError

log = Logger()

MODULE = "iii-engine-functions"
CHANGES_COALESCED_S = 0.5
#: Calls that wait for one worker to finish; each looks again and again.
MAX_DRAINS = 16
PROVIDER_ANSWER_S = 10.0
FUNCTIONS_AVAILABLE = "engine::functions-available"

# Spellings of SDKs before 0.2.
ALIASES = {
    "engine.functions.list": "engine::functions::list",
    "engine.workers.list": "engine::workers::list",
    "engine.workers.register": "engine::workers::register",
}


class WorkerMetadata(msgspec.Struct):
    """``engine::workers::register``: what a worker says about itself."""

    caller: str = field(name="_caller_worker_id")
    runtime: str | None = None
    version: str | None = None
    name: str | None = None
    os: str | None = None
    telemetry: Any = None
    pid: int | None = None
    isolation: str | None = None
    description: str | None = None
    namespace: str | None = None
    features: list[str] | None = None


class Drain(msgspec.Struct):
    """``engine::workers::drain``: which worker, and how long it may take."""

    caller: str = field(name="_caller_worker_id")
    worker_id: str | None = None
    timeout_ms: Annotated[float, Meta(ge=0)] = 30_000


class Drained(msgspec.Struct):
    """The answer: whether the worker has finished, or what it still runs."""

    drained: bool
    in_flight: int


class NewChannel(msgspec.Struct):
    """``engine::channels::create``."""

    buffer_size: Annotated[int, Meta(ge=0)] | None = None


class NewTrigger(msgspec.Struct):
    """``engine::register_trigger``: a trigger that outlives its caller."""

    trigger_type: str
    function_id: str
    config: Any = field(default_factory=dict)
    metadata: Any = None
    namespace: str | None = None
    trigger_namespace: str | None = None
    caller: str | None = field(name="_caller_worker_id", default=None)


class OldTrigger(msgspec.Struct):
    """``engine::unregister_trigger``."""

    id: str
    trigger_type: str | None = None
    caller: str | None = field(name="_caller_worker_id", default=None)


def install(engine: Engine) -> None:
    """Register everything of this file and ``discovery``."""
    api = ModuleApi(engine, MODULE)
    core = CoreFunctions(engine)
    engine.functions.aliases.update(ALIASES)
    discovery = Discovery(engine)
    discovery.install(api)
    Operations(engine).install(api)
    InvocationCalls(engine).install(api)
    watching.install(engine, api, discovery)
    api.function("engine::workers::register", core.register_worker, takes=WorkerMetadata)
    api.function(
        "engine::workers::drain",
        core.drain,
        takes=Drain,
        gives=Drained,
        description="Give a worker no new calls, and wait for those it runs",
    )
    api.function("engine::channels::create", core.create_channel, takes=NewChannel)
    api.function("engine::register_trigger", core.register_trigger, takes=NewTrigger)
    api.function("engine::unregister_trigger", core.unregister_trigger, takes=OldTrigger)
    api.trigger_type(
        "engine::workers-available",
        WorkerEvents(engine),
        description="A worker connected, disconnected or described itself",
    )
    api.trigger_type(
        FUNCTIONS_AVAILABLE,
        FunctionEvents(engine, discovery),
        description="The set of registered functions changed",
    )


class CoreFunctions:
    """The functions that change something."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: worker id → how many wait until it has finished
        self._drains: Counter[str] = Counter()

    def register_worker(self, said: WorkerMetadata) -> dict[str, bool]:
        """``engine::workers::register`` (01 §8.4)."""
        worker = self._engine.workers.get(said.caller)
        if worker is None:
            return {"success": True}
        worker.runtime = clean_label(said.runtime) or "unknown"
        worker.version = clean_label(said.version)
        worker.name = clean_label(said.name) or worker.name
        worker.os = clean_label(said.os) or worker.os
        worker.pid = said.pid if said.pid is not None else worker.pid
        worker.isolation = clean_label(said.isolation) or worker.isolation
        worker.description = clean_label(said.description) or worker.description
        log.emit(
            LogLevel.debug if worker.passing else LogLevel.info,
            "{worker} is here, from {address}",
            worker=worker.describe,
            address=worker.ip_address,
        )
        if said.features is not None:
            worker.features = tuple(said.features)
        if said.namespace and said.namespace != worker.namespace:
            if worker.access is None or worker.access.may_declare(said.namespace):
                self._move(worker, said.namespace)
            else:
                log.warn(
                    "{worker}: namespace {namespace} is not among its namespaces",
                    worker=worker.describe,
                    namespace=said.namespace[:MAX_LABEL_CHARS],
                )
        for namespace, id in worker.functions:
            self._engine.functions.owner_changed(id, namespace)
        self._engine.workers.announce("worker_metadata_updated", worker)
        return {"success": True}

    async def drain(self, wanted: Drain) -> Drained:
        """``engine::workers::drain`` (08 §4); without an id it is about the caller itself.

        :raises InvocationError: there is no such worker, the caller may only drain itself, or
            too many wait for that already
        """
        id = wanted.worker_id or wanted.caller
        caller = self._engine.workers.get(wanted.caller)
        if caller is not None and caller.access is not None and id != wanted.caller:
            raise InvocationError(Code.FORBIDDEN, "another worker can't be drained from here")
        worker = self._engine.workers.get(id)
        if worker is None:
            raise InvocationError(Code.WORKER_NOT_FOUND, f"no worker {id} is connected")
        if self._drains[id] >= MAX_DRAINS:
            text = f"{MAX_DRAINS} calls wait for that worker already"
            raise InvocationError(Code.OVERLOADED, text)
        if not worker.draining:
            log.info("{worker} is drained", worker=worker.describe)
        engine = self._engine
        limit_s = wanted.timeout_ms / 1000
        self._drains[id] += 1
        try:
            left = await drain(engine.clock, engine.functions, [worker], limit_s)
        finally:
            self._drains[id] -= 1
            if not self._drains[id]:
                del self._drains[id]
        if left:
            log.warn(
                "{worker} still runs {count} call(s) after {limit:g} s",
                worker=worker.describe,
                count=left,
                limit=limit_s,
            )
        return Drained(not left, left)

    def _move(self, worker: Worker, namespace: str) -> None:
        """A worker says its namespace last: what it registered before moves there."""
        old, worker.namespace = worker.namespace, namespace
        for key in list(worker.functions):
            if key[0] == old and not key[1].startswith(ENGINE_PREFIX):
                self._move_function(worker, key[1], old)
        for key in list(worker.trigger_types):
            if key[0] == old:
                self._move_type(worker, key[1], old)
        self._engine.triggers.resolve_again(worker)

    def _move_function(self, worker: Worker, id: str, old: str) -> None:
        functions, new = self._engine.functions, worker.namespace
        del worker.functions[(old, id)]
        why = worker.access and worker.access.offer_refusal(id, new)
        if why:
            functions.unregister(id, worker, old)
            _tell_not_moved(worker, f"function {id}", why)
        else:
            try:
                functions.move(id, worker, old, new)
            except RegistrationError as error:
                _tell_not_moved(worker, f"function {id}", error.message)
            else:
                worker.functions[(new, id)] = None
        self._engine.drop_triggers(worker, id, old)

    def _move_type(self, worker: Worker, id: str, old: str) -> None:
        triggers, new = self._engine.triggers, worker.namespace
        del worker.trigger_types[(old, id)]
        known = triggers.find_type(id, new)
        other = None if known is None else known.owner
        why = worker.access and other and worker.access.share_refusal(other)
        if why:
            triggers.remove_type(id, worker, old)
            _tell_not_moved(worker, f"trigger type {id}", why)
        else:
            try:
                triggers.move_type(id, worker, old, new)
            except RegistrationError as error:
                _tell_not_moved(worker, f"trigger type {id}", error.message)
            else:
                worker.trigger_types[(new, id)] = None

    def create_channel(self, wanted: NewChannel) -> dict[str, dict[str, str]]:
        """``engine::channels::create``."""
        channel = self._engine.channels.create(wanted.buffer_size)
        reference = {"channel_id": channel.id, "access_key": channel.key}
        return {
            "writer": {**reference, "direction": "write"},
            "reader": {**reference, "direction": "read"},
        }

    async def register_trigger(self, wanted: NewTrigger) -> dict[str, str]:
        """``engine::register_trigger``: waits for a provider's answer up to 10 s."""
        self._check_access(wanted)
        registration = Registration(
            uuid4_text(),
            wanted.trigger_type,
            wanted.function_id,
            as_raw(wanted.config),
            owner=None,
            metadata=None if wanted.metadata is None else as_raw(wanted.metadata),
            namespace=wanted.namespace or DEFAULT_NAMESPACE,
            trigger_namespace=wanted.trigger_namespace,
        )
        try:
            await self._engine.triggers.register(registration)
            binding = registration.binding
            if binding is not None and binding.type.owner is not None:
                await self._provider_answer(binding)
        except IIIError as error:
            self._engine.triggers.release(registration)
            message = error.message
            if error.code != Code.TRIGGER_REGISTRATION_FAILED:
                message = f"{error.code}: {message}"
            raise InvocationError(Code.TRIGGER_REGISTRATION_FAILED, message) from error
        return {"id": registration.id}

    def _check_access(self, wanted: NewTrigger) -> None:
        """A trigger is a call in another shape.

        :raises InvocationError: the caller may not make it
        """
        worker = self._engine.workers.get(wanted.caller)
        access = None if worker is None else worker.access
        if access is None:
            return
        if access.hooked:
            text = "a hook is asked about triggers here: register it by a message"
            raise InvocationError(Code.FORBIDDEN, text)
        if wanted.trigger_type == FUNCTIONS_AVAILABLE:
            # It tells what its owner may see, and this one would have none.
            text = f"{FUNCTIONS_AVAILABLE} can't outlive its worker: register it by a message"
            raise InvocationError(Code.FORBIDDEN, text)
        if not access.may_bind(wanted.trigger_type):
            text = f"trigger type '{wanted.trigger_type}' not allowed"
            raise InvocationError(Code.FORBIDDEN, text)
        for id in (wanted.function_id, *functions_in(as_raw(wanted.config))):
            if not access.may_fire(id, wanted.namespace):
                text = f"function '{id}' not allowed, nor is a trigger of it"
                raise InvocationError(Code.FORBIDDEN, text)

    async def _provider_answer(self, binding: Binding) -> None:
        answer: Deferred[None] = Deferred()
        binding.waiting.append(answer)
        timer = self._engine.clock.call_later(PROVIDER_ANSWER_S, answer.cancel)
        try:
            await answer
        except CancelledError:
            # No answer counts as accepted (01 §17.4).
            binding.waiting.remove(answer)
        finally:
            if timer.active():
                timer.cancel()

    def unregister_trigger(self, wanted: OldTrigger) -> dict[str, bool]:
        """``engine::unregister_trigger``; what the caller may not make, it may not remove."""
        known, worker = self._engine.triggers.ownerless(wanted.id), None
        if wanted.caller is not None:
            worker = self._engine.workers.get(wanted.caller)
        if known is not None and worker is not None and worker.access is not None:
            called = (known.function_id, *functions_in(known.config))
            if not all(worker.access.may_fire(id, known.namespace) for id in called):
                return {"removed": False}
        return {"removed": self._engine.triggers.unregister(wanted.id, None)}


def _tell_not_moved(worker: Worker, what: str, why: str) -> None:
    log.warn(
        "{worker}: {what} can't move to namespace {namespace}: {reason}",
        worker=worker.describe,
        what=what,
        namespace=worker.namespace[:MAX_LABEL_CHARS],
        reason=why,
    )


class Events:
    """A trigger type that fires all its bindings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bindings: list[Binding] = []

    def add(self, binding: Binding) -> None:
        """Provider: fire ``binding`` from now on."""
        self._bindings.append(binding)

    def remove(self, binding: Binding) -> None:
        """Provider: not any more."""
        self._bindings.remove(binding)

    def fire(self, event: dict[str, Any]) -> None:
        """Call every bound function; nobody waits."""
        data = as_raw(event)
        for binding in list(self._bindings):
            self._trigger(binding, data)

    def _trigger(self, binding: Binding, data: Raw) -> None:
        """Call the function of one of them, within a span."""
        name = f"trigger {binding.function_id}"
        context = self._engine.invocations.tracing.context(None, name)
        began = (name, context, self._engine.clock.monotonic())
        self._engine.start_call(binding, data, self._handled, began, context)

    def _handled(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        name, context, started = call.requester
        told: Error | None = None
        if error is not None:
            told = (error.code, error.message, error.stacktrace)
            if error is not STOPPED:
                log.warn(
                    "{id}: {code}: {reason}",
                    id=call.function_id,
                    code=error.code,
                    reason=error.message,
                )
        tracing = self._engine.invocations.tracing
        tracing.span(name, "internal", None, context, started, error is None, told)


class WorkerEvents(Events):
    """``engine::workers-available``: at once, for every change."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        engine.workers.listen(self._changed)

    def _changed(self, event: str, worker: Worker) -> None:
        if self._bindings:
            self.fire({"event": event, "worker_id": worker.id})


class FunctionEvents(Events):
    """``engine::functions-available``: at most every 500 ms, when the set differs."""

    def __init__(self, engine: Engine, discovery: Discovery) -> None:
        super().__init__(engine)
        self._discovery = discovery
        self._known: set[tuple[str, str]] = set()
        self._timer: Timer | None = None
        engine.functions.changed = self._changed
        engine.on_stop(self._stop)

    def add(self, binding: Binding) -> None:
        """Provider: changes from now on count."""
        if not self._bindings:
            self._known = self._ids()
        super().add(binding)

    def remove(self, binding: Binding) -> None:
        """Provider: with the last one gone, nothing waits any more."""
        super().remove(binding)
        if not self._bindings:
            self._stop()

    def _changed(self) -> None:
        if self._bindings and self._timer is None:
            self._timer = self._engine.clock.call_later(CHANGES_COALESCED_S, self._announce)

    def _announce(self) -> None:
        self._timer = None
        ids = self._ids()
        if ids == self._known:
            return
        self._known = ids
        for binding in list(self._bindings):
            # Each worker gets formats it can read, as in its own lists.
            owner = binding.newest.owner
            asks = Query(include_internal=True, caller=None if owner is None else owner.id)
            event = {"event": "functions_changed", **self._discovery.functions(asks)}
            self._trigger(binding, as_raw(event))

    def _ids(self) -> set[tuple[str, str]]:
        return {(function.namespace, function.id) for function in self._engine.functions}

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
