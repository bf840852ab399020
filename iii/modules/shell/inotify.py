"""Watching through the kernel: inotify, read by the reactor.

Every directory that may hold files that count, and every one on the way to a glob's
root, has a watch; so a root that appears later, vanishes or is exchanged needs no
rule of its own.  Trees are walked in slices: no tree stops the reactor.

Twisted opens the descriptor and adds the watches.  The events are read here, because
Twisted's reader ends all watching when one directory is removed and does not tell
that the kernel's queue ran over.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet import fdesc
from twisted.internet.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    INotify,
    INotifyError,
)
from twisted.internet.task import Cooperator, SchedulerStopped
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from iii.engine.clock import Clock
from iii.modules.shell.globs import Globs, under
from iii.modules.shell.tree import look

log = Logger()

#: Directories that one module watches; a larger tree is polled.
MAX_WATCHED_DIRECTORIES = 50_000
#: How long a walk goes on before the reactor has its turn.
SLICE_S = 0.002
#: What ``changed`` is told when nobody knows the path.
TOO_MANY = "(more files at once than the system can name)"

_MASK = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR
_CHANGED = IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
_APPEARED = IN_CREATE | IN_MOVED_TO
_REPLACED = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
_EVENT = struct.Struct("=iIII")


class CannotWatch(Exception):
    """inotify does not give what is needed; the text says what."""


class InotifyWatch:
    """Watches what ``globs`` mean.

    :param changed: called with the path of each file that changed
    :param failed: called once with the reason when watching can't go on
    :raises CannotWatch: inotify can't be used at all
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        globs: Globs,
        changed: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._globs = globs
        self._changed = changed
        self._failed = failed
        self._paths: dict[int, str] = {}
        self._watched: dict[str, int] = {}
        try:
            self._events = _Events(reactor, self._received)
        except INotifyError as error:
            raise CannotWatch("the system gives no inotify instance") from error

        def soon(work: Callable[[], None]) -> Any:
            return clock.call_later(0.0, work)

        self._cooperator = Cooperator(lambda: _slice(clock), soon)
        self._walks = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything that is there now is watched."""
        return not self._walks

    @property
    def directories(self) -> int:
        """How many directories are watched."""
        return len(self._watched)

    def start(self) -> None:
        """Begin to watch."""
        self._events.startReading()  # type: ignore[no-untyped-call]
        self._walk(self._globs.starts(), tell=False)

    def stop(self) -> None:
        """Stop watching; nothing is told any more."""
        if self._cooperator.running:
            self._cooperator.stop()
            self._events.loseConnection()  # type: ignore[no-untyped-call]

    # The tree --------------------------------------------------------------------------

    def _walk(self, directories: list[str], *, tell: bool) -> None:
        """Watch these directories and what is below them.

        :param tell: they are new, so the files in them are changes
        """
        self._walks += 1
        walk = self._cooperator.cooperate(self._steps(directories, tell))
        walk.whenDone().addCallbacks(self._walked, self._walk_failed)

    def _walked(self, _: object) -> None:
        self._walks -= 1

    def _walk_failed(self, failure: Failure) -> None:
        if failure.check(SchedulerStopped):
            return
        self.stop()
        if failure.check(CannotWatch):
            self._failed(str(failure.value))
        else:
            log.failure("exec: looking for files to watch failed", failure)
            self._failed("looking for files failed")

    def _steps(self, directories: list[str], tell: bool) -> Iterator[None]:
        # Watched before it is looked at: what appears in between is told twice, not never.
        while directories:
            directory = directories.pop()
            self._add(directory)
            found = look(self._globs, directory)
            directories += found.directories
            if tell:
                for path in found.files:
                    self._changed(path)
            yield

    def _add(self, directory: str) -> None:
        if directory in self._watched:
            return
        if len(self._watched) >= MAX_WATCHED_DIRECTORIES:
            raise CannotWatch(f"more than {MAX_WATCHED_DIRECTORIES} directories are to be watched")
        try:
            number = self._events.watch(FilePath(directory), mask=_MASK)  # type: ignore[no-untyped-call]
        except INotifyError as error:
            if Path(directory).is_dir() and os.access(directory, os.R_OK):
                raise CannotWatch(
                    f"the system allows no more than {len(self._watched)} watches "
                    "(raise it with `sysctl fs.inotify.max_user_watches`)"
                ) from error
            return  # it has just gone, or is not ours to read
        self._watched[directory] = number
        self._paths[number] = directory

    def _forget(self, directory: str) -> None:
        """Stop watching a directory and what was below it."""
        below = f"{directory}/"
        for path in [p for p in self._watched if p == directory or p.startswith(below)]:
            del self._paths[self._watched.pop(path)]
            self._events.ignore(FilePath(path))  # type: ignore[no-untyped-call]

    # What happens in it ----------------------------------------------------------------

    def _received(self, number: int, mask: int, name: str) -> None:
        if mask & IN_Q_OVERFLOW:
            log.warn("exec: the system dropped changes of watched files: all directories are read")
            self._walk(self._globs.starts(), tell=False)
            self._changed(TOO_MANY)
            return
        directory = self._paths.get(number)
        if directory is None:
            return  # told before its watch was removed
        if mask & IN_IGNORED:
            self._forget(directory)
        elif name:
            told = self._directory_changed if mask & IN_ISDIR else self._file_changed
            told(under(directory, name), mask)

    def _directory_changed(self, path: str, mask: int) -> None:
        if mask & _APPEARED and self._globs.leads(path):
            self._forget(path)
            self._walk([path], tell=True)
        elif mask & IN_MOVED_FROM and path in self._watched:
            self._forget(path)
            self._changed(path)

    def _file_changed(self, path: str, mask: int) -> None:
        if self._globs.matches(path) and (mask & _CHANGED or _is_link(path)):
            self._changed(path)
        elif mask & _REPLACED and self._globs.is_fixed(path):
            # A link to a directory that a glob names.
            self._forget(path)
            if Path(path).is_dir():
                self._walk([path], tell=True)


def _slice(clock: Clock) -> Callable[[], bool]:
    ends = clock.monotonic() + SLICE_S
    return lambda: clock.monotonic() >= ends


def _is_link(path: str) -> bool:
    """Whether a name was made for something that is there: nobody will write to it."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1


class _Events(INotify):
    """The descriptor; ``received(watch, mask, name)`` gets every event."""

    def __init__(self, reactor: Any, received: Callable[[int, int, str], None]) -> None:
        super().__init__(reactor)  # type: ignore[no-untyped-call]
        self._received = received

    def doRead(self) -> Any:
        """IReadDescriptor: take the events; the kernel hands out whole ones only."""
        return fdesc.readFromFD(self.fileno(), self._take)  # type: ignore[no-untyped-call]

    def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            number, mask, _cookie, size = _EVENT.unpack_from(data, start)
            start += _EVENT.size + size
            name = data[start - size : start].rstrip(b"\0")
            self._received(number, mask, os.fsdecode(name))
