"""What a module is, and all it may ask of the engine.

A module sees a ``ModuleApi`` and nothing else: no registry, no other module, no
worker socket.  Its life: constructed with its checked configuration, ``start``
(register functions and trigger types, bind listeners), ``stop``.  Workers can
connect only after every module has started.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore

from iii.engine.bindings import Binding, Provider, TriggerType
from iii.engine.callcounts import CallCounts
from iii.engine.channels import Channels
from iii.engine.clock import Clock
from iii.engine.external import Accept, ExternalFunction, external_functions
from iii.engine.functions import FunctionOwner, FunctionSpec
from iii.engine.holding import Holding
from iii.engine.ids import next_id
from iii.engine.instruments import Instrument, Instruments, Kind, Read
from iii.engine.invocations import Call, Done
from iii.engine.native import Empty, Handler, InProcess, NativeFunction
from iii.engine.redacting import Redactor
from iii.engine.relayed import Relay, RelayedFunction
from iii.engine.tracing import Tracing
from iii.engine.turn import Turn
from iii.engine.watching.feeds import Feed
from iii.engine.workers import Worker

if TYPE_CHECKING:
    from iii.engine.core import Engine

FunctionRow = tuple[str, Handler, type[msgspec.Struct], Any, str]
"""Id, handler, what it takes, what it gives (None: unsaid), description."""


class Census(msgspec.Struct, frozen=True):
    """How much there is of everything.

    :ivar workers_busy: those that run a call or wait for one
    :ivar functions_registered_total: registrations since the start
    :ivar triggers: type → how many
    :ivar connections: to the worker ports, telemetry sockets included
    """

    workers: int
    workers_busy: int
    workers_spawned_total: int
    workers_gone_total: int
    functions: int
    functions_registered_total: int
    triggers: dict[str, int]
    connections: int = 0


class Servant(msgspec.Struct, frozen=True):
    """Who runs calls of a function.

    :ivar worker_id: None: a module of the engine
    :ivar name: of the worker, if it has told one, or of the module
    :ivar in_flight: how many calls of any function it runs
    """

    worker_id: str | None
    name: str | None
    in_flight: int


class NoConfig(msgspec.Struct):
    """The configuration of a module that has none."""


class Module(ABC):
    """Base of all modules.

    :cvar name: the worker name, e.g. ``iii-http``
    :cvar config: the struct its ``config:`` block is checked against
    :cvar adapters: adapter name → class, for modules with a backend
    :ivar adapter: the chosen backend, set before ``start``
    :ivar stores: what is kept where (name → absolute path), for the start-up summary
    """

    name: ClassVar[str]
    config: ClassVar[type[msgspec.Struct]] = NoConfig
    adapters: ClassVar[Mapping[str, type[Any]]] = {}

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.adapter: Any = None
        self.stores: dict[str, str] = {}

    @abstractmethod
    def start(self, engine: ModuleApi) -> Awaitable[None] | None:
        """Register functions and trigger types, bind listeners.

        :raises StartError: it can't run; the engine doesn't start
        """

    def closing(self) -> None:  # noqa: B027 (most modules have nothing to do)
        """The engine is about to stop: take no new work.  What runs goes on."""

    @property
    def under_way(self) -> int:
        """What a stop should wait for beside calls, such as answers being streamed."""
        return 0

    def change(self, settings: Any) -> bool:
        """Go on with other settings; the back end is the same.

        :param settings: of the class ``config``, checked
        :returns: False, with nothing changed: it has to be stopped and started anew
        :raises IIIError: they make no sense; nothing was changed
        """
        return False

    def renew(self) -> None:  # noqa: B027 (most modules have nothing to do)
        """Certificates on disk may be new: read them again; what is open stays open."""

    @property
    def awaited(self) -> int:
        """Calls whose outcome it would miss if it were stopped alone, while the engine goes on."""
        return 0

    def stop(self) -> Awaitable[None] | None:
        """Release everything."""
        return None

    def abandon(self) -> None:  # noqa: B027 (most modules leave nothing behind)
        """The process ends this instant: end what would outlive it.  In a signal handler."""


class ModuleApi:
    """The engine as one module sees it."""

    def __init__(self, engine: Engine, module: str) -> None:
        self._engine = engine
        self._module = module
        self._functions: list[tuple[str, InProcess]] = []
        self._aliases: list[tuple[str, str]] = []
        self._types: list[tuple[str, Provider]] = []
        self._undo: list[Callable[[], None]] = []
        self._holding = Holding(engine.functions, engine.invocations, module)
        #: what it adds to the ready line
        self.announced: dict[str, Any] = {}
        self.reactor: IReactorCore = engine.reactor
        self.clock: Clock = engine.clock
        self.channels: Channels = engine.channels
        self.turn: Turn = engine.turn
        self.tracing: Tracing = engine.invocations.tracing

    def function(
        self,
        id: str,
        handler: Handler,
        *,
        takes: type[msgspec.Struct] = Empty,
        gives: Any = None,
        description: str | None = None,
        metadata: Raw | None = None,
        wants_call: bool = False,
    ) -> None:
        """Offer ``handler`` as function ``id``.

        :param takes: the struct its input is decoded into
        :param gives: the type of its result, for listings; None says nothing about it
        :param wants_call: the handler gets the ``Call`` as its second argument
        """
        owner = NativeFunction(
            id, handler, takes, self._module, self._engine.invocations, wants_call=wants_call
        )
        self._functions.append((id, owner))
        self._engine.functions.register(
            id,
            FunctionSpec(
                owner,
                description,
                request_format=_schema(takes),
                response_format=None if gives is None else _schema(gives),
                metadata=metadata,
            ),
        )

    def relay(
        self,
        id: str,
        relay: Relay,
        *,
        description: str | None = None,
        takes: type[msgspec.Struct] | None = None,
    ) -> None:
        """Hand calls of function ``id`` on, unread: ``relay(call, ended)``.

        :param takes: what it takes, for listings; None says nothing about it
        """
        owner = RelayedFunction(id, relay, self._module, self._engine.invocations)
        self._functions.append((id, owner))
        schema = None if takes is None else _schema(takes)
        spec = FunctionSpec(owner, description, request_format=schema)
        self._engine.functions.register(id, spec)

    def functions(self, rows: Iterable[FunctionRow], aliases: Mapping[str, str]) -> None:
        """Offer a table of functions, and older names of them (old → id)."""
        for id, handler, takes, gives, description in rows:
            self.function(id, handler, takes=takes, gives=gives, description=description)
        for old, id in aliases.items():
            self.alias(old, id)

    def alias(self, old: str, id: str) -> None:
        """Answer calls of ``old`` with ``id`` as long as nobody registers ``old`` itself."""
        self._engine.functions.aliases[old] = id
        self._aliases.append((old, id))

    def external_functions(self, accept: Accept) -> None:
        """Run the functions that workers register with an ``invocation``.

        :param accept: called for each of them
        """

        def owner(registrant: FunctionOwner, id: str, invocation: Raw) -> FunctionOwner:
            run = accept(registrant.describe, id, invocation)
            return ExternalFunction(
                id, run, self._module, registrant, invocation, self._engine.invocations
            )

        functions = self._engine.functions
        functions.external = owner
        for known in external_functions(functions):
            known.resume(accept)

        def withdraw() -> None:
            if functions.external is owner:
                functions.external = None
                for known in external_functions(functions):
                    known.suspend()

        self._undo.append(withdraw)

    def offers(self, function_id: str, namespace: str | None = None) -> bool:
        """Whether somebody answers calls of ``function_id`` right now."""
        functions = self._engine.functions
        function = functions.get(function_id, namespace)
        return function_id in functions.aliases if function is None else bool(function.serving)

    def on_functions_changed(self, changed: Callable[[], None]) -> None:
        """Call ``changed()`` whenever a function id appeared or vanished."""
        listeners = self._engine.functions.listeners
        listeners.append(changed)
        self._undo.append(lambda: listeners.remove(changed))

    def watch_functions(self, start: str, watch: Callable[[str, bool], None]) -> None:
        """Call ``watch(id, appeared)`` when an id that begins with ``start`` came or went.

        At once for those that are there.
        """
        watchers, entry = self._engine.functions.watchers, (start, watch)
        watchers.append(entry)
        for id in [f.id for f in self._engine.functions if f.id.startswith(start)]:
            watch(id, True)
        self._undo.append(lambda: watchers.remove(entry))

    def servants(self, function_id: str, namespace: str | None = None) -> list[Servant]:
        """Who runs calls of ``function_id`` right now, and how many each."""
        function = self._engine.functions.get(function_id, namespace)
        return [] if function is None else [_servant(owner) for owner in function.serving]

    def is_connected(self, worker: Worker) -> bool:
        """Whether ``worker`` is still there."""
        return self._engine.workers.get(worker.id) is worker

    def trigger_type(
        self,
        id: str,
        provider: Provider,
        *,
        description: str = "",
        shared: bool = True,
        trigger_schema: type[msgspec.Struct] | None = None,
    ) -> None:
        """Provide triggers of type ``id``.

        :param shared: alike registrations of several workers are one binding
        :param trigger_schema: the struct a trigger's configuration is checked against
        """
        schema = None if trigger_schema is None else _schema(trigger_schema)
        self._types.append((id, provider))
        self._engine.triggers.add_type(
            TriggerType(
                id,
                provider,
                description=description,
                module=self._module,
                shared=shared,
                trigger_request_format=schema,
            )
        )

    def invoke(
        self,
        function_id: str,
        data: Any = None,
        *,
        namespace: str | None = None,
        metadata: Raw | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Raw | None]:
        """Call a function; see ``Engine.invoke``."""
        return self._engine.invoke(
            function_id,
            data,
            namespace=namespace,
            metadata=metadata,
            traceparent=traceparent,
            baggage=baggage,
            timeout_s=timeout_s,
        )

    def ask(
        self, function_id: str, data: Any = None, *, timeout_s: float | None = None
    ) -> Deferred[Raw | None]:
        """Call a function of the engine without being seen; see ``Engine.ask``."""
        return self._engine.ask(function_id, data, timeout_s=timeout_s)

    def fire(
        self,
        binding: Binding,
        data: Any,
        *,
        traceparent: str | None = None,
        baggage: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Raw | None]:
        """Call the function of ``binding`` with its metadata."""
        return self._engine.invoke(
            binding.function_id,
            data,
            namespace=binding.namespace,
            metadata=binding.metadata,
            traceparent=traceparent,
            baggage=baggage,
            timeout_s=timeout_s,
            trigger=binding.type.id,
        )

    def start_call(
        self,
        binding: Binding,
        data: Raw,
        done: Done,
        requester: Any,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> Call:
        """The hot form of ``fire``: ``done(call, result, error)`` instead of a Deferred.

        ``done`` may be called before this returns.
        """
        return self._engine.start_call(binding, data, done, requester, traceparent, baggage)

    def start_function(
        self,
        function_id: str,
        data: Raw,
        done: Done,
        requester: Any,
        *,
        namespace: str | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
        metadata: Raw | None = None,
        trigger: str | None = None,
    ) -> Call:
        """The hot form of ``invoke``; see ``start_call``.

        :param trigger: the type of the trigger that it comes from
        """
        call = Call(
            next_id(),
            function_id,
            data,
            done,
            requester,
            traceparent,
            baggage,
            metadata,
            namespace,
            trigger=trigger,
        )
        self._engine.invocations.start(call)
        return call

    def abandon(self, call: Call) -> None:
        """Nobody waits for ``call`` any more; its outcome is dropped."""
        self._engine.invocations.abandon(call)

    # What is known of the engine -----------------------------------------------------------

    @property
    def counts(self) -> CallCounts:
        """How often which function was called, and how that ended."""
        return self._engine.invocations.counts

    @property
    def instruments(self) -> Instruments:
        """What all modules measure."""
        return self._engine.instruments

    def instrument(
        self, name: str, kind: Kind, help: str, read: Read, labels: tuple[str, ...] = ()
    ) -> None:
        """Show a figure of this module; see ``Instrument``."""
        instrument = Instrument(name, kind, help, labels, read)
        self._engine.instruments.add(instrument)
        self._undo.append(lambda: self._engine.instruments.remove(instrument))

    def census(self) -> Census:
        """How much there is of everything, right now."""
        engine = self._engine
        workers = list(engine.workers)
        busy = sum(1 for worker in workers if worker.active_invocations)
        return Census(
            workers=len(workers),
            workers_busy=busy,
            workers_spawned_total=engine.workers.spawned_total,
            workers_gone_total=engine.workers.gone_total,
            functions=len(engine.functions),
            functions_registered_total=engine.functions.registered_total,
            triggers=engine.triggers.count_by_type(),
            connections=len(engine.workers.connections()),
        )

    def not_ready(self) -> list[str]:
        """The names of what does not serve yet, or not any more; empty when all is well."""
        return self._engine.not_ready()

    def troubles(self) -> dict[str, str]:
        """What is wrong although the engine serves: where → why."""
        return dict(self._engine.troubles)

    def workers(self) -> list[Worker]:
        """The connected workers."""
        return list(self._engine.workers)

    def worker(self, id: str) -> Worker | None:
        """The worker with this id, while it is connected."""
        return self._engine.workers.get(id)

    def keep_calls(self) -> None:
        """Keep calls that are over, for ``engine::invocations::…``."""
        invocations = self._engine.invocations
        if invocations.history is not None:
            return
        invocations.history = self._engine.history

        def withdraw() -> None:
            invocations.history = None

        self._undo.append(withdraw)

    def feed(self, name: str, feed: Feed) -> None:
        """Let topics of this kind be watched (docs/console.md, "Watching").

        :param name: what stands before the colon, or all of it
        """
        self._engine.feeds.add(name, feed)
        self._undo.append(lambda: self._engine.feeds.remove(name, feed))

    def hide_values(self, keys: Iterable[str]) -> None:
        """Nobody who looks at calls gets to see what stands under one of these keys."""
        engine = self._engine
        before, redactor = engine.redactor, Redactor(keys)
        engine.redactor = redactor

        def withdraw() -> None:
            if engine.redactor is redactor:
                engine.redactor = before

        self._undo.append(withdraw)

    def on_telemetry(self, received: Callable[[str, bytes], None]) -> None:
        """``received(kind, payload)`` gets every telemetry frame: ``OTLP``, ``MTRC``, ``LOGS``."""
        self._engine.on_telemetry = received

        def withdraw() -> None:
            if self._engine.on_telemetry is received:
                self._engine.on_telemetry = None

        self._undo.append(withdraw)

    def describe_workers(self, metrics: Callable[[Worker], dict[str, Any] | None]) -> None:
        """``metrics(worker)`` is what lists show as ``latest_metrics``; None: nothing."""
        engine = self._engine
        before, engine.worker_metrics = engine.worker_metrics, metrics

        def withdraw() -> None:
            if engine.worker_metrics is metrics:
                engine.worker_metrics = before

        self._undo.append(withdraw)

    def call_from_thread(self, function: Callable[..., Any], *args: Any) -> None:
        """Run ``function(*args)`` in the reactor thread; the one way there from another."""
        self.reactor.callFromThread(function, *args)

    def announce(self, what: str, value: Any) -> None:
        """Add to the engine's ready line, e.g. ``announce("http", 3111)``."""
        self.announced[what] = self._engine.ready[what] = value

    # The end of a module while the engine goes on ------------------------------------------

    def withdraw(self, *, hold: bool) -> None:
        """Take back everything the module offers; what it runs goes on.

        :param hold: another one follows: calls of its functions wait until ``release``
        """
        engine = self._engine
        for id, provider in self._types:
            engine.triggers.withdraw(id, provider)
        for id, owner in self._functions:
            if hold:
                self._holding.hold(id)
            engine.functions.unregister(id, owner)
        for undo in reversed(self._undo):
            undo()
        self._types.clear()
        self._undo.clear()
        self.announced.clear()
        if not hold:
            self._drop_aliases()

    @property
    def executing(self) -> int:
        """How many calls of its functions are under way."""
        return sum(len(owner.executing) for _, owner in self._functions)

    def end_calls(self) -> None:
        """The module has stopped: calls that it left behind end with an error."""
        for _, owner in self._functions:
            self._engine.invocations.stop_all(owner)

    def release(self) -> None:
        """Its successor is there, or there will be none: calls go on to who serves them now."""
        self._holding.release(closing=self._engine.closing)
        self._drop_aliases()
        if self._engine.functions.external is None:
            for known in external_functions(self._engine.functions):
                known.resume(None)

    def _drop_aliases(self) -> None:
        functions = self._engine.functions
        for old, id in self._aliases:
            if functions.aliases.get(old) == id and functions.get(id) is None:
                del functions.aliases[old]
        self._aliases.clear()


def _servant(owner: FunctionOwner) -> Servant:
    in_flight = len(owner.executing)
    if isinstance(owner, Worker):
        return Servant(owner.id, owner.name, in_flight)
    return Servant(None, getattr(owner, "module", None), in_flight)


def _schema(type_: Any) -> Raw:
    return Raw(msgspec.json.encode(msgspec.json.schema(type_)))
