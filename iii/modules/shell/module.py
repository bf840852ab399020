"""The ``iii-exec`` module: programs that run with the engine."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from iii.engine.module import Module, ModuleApi
from iii.modules.shell.config import ExecConfig
from iii.modules.shell.globs import Globs
from iii.modules.shell.group import Group
from iii.modules.shell.output import Output, write_all
from iii.modules.shell.pipeline import Pipeline
from iii.modules.shell.watching import Changes, Watcher

log = Logger()


class ExecModule(Module):
    """Runs commands and starts them over when files change.  Several may be configured.

    :ivar pipeline: the commands, once started
    :ivar watcher: the files, when any are to be watched
    """

    name = "iii-exec"
    config = ExecConfig

    def __init__(self, settings: ExecConfig) -> None:
        super().__init__(settings)
        self.pipeline: Pipeline | None = None
        self.watcher: Watcher | None = None
        self._changes: Changes | None = None
        self._reactor: Any = None

    def start(self, engine: ModuleApi) -> None:
        """Module: begin to watch; the commands run as soon as the engine listens."""
        settings: ExecConfig = self.settings
        if not settings.exec:
            log.info("exec: the list 'exec' is empty: nothing runs, nothing is watched")
            return
        self._reactor = engine.reactor
        base = str(Path.cwd())
        self.pipeline = Pipeline(engine.clock, settings, self._spawn, base)
        if settings.watch:
            changed = self.pipeline.changed
            self._changes = Changes(engine.clock, settings.debounce_ms / 1000, changed)
            globs = Globs(settings.watch, settings.ignore or (), base)
            if not globs.wanted:
                log.warn("exec: every glob of 'watch' excludes: nothing is watched")
            self.watcher = Watcher(engine.reactor, engine.clock, globs, self._changes.add)
            self.watcher.start()
        # The next turn: modules and worker ports that start at once are there then.
        engine.clock.call_later(0, self.pipeline.start)

    def closing(self) -> None:
        """Module: no change and no exit starts anything any more; what runs goes on."""
        if self.watcher is not None:
            self.watcher.stop()
        if self._changes is not None:
            self._changes.stop()
        if self.pipeline is not None:
            self.pipeline.close()

    def stop(self) -> Awaitable[None] | None:
        """Module: end every process that was started."""
        self.closing()
        return None if self.pipeline is None else self.pipeline.stop()

    def abandon(self) -> None:
        """Module: kill what runs."""
        if self.pipeline is not None:
            self.pipeline.kill()

    def _spawn(self, command: str, name: str) -> Group:
        prefix = self.settings.prefix
        label = name if prefix is True else prefix
        group = Group(Output(label, self._write) if label else None)
        group.start(self._reactor, command)
        return group

    def _write(self, descriptor: int, data: bytes) -> Deferred[None]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, write_all, descriptor, data)
