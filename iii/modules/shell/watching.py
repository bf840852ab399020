"""Choosing how to watch, and turning many changes into one.

inotify where the system has it and gives enough of it, polling everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from iii.engine.clock import Clock, Timer
from iii.modules.shell.globs import Globs
from iii.modules.shell.polling import INTERVAL_S, PollingWatch
from iii.modules.shell.tree import nearest_existing

try:
    from iii.modules.shell.inotify import CannotWatch, InotifyWatch
except ImportError:  # not Linux
    InotifyWatch = None  # type: ignore[assignment,misc]

log = Logger()

#: Changes that do not stop start the list over after this many quiet times.
PATIENCE = 10


class Watch(Protocol):
    """One way to watch."""

    @property
    def is_complete(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Watcher:
    """Watches what ``globs`` mean, the best way there is.

    :param changed: called with the path of each file that changed
    :ivar watch: the way in use, once started
    """

    def __init__(
        self, reactor: Any, clock: Clock, globs: Globs, changed: Callable[[str], None]
    ) -> None:
        self._parts = (reactor, clock, globs, changed)
        self._globs = globs
        self.watch: Watch | None = None

    def start(self) -> None:
        """Begin to watch; say what is not there yet."""
        for root, glob in self._globs.roots().items():
            existing = nearest_existing(root)
            if existing != root:
                log.warn(
                    "exec: '{root}' of the glob '{glob}' does not exist; '{existing}' is watched "
                    "until it does, and the commands run without it",
                    root=root,
                    glob=glob,
                    existing=existing,
                )
        if InotifyWatch is None:
            self._begin(PollingWatch(*self._parts))
            return
        try:
            self._begin(InotifyWatch(*self._parts, self._poll))
        except CannotWatch as error:
            self._poll(str(error))

    def stop(self) -> None:
        """Stop watching."""
        if self.watch is not None:
            self.watch.stop()

    def _begin(self, watch: Watch) -> None:
        self.watch = watch
        watch.start()

    def _poll(self, reason: str) -> None:
        log.warn(
            "exec: inotify can't be used: {reason}; files are looked at every {interval} s",
            reason=reason,
            interval=INTERVAL_S,
        )
        self._begin(PollingWatch(*self._parts))


class Changes:
    """Changes that follow each other closely are one.

    :param quiet_s: how long nothing must change
    :param act: called with the first path and how many changes there were
    """

    def __init__(self, clock: Clock, quiet_s: float, act: Callable[[str, int], None]) -> None:
        self._clock = clock
        self._quiet_s = quiet_s
        self._act = act
        self._first = ""
        self._count = 0
        self._since = 0.0
        self._timer: Timer | None = None

    def add(self, path: str) -> None:
        """A file has changed."""
        now = self._clock.monotonic()
        if not self._count:
            self._first, self._since = path, now
        self._count += 1
        left_s = self._since + PATIENCE * self._quiet_s - now
        self._stop_timer()
        self._timer = self._clock.call_later(min(self._quiet_s, left_s), self._due)

    def stop(self) -> None:
        """Forget what came in."""
        self._stop_timer()
        self._count = 0

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _due(self) -> None:
        first, count = self._first, self._count
        self.stop()
        self._act(first, count)
