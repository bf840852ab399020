"""The composition root: one engine with its modules and worker ports.

``EngineService`` turns a ``Configuration`` into something that runs.  Start order:
core functions, the modules as configured, the worker ports last, so that no
worker ever meets a half-built engine.  Whatever fails ends the start, and what
was started before it is stopped again.

Stop order is the reverse, under one time limit for everything: no new work is
taken, what is in flight may finish, modules stop (one that fails or hangs does
not keep the others from stopping), workers are closed with 1012, which tells
every SDK to reconnect.  This is the only place that knows engine, modules and
listeners; process matters (signals, exit codes, systemd) are in ``iii.process``, the
exchange of what runs for another configuration is in ``iii.reload``.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.access.doors import Doors
from iii.catalogue import Catalogue, load_class
from iii.checking import Place
from iii.engine import corefunctions
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.draining import drain
from iii.engine.module import Module, ModuleApi
from iii.entries import Configuration, Entry, check_adapter, check_config
from iii.entries import WorkerListener as ListenerSettings
from iii.errors import Code, ConfigError, IIIError, StartError
from iii.logging import LogOutput
from iii.modules.observability.config import ObservabilityConfig
from iii.net import is_loopback
from iii.reload import Reloads, Source
from iii.showing import Showing
from iii.storage.kvstore import IN_MEMORY, StoreConfig
from iii.tlsport import certificates
from iii.websocket.codes import CLOSE_RESTART
from iii.wire.listener import WorkerListener

log = Logger()
T = TypeVar("T")

MODULE_STOP_S = 10.0
#: What the stop keeps back from a long wait for calls in flight: stopping the
#: modules and closing the workers need time too, and a container runtime kills.
STOP_RESERVE_S = 2.5
DRAIN_POLL_S = 0.02


class ModuleService(Service):
    """One module of a running engine.

    :ivar entry: the configuration entry it was made from
    :ivar started: it is up
    """

    def __init__(self, entry: Entry, module: Module, api: ModuleApi) -> None:
        self.entry = entry
        self.module = module
        self.api = api
        self.started = False
        self._stopping: Deferred[None] | None = None
        self._given_up = False

    async def start(self) -> None:
        """Let the module register and bind."""
        try:
            await _awaited(self.module.start(self.api))
            self.started = True
        except Exception as error:
            raise _start_error("initialize", self.entry, error) from error

    def closing(self) -> None:
        """Tell the module to take no new work."""
        try:
            self.module.closing()
        except Exception:
            log.failure("module {name}: closing() failed", name=self.entry.written)

    async def retire(self, clock: Clock, limit_s: float, *, hold: bool) -> None:
        """Stop it while the engine goes on: what is under way may finish first.

        :param limit_s: how long that may take
        :param hold: calls of its functions wait until ``api.release``
        """
        ends = clock.monotonic() + limit_s
        self.closing()
        while (self.module.under_way or self.module.awaited) and clock.monotonic() < ends:
            await clock.pause(DRAIN_POLL_S)
        self.api.withdraw(hold=hold)
        while self.api.executing and clock.monotonic() < ends:
            await clock.pause(DRAIN_POLL_S)
        await self.stop(clock, MODULE_STOP_S)
        self.api.end_calls()
        await maybeDeferred(self.disownServiceParent)

    async def stop(self, clock: Clock, limit_s: float) -> None:
        """Stop the module, once; a failure or a time-out is logged, never raised.

        Whoever waits may be called off, as a stop of the engine does with a reload: the
        module goes on stopping, and the next one who calls waits for the same end.
        """
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())
        ended: Deferred[None] = Deferred()
        self._stopping.addBoth(lambda _: ended.callback(None))
        timer = clock.call_later(limit_s, self._give_up, limit_s)
        try:
            await ended
        finally:
            if timer.active():
                timer.cancel()

    async def _stop(self) -> None:
        try:
            await _awaited(self.module.stop())
        except Exception:
            if not self._given_up:
                log.failure("module {name}: stop() failed", name=self.entry.written)

    def _give_up(self, limit_s: float) -> None:
        log.error(
            "module {name} did not stop within {limit:.1f} s and is left behind",
            name=self.entry.written,
            limit=limit_s,
        )
        self._given_up = True
        assert self._stopping is not None
        self._stopping.cancel()


class EngineService(MultiService):
    """Engine, modules and worker ports as one service.

    :param configuration: what to run
    :param clock: the engine's clock; the reactor's unless a test brings its own
    :param output: the process's log, to which the configured level and format are applied
    :param source: where the configuration can be read again; None: it stays as it is
    :ivar engine: the engine
    :ivar listeners: the worker ports, once started
    :ivar reloads: exchanges the configuration while the engine runs
    :ivar failure: why it did not start; what was started may still be stopping
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        *,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        output: LogOutput | None = None,
        source: Source | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.configuration = configuration
        self.source = source
        settings = configuration.settings
        self.engine = Engine(
            reactor,
            clock=clock,
            routing=settings.function_routing,
            invocation_limit_s=settings.invocation_limit_ms / 1000,
        )
        self._doors = Doors(
            self.engine, settings.auth_failures_per_minute, settings.trusted_proxies
        )
        self.listeners: list[WorkerListener] = []
        self.reloads = Reloads(self)
        self.engine.not_ready = self._not_ready
        self._environ = environ
        self.output = output
        self.failure: BaseException | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def modules(self) -> list[ModuleService]:
        """The modules that started, in their order."""
        return [service for service in self if isinstance(service, ModuleService)]

    def startService(self) -> None:
        """IService: start; see ``start`` for one that can be awaited.

        :raises IIIError: what failed at once; a later failure is logged and stops the service
        """
        failures: list[Failure] = []
        at_once = True

        def failed(failure: Failure) -> None:
            failures.append(failure)
            if not at_once:
                log.failure("the engine did not start", failure)

        Deferred.fromCoroutine(self.start()).addErrback(failed)
        at_once = False
        if failures:
            failures[0].raiseException()

    async def start(self) -> dict[str, Any]:
        """Bring everything up.

        :returns: the ready line: what listens on which port
        :raises IIIError: nothing is left running
        """
        self.running = 1
        try:
            self._configure_log()
            self.engine.start()
            corefunctions.install(self.engine)
            core = ModuleApi(self.engine, corefunctions.MODULE)
            self.reloads.show(core)
            Showing(self).install(core)
            for entry in self.configuration.loaded:
                await self.start_module(self.create(entry), entry)
            self._listen()
            self.reloads.start()
        except BaseException as error:
            self.failure = error
            if self._stopped is None:
                await self._undo()
            raise
        return self.ready

    @property
    def ready(self) -> dict[str, Any]:
        """``{"event": "ready", "worker": 49134, "http": 3111}``; in ``tls`` who has it."""
        ports = [listener.port for listener in self.listeners]
        line: dict[str, Any] = {"event": "ready", "worker": ports[0] if ports else None}
        if len(ports) > 1:
            line["workers"] = ports
        ready = line | self.engine.ready
        secured = [name for name in ready if self._has_tls(name)]
        return ready | {"tls": secured} if secured else ready

    def _has_tls(self, name: str) -> bool:
        """Whether a port of the ready line has TLS."""
        if name == "worker":
            return any(listener.certificates is not None for listener in self.listeners)
        module = "iii-observability" if name == "metrics" else f"iii-{name}"
        entries = [service.entry for service in self.modules if service.entry.name == module]
        return any(entry.config.get("tls") for entry in entries)

    def reload(self) -> Deferred[None]:
        """Take over what has changed on disk; what is wrong there is logged and changes nothing."""
        return Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> None:
        await self.reloads.run()
        self.renew_certificates()

    def renew_certificates(self) -> None:
        """Read the certificates of every port again; open connections keep theirs."""
        for listener in self.listeners:
            listener.renew()
        for service in self.modules:
            service.module.renew()

    def abandon(self) -> None:
        """The process ends this instant.  May be called by a signal handler."""
        for service in self.modules:
            service.module.abandon()

    def stopService(self) -> Deferred[None]:
        """IService: stop in order; a second call waits for the first."""
        if self._stopped is None:
            self._stopped = Deferred.fromCoroutine(self._stop())
            return self._stopped
        again: Deferred[None] = Deferred()
        self._stopped.chainDeferred(again)
        return again

    def _not_ready(self) -> list[str]:
        if self.engine.closing:
            return ["the engine is stopping"]
        up = {id(service.entry) for service in self.modules if service.started}
        waiting = [entry.name for entry in self.configuration.loaded if id(entry) not in up]
        wanted = len(self.configuration.worker_listeners)
        return waiting if len(self.listeners) == wanted else [*waiting, "worker port"]

    # Start -----------------------------------------------------------------------------

    def _configure_log(self) -> None:
        self.apply_log_settings(self.configuration)
        for note in self.configuration.notes:
            log.info("{note}", note=str(note))
        for warning in self.configuration.warnings:
            log.warn("{problem}", problem=str(warning))

    def apply_log_settings(self, configuration: Configuration) -> None:
        """Give the log the level and the format that ``configuration`` asks for."""
        for entry in configuration.entries:
            if self.output is not None and entry.name == "iii-observability":
                settings = check_config(entry, ObservabilityConfig, coerce=True)
                self.output.configure(
                    level=settings.directives, format=settings.format, environ=self._environ
                )

    def create(self, entry: Entry) -> Module:
        """The module of ``entry``, not started; see ``create_module``."""
        return create_module(entry, in_memory=self.configuration.in_memory)

    async def start_module(self, module: Module, entry: Entry) -> ModuleService:
        """Start ``module``, which was created for ``entry``.

        :raises StartError: it can't run
        """
        for warning in entry.warnings:
            log.warn("{problem}", problem=str(warning))
        service = ModuleService(entry, module, ModuleApi(self.engine, entry.name))
        # A child before it has started: one that fails half-way must be stopped too.
        service.setServiceParent(self)  # type: ignore[no-untyped-call]
        await service.start()
        if self._stopped is not None:
            raise StartError(Code.SHUTTING_DOWN, "the engine was stopped while it started")
        return service

    def _listen(self) -> None:
        for wanted in self.configuration.worker_listeners:
            self.listeners.append(self.open_listener(self.configuration, wanted))

    def open_listener(
        self, configuration: Configuration, wanted: ListenerSettings
    ) -> WorkerListener:
        """Open one worker port of ``configuration``.

        :raises StartError: the address is taken
        :raises TlsError: its certificate is no good
        """
        self.keep_guards(configuration)
        gate = self._doors.gate(wanted, configuration.settings.auth)
        listener = WorkerListener(
            self.engine,
            host=wanted.host,
            port=wanted.port,
            handshake_timeout_s=wanted.handshake_timeout_ms / 1000,
            certificates=certificates(wanted.tls, self.engine.clock, "the worker port"),
            allowed_origins=wanted.allowed_origins,
            gate=gate,
        )
        listener.listen()
        listener.setServiceParent(self)  # type: ignore[no-untyped-call]
        asks = (gate is not None and gate.asks) or (wanted.tls and wanted.tls.client_ca)
        if not asks and not is_loopback(wanted.host):
            log.warn(
                "the worker port is reachable from other machines on {addresses} and asks "
                "for no token: who reaches it may call and register everything; bind it "
                "to 127.0.0.1, or let only your workers reach it",
                addresses=", ".join(listener.addresses),
            )
        return listener

    # Reload ----------------------------------------------------------------------------

    def keep_guards(self, configuration: Configuration) -> None:
        """Keep functions that decide about access out of restricted hands, from now on."""
        self._doors.keep(entry.config for entry in configuration.entries)

    def module_of(self, entry: Entry) -> ModuleService:
        """The module that was started for ``entry``."""
        return next(service for service in self.modules if service.entry is entry)

    @property
    def drain_limit_s(self) -> float:
        """How long something that goes while the engine runs may finish what it has begun."""
        limit_s = self.configuration.settings.shutdown_timeout_ms / 1000
        return limit_s - min(STOP_RESERVE_S, limit_s / 2)

    def take_over(self, configuration: Configuration) -> None:
        """``configuration`` is what runs from now on; modules and worker ports do so already."""
        settings, engine = configuration.settings, self.engine
        self.configuration = configuration
        engine.functions.choose_routing(settings.function_routing)
        engine.invocations.limit_s = settings.invocation_limit_ms / 1000
        self.apply_log_settings(configuration)
        order = {id(entry): index for index, entry in enumerate(configuration.loaded)}
        last = len(order)
        self.services.sort(key=lambda each: order.get(id(getattr(each, "entry", None)), last))
        engine.ready.clear()
        for service in self.modules:
            engine.ready.update(service.api.announced)

    async def drain_listener(self, listener: WorkerListener, limit_s: float) -> None:
        """Let the workers of ``listener`` finish what they run; they get nothing new."""
        workers = listener.workers()
        left = await drain(self.engine.clock, self.engine.functions, workers, limit_s)
        if left:
            log.warn("{count} call(s) did not finish in time and are given up", count=left)

    async def _undo(self) -> None:
        for listener in self.listeners:
            await listener.stop_listening()
            await listener.close_all(CLOSE_RESTART, "the engine did not start")
        for service in reversed(self.modules):
            await service.stop(self.engine.clock, MODULE_STOP_S)
        self.engine.stop()
        self.running = 0

    # Stop ------------------------------------------------------------------------------

    async def _stop(self) -> None:
        if not self.running:
            return
        clock = self.engine.clock
        limit_s = self.configuration.settings.shutdown_timeout_ms / 1000
        ends = clock.monotonic() + limit_s
        self.engine.closing = True
        await self.reloads.stop()
        for service in self.modules:
            service.closing()
        ports = [each for each in self if isinstance(each, WorkerListener)]
        for listener in ports:
            await listener.stop_listening()
        await self._drain(ends - min(STOP_RESERVE_S, limit_s / 2))
        for service in reversed(self.modules):
            await service.stop(clock, _share(ends - clock.monotonic(), MODULE_STOP_S))
        for listener in ports:
            await listener.close_all(CLOSE_RESTART, "the engine is restarting")
        self.engine.stop()
        self.running = 0
        log.info("stopped")

    async def _drain(self, until: float) -> None:
        """Wait for the calls in flight, at most ``until`` (monotonic seconds)."""
        clock = self.engine.clock
        if count := self._in_flight():
            log.info("waiting for {count} call(s) or answer(s) in flight", count=count)
        while (count := self._in_flight()) and clock.monotonic() < until:
            await clock.pause(DRAIN_POLL_S)
        if count:
            log.warn("{count} of them did not finish in time and are given up", count=count)

    def _in_flight(self) -> int:
        awaited = self.engine.invocations.awaited
        calls = sum(awaited(worker) for worker in self.engine.workers.connections())
        return calls + sum(service.module.under_way for service in self.modules)


def with_port(configuration: Configuration, port: int | None) -> Configuration:
    """The configuration with another worker port.

    Port 0 means free ports: modules whose port nobody chose take one as well.
    """
    if port is None:
        return configuration
    first, *others = configuration.worker_listeners
    if port == 0:
        for entry in configuration.entries:
            if entry.module.port is not None:
                entry.config.setdefault("port", 0)
            if entry.name == "iii-observability":
                entry.config.setdefault("prometheus_port", "any")
    return replace(configuration, worker_listeners=[replace(first, port=port), *others])


def with_module(configuration: Configuration, catalogue: Catalogue, name: str) -> Configuration:
    """The configuration with the module ``name``, which it may have already."""
    known = catalogue.find(name)
    if known is None or any(entry.module.name == known.name for entry in configuration.entries):
        return configuration
    config: dict[str, Any] = {}
    if known.port is not None and configuration.default_host is not None:
        config["host"] = configuration.default_host
    entry = Entry(known.name, known, "name", config, Place(label=known.canonical), implicit=True)
    return replace(configuration, entries=[*configuration.entries, entry])


def create_module(entry: Entry, *, in_memory: bool = False) -> Module:
    """The module of ``entry`` with its checked configuration and its adapter.

    :param in_memory: stores that name no method keep nothing on disk
    :raises StartError: its class can't be imported, or its configuration is wrong
    """
    try:
        class_ = load_class(entry.module)
        coerce = bool(getattr(class_, "coerce_strings", False))
        settings = check_config(entry, class_.config, coerce=coerce)
        if in_memory:
            settings = _volatile(settings)
        module: Module = class_(settings)
        if class_.adapters or entry.adapter is not None:
            factory, chosen = check_adapter(entry, class_.adapters)
            module.adapter = factory(_volatile(chosen) if in_memory else chosen)
    except Exception as error:
        raise _start_error("create", entry, error) from error
    return module


def _volatile(settings: Any) -> Any:
    """``III_IN_MEMORY``: a store that names no method is kept in memory."""
    if isinstance(settings, StoreConfig) and settings.names_no_method:
        return msgspec.structs.replace(settings, store_method=IN_MEMORY)
    return settings


def _start_error(step: str, entry: Entry, error: Exception) -> StartError:
    code = error.code if isinstance(error, IIIError) else Code.INTERNAL_ERROR
    return StartError(code, f"failed to {step} module '{entry.written}': {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)  # with file and line
    if isinstance(error, IIIError):
        return error.message  # the code is for programs
    return f"{type(error).__name__}: {error}"


def _share(left_s: float, most_s: float) -> float:
    # Even when time is up, a module gets a moment to let go of its files.
    return min(most_s, max(0.2, left_s))


async def _awaited(outcome: Awaitable[Any] | None) -> None:
    if outcome is not None:
        if not (inspect.isawaitable(outcome) or isinstance(outcome, Deferred)):
            raise TypeError(f"expected an awaitable or None, got {type(outcome).__name__}")
        await outcome
