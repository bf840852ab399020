"""Cases of the exec module: real shells in a directory of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.shell.config import ExecConfig
from iii.modules.shell.module import ExecModule

WAIT_S = 10.0


class LogCase(TestCase):
    """Collects the module's log lines."""

    timeout = 30

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("iii.modules.shell"):
            self.events.append(event)

    def logged(self, text: str, level: str | None = None) -> list[str]:
        """The lines with ``text`` in them."""
        return [
            line
            for event in self.events
            if text in (line := formatEvent(event)) and level in (None, event["log_level"].name)
        ]

    async def eventually(self, there: Callable[[], Any], wait_s: float = WAIT_S) -> None:
        """Wait until ``there()``: for what nothing announces."""
        for _ in range(int(wait_s / 0.005)):
            if there():
                return
            await self.turn(0.005)
        self.fail("it did not happen; log:\n" + "\n".join(map(formatEvent, self.events)))

    async def turn(self, seconds: float = 0.0) -> None:
        """Let the reactor run."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed


class ShellCase(LogCase):
    """The module on the real reactor.

    :ivar folder: where the test's files are; globs may name it, it is below the
        working directory
    """

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = Clock(reactor)  # type: ignore[arg-type]

    async def run_module(self, *commands: str, **settings: Any) -> ExecModule:
        """A started module, stopped when the test ends; ``$D`` is the folder."""
        os.environ["D"] = str(self.folder)
        self.addCleanup(os.environ.pop, "D", None)
        module = ExecModule(ExecConfig(list(commands), **settings))
        module.start(ModuleApi(Engine(reactor), "iii-exec"))
        self.addCleanup(self.stop, module)
        watcher = module.watcher
        if watcher is not None:
            await self.eventually(lambda: watcher.watch is not None and watcher.watch.is_complete)
        return module

    async def stop(self, module: ExecModule) -> None:
        """Stop the module; again does no harm."""
        stopping = module.stop()
        if stopping is not None:
            await stopping
        await self.turn()

    def file(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name

    def lines(self, name: str) -> list[str]:
        """The whole lines of a file in the folder."""
        path = self.file(name)
        text = path.read_text() if path.exists() else ""
        return text.split("\n")[:-1]

    async def pid_in(self, name: str) -> int:
        """The process id that a command writes to this file."""
        await self.eventually(lambda: self.lines(name))
        return int(self.lines(name)[0])


def is_running(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
