"""A case with an engine whose configuration is a file that the test rewrites."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from iii.builder import EmbeddedEngine, EngineBuilder
from iii.engine.bindings import Binding
from iii.engine.module import Module, ModuleApi
from iii.errors import Code, RegistrationError, StartError
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import WAIT_S, open_socket

log = Logger()


class DemoConfig(msgspec.Struct):
    """Configuration of ``DemoModule``; ``live`` is what it changes while it runs."""

    name: str = "demo"
    answer: Any = None
    live: Any = None
    fails: bool = False
    breaks: bool = False
    port: int = 0


class DemoModule(Module):
    """Offers ``<name>::ask`` and the trigger type ``<name>-type``; writes down what happens.

    :cvar diary: what happened, in order
    :cvar gate: when set, the function answers after it has fired
    :cvar slow_start: the same for the start
    :cvar slow_stop: the same for the end of a stop
    """

    name = "demo"
    config = DemoConfig
    diary: ClassVar[list[str]] = []
    gate: ClassVar[Deferred[None] | None] = None
    slow_start: ClassVar[Deferred[None] | None] = None
    slow_stop: ClassVar[Deferred[None] | None] = None

    def __init__(self, settings: DemoConfig) -> None:
        super().__init__(settings)
        self.bindings: list[Binding] = []
        self.busy = 0

    async def start(self, engine: ModuleApi) -> None:
        """Module."""
        self.diary.append(f"start {self.settings.name}")
        if self.slow_start is not None:
            await self.slow_start
        if self.settings.fails:
            raise StartError(Code.CONFIG_ERROR, "it does not want to")
        engine.function(f"{self.settings.name}::ask", self.ask)
        engine.alias(f"{self.settings.name}.ask", f"{self.settings.name}::ask")
        engine.trigger_type(f"{self.settings.name}-type", self)
        engine.instrument(f"demo_{self.settings.name}", "gauge", "Demo", lambda: [((), 1.0)])
        engine.announce(self.settings.name, self.settings.answer)

    async def ask(self, _: Any) -> Any:
        """``<name>::ask``."""
        answer = [self.settings.answer, self.settings.live]
        if self.gate is not None:
            self.busy += 1
            await self.gate
            self.busy -= 1
        return answer

    def add(self, binding: Binding) -> None:
        """Provider."""
        if bytes(binding.config) == b'{"no":true}':
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, "no")
        self.diary.append(f"bind {self.settings.name} {binding.id}")
        self.bindings.append(binding)

    def remove(self, binding: Binding) -> None:
        """Provider."""
        self.diary.append(f"unbind {self.settings.name} {binding.id}")
        self.bindings.remove(binding)

    def change(self, settings: DemoConfig) -> bool:
        """Module."""
        if settings.breaks:
            raise RuntimeError("a fault of its own")
        if msgspec.structs.replace(settings, live=self.settings.live) != self.settings:
            return False
        self.diary.append(f"change {settings.name} {settings.live}")
        return True

    def closing(self) -> None:
        """Module."""
        self.diary.append(f"closing {self.settings.name}")

    async def stop(self) -> None:
        """Module."""
        self.diary.append(f"stop {self.settings.name}")
        if self.slow_stop is not None:
            await self.slow_stop
            self.diary.append(f"stopped {self.settings.name}")


def demo(name: str, **config: Any) -> dict[str, Any]:
    """An entry for it."""
    return {"class": "test::Demo", "config": {"name": name, **config}}


class ReloadCase(TestCase):
    """Engines in this process that read a file of the test's own.

    :cvar free_ports: False: what the file says about ports holds
    """

    free_ports: ClassVar[bool] = True
    timeout = 30

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="iii-test-")
        self.addCleanup(holder.cleanup)
        self.path = Path(holder.name) / "config.yaml"
        DemoModule.diary.clear()
        DemoModule.gate = DemoModule.slow_start = DemoModule.slow_stop = None
        self.log: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)

    def _logged(self, event: dict[str, Any]) -> None:
        if str(event.get("log_namespace")).startswith("iii"):
            self.log.append(formatEvent(event))

    @property
    def diary(self) -> list[str]:
        """What happened to demo modules since this was read last."""
        told, DemoModule.diary[:] = list(DemoModule.diary), []
        return told

    def write(self, *modules: dict[str, Any], **top: Any) -> None:
        """Write the configuration: JSON is YAML."""
        listed = list(modules)
        if not self.free_ports:
            listed.append({"name": "iii-observability", "config": {"prometheus_port": 0}})
        self.path.write_text(json.dumps({"port": 0, **top, "modules": listed}))

    async def start(
        self, *modules: dict[str, Any], clock: Any = None, **top: Any
    ) -> EmbeddedEngine:
        """Write a configuration and run it."""
        self.write(*modules, **top)
        builder = EngineBuilder(reactor, clock=clock, environ={"III_IN_MEMORY": "1"})
        builder.register_module("test::Demo", DemoModule)
        builder = builder.config_file(self.path)
        engine = (builder.free_ports() if self.free_ports else builder).build()
        self.addCleanup(engine.destroy)
        await engine.start()
        self.engine = engine
        self.diary  # noqa: B018 (reading it empties it)
        return engine

    async def reload(self, *modules: dict[str, Any], **top: Any) -> None:
        """Write another configuration and have it read."""
        self.write(*modules, **top)
        await self.engine.service.reload()

    async def worker(self, *functions: str) -> RawWorker:
        """A connected worker."""
        socket = await open_socket(self.engine.ready["worker"])
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        if functions:
            await worker.register(*functions)
        return worker

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        """The present values of an instrument."""
        found = [one for one in self.engine.engine.instruments if one.name == name]
        return dict(found[0].read()) if found else {}  # type: ignore[arg-type]

    async def eventually(self, there: Any, wait_s: float = WAIT_S) -> None:
        """Wait until ``there()``, polling: for what no message announces."""
        for _ in range(int(wait_s / 0.005)):
            if there():
                return
            await self.pause(0.005)
        self.fail("it did not happen")

    async def pause(self, seconds: float) -> None:
        """Let the reactor run."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed
