"""Watching where the system can't tell: look again every second.

A look is made in a thread and compared with the one before it: a file counts as
changed when its time, its size or its inode is another one, or when it came or went.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.modules.shell.globs import Globs
from iii.modules.shell.tree import look

log = Logger()

INTERVAL_S = 1.0
#: Files that one module polls; the others are not watched, with a warning.
MAX_POLLED_FILES = 100_000

Stamp = tuple[int, int, int]


class PollingWatch:
    """Watches what ``globs`` mean.

    :param changed: called with the path of each file that changed
    """

    def __init__(
        self, reactor: Any, clock: Clock, globs: Globs, changed: Callable[[str], None]
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._globs = globs
        self._changed = changed
        self._seen: dict[str, Stamp] | None = None
        self._timer: Timer | None = None
        self._stopped = False
        self._warned = False

    @property
    def is_complete(self) -> bool:
        """Whether everything that is there now is watched."""
        return self._seen is not None

    def start(self) -> None:
        """Begin to watch."""
        pool = self._reactor.getThreadPool()
        deferToThreadPool(self._reactor, pool, snapshot, self._globs).addCallbacks(
            self._looked, self._look_failed
        )

    def stop(self) -> None:
        """Stop watching; nothing is told any more."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _looked(self, now: dict[str, Stamp]) -> None:
        if self._stopped:
            return
        if len(now) >= MAX_POLLED_FILES and not self._warned:
            self._warned = True
            log.warn(
                "exec: more than {limit} files are to be watched; the others are not: "
                "make the globs of 'watch' narrower",
                limit=MAX_POLLED_FILES,
            )
        before, self._seen = self._seen, now
        if before is not None:
            for path in sorted(path for path, _ in before.items() ^ now.items()):
                self._changed(path)
        self._again()

    def _look_failed(self, failure: Failure) -> None:
        log.failure("exec: looking for changed files failed, it is tried again", failure)
        self._again()

    def _again(self) -> None:
        if not self._stopped:
            self._timer = self._clock.call_later(INTERVAL_S, self.start)


def snapshot(globs: Globs) -> dict[str, Stamp]:
    """Every file that counts, and what shows that it was changed."""
    found: dict[str, Stamp] = {}
    directories, looked_at = globs.starts(), set[str]()
    while directories:
        directory = directories.pop()
        if directory in looked_at:
            continue
        looked_at.add(directory)
        inside = look(globs, directory)
        directories += inside.directories
        for path in inside.files:
            if len(found) >= MAX_POLLED_FILES:
                return found
            try:
                status = os.lstat(path)
            except OSError:
                continue  # it has just gone
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found
