"""From one running configuration to another, all of it or nothing.

What can change while it runs does.  Everything else that is to go or to start anew is
stopped, the last started first; then what is new starts, in the order of the file; worker
ports come last.  Every step leaves behind how it is undone.  When one fails, the steps
before it are undone in reverse, and what ran before runs again.

While a module is away calls of its functions wait, its triggers are parked, and what it
has begun may finish first, within the time that a stop of the engine would have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.logger import Logger

from iii.differences import Differences, listeners_of, same_adapter
from iii.engine.module import Module
from iii.entries import Configuration, Entry
from iii.errors import Code, StartError
from iii.websocket.codes import CLOSE_RESTART

if TYPE_CHECKING:
    from iii.entries import WorkerListener as ListenerSettings
    from iii.service import EngineService, ModuleService
    from iii.wire.listener import WorkerListener

log = Logger()

Undo = Callable[[], Awaitable[Any]]


class Replacement:
    """Takes one engine to the configuration ``wanted``.

    :param differences: between what runs and ``wanted``
    """

    def __init__(
        self, service: EngineService, wanted: Configuration, differences: Differences
    ) -> None:
        self._service = service
        self._wanted = wanted
        self._differences = differences
        self._undo: list[tuple[str, Undo]] = []
        self._retired: dict[int, ModuleService] = {}
        self._listeners = list(service.listeners)
        self._closing: list[WorkerListener] = []

    async def carry_out(self) -> None:
        """Do it.

        :raises IIIError: it can't be done; what ran before runs again
        """
        new = [*(after for _, after in self._differences.changed), *self._differences.added]
        modules = {id(entry): self._service.create(entry) for entry in new}
        self._service.keep_guards(self._wanted)
        try:
            await self._exchange(modules)
        except Exception:
            await self._put_back()
            raise
        finally:
            for retired in self._retired.values():
                retired.api.release()
        self._commit()
        for listener in self._closing:
            await self._service.drain_listener(listener, self._limit_s)
            await listener.close_all(CLOSE_RESTART, "the worker port changes")
            await maybeDeferred(listener.disownServiceParent)

    @property
    def _limit_s(self) -> float:
        return self._service.drain_limit_s

    # Forward ---------------------------------------------------------------------------

    async def _exchange(self, modules: dict[int, Module]) -> None:
        anew: dict[int, ModuleService] = {}
        for before, after in self._differences.changed:
            running = self._service.module_of(before)
            if not self._change_live(running, modules[id(after)], after):
                anew[id(after)] = running
        leaving = [self._service.module_of(entry) for entry in self._differences.removed]
        stopping = [*leaving, *anew.values()]
        for running in reversed(self._service.modules):
            if running in stopping:
                await self._stop(running, hold=running not in leaving)
        for entry in self._wanted.loaded:
            if id(entry) in anew or entry in self._differences.added:
                await self._start(modules[id(entry)], entry, anew.get(id(entry)))
        await self._exchange_listeners()

    def _change_live(self, running: ModuleService, module: Module, entry: Entry) -> bool:
        if not same_adapter(running.entry, entry):
            return False
        before, settings = running.entry, running.module.settings
        if not running.module.change(module.settings):
            return False
        running.module.settings, running.entry = module.settings, entry

        async def undo() -> None:
            running.module.change(settings)
            running.module.settings, running.entry = settings, before

        self._undo.append((f"{before.written} gets its old settings back", undo))
        return True

    async def _stop(self, running: ModuleService, *, hold: bool) -> None:
        self._go_on()
        service = self._service
        entry = running.entry

        async def undo() -> None:
            await service.start_module(service.create(entry), entry)
            running.api.release()

        self._retired[id(running)] = running
        self._undo.append((f"{entry.written} starts again", undo))
        await running.retire(service.engine.clock, self._limit_s, hold=hold)

    async def _start(
        self, module: Module, entry: Entry, successor_of: ModuleService | None
    ) -> None:
        self._go_on()
        service = self._service

        async def undo() -> None:
            started = service.module_of(entry)
            self._retired[id(started)] = started
            held = successor_of is not None
            await started.retire(service.engine.clock, self._limit_s, hold=held)

        self._undo.append((f"{entry.written} stops", undo))
        await service.start_module(module, entry)
        if successor_of is not None:
            successor_of.api.release()

    async def _exchange_listeners(self) -> None:
        self._go_on()
        service, running = self._service, self._service.configuration
        open_ = list(zip(listeners_of(running), service.listeners, strict=True))
        kept: list[WorkerListener | None] = []
        for wanted in listeners_of(self._wanted):
            twin = next((pair for pair in open_ if pair[0] == wanted), None)
            if twin is not None:
                open_.remove(twin)
                self._open_again(twin[1])
            kept.append(None if twin is None else twin[1])
        for _, listener in open_:
            await self._close(listener)
        free = [listener.port for (settings, _), listener in open_ if settings.port == 0]
        self._listeners = [
            listener or self._open(settings, free)
            for settings, listener in zip(self._wanted.worker_listeners, kept, strict=True)
        ]

    def _open_again(self, listener: WorkerListener) -> None:
        """An earlier reload could not, when it put back what was there before."""
        if not listener.is_open:
            listener.listen()
            self._undo.append((f"port {listener.port} closes", listener.stop_listening))

    async def _close(self, listener: WorkerListener) -> None:
        """Accept no more workers there; those that are connected are closed at the end."""

        async def undo() -> None:
            listener.listen()
            self._closing.remove(listener)

        self._closing.append(listener)
        self._undo.append((f"port {listener.port} opens again", undo))
        await listener.stop_listening()

    def _open(self, settings: ListenerSettings, free: list[int]) -> WorkerListener:
        """Open a port.

        :param free: which ports the engine chose itself for those that close
        """
        if settings.port == 0 and free:
            settings = replace(settings, port=free.pop(0))
        listener = self._service.open_listener(self._wanted, settings)

        async def undo() -> None:
            await listener.stop_listening()
            await listener.close_all(CLOSE_RESTART, "the worker port changes")
            await maybeDeferred(listener.disownServiceParent)

        self._undo.append((f"port {listener.port} closes", undo))
        return listener

    def _go_on(self) -> None:
        if self._service.engine.closing:
            raise StartError(Code.SHUTTING_DOWN, "the engine stops")

    # Back, or done ---------------------------------------------------------------------

    async def _put_back(self) -> None:
        while self._undo and not self._service.engine.closing:
            what, undo = self._undo.pop()
            try:
                await undo()
            except CancelledError:
                return
            except Exception as error:
                log.error(
                    "putting back what ran before: {what} failed: {reason}; "
                    "the next reload tries again",
                    what=what,
                    reason=str(error),
                )

    def _commit(self) -> None:
        service = self._service
        for before, after in self._differences.kept:
            service.module_of(before).entry = after
        service.listeners = self._listeners
        service.take_over(self._wanted)
