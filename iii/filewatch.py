"""Noticing that a file was changed, however it was done.

Twice a second the file is looked at: its time, size and inode, links followed.  It has
changed when that differs from before and then stays the same until the next look, so a
file that is still being written is left alone.  One ``stat`` sees what events of the
kernel hide: a new file renamed over the old one, a link turned to another directory (as
Kubernetes does with a ConfigMap), a file mounted into a container, a network disk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from iii.engine.clock import Clock, Timer

INTERVAL_S = 0.5

Stamp = tuple[int, int, int, int]
"""Device, inode, size, time of change."""


def stamp_of(path: Path) -> Stamp | None:
    """What tells one state of a file from another; None when it can't be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class FileWatch:
    """Watches one file.

    :param seen: its stamp when it was last read
    :param changed: called when it has changed, appeared or gone
    """

    def __init__(
        self, clock: Clock, path: Path, seen: Stamp | None, changed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._path = path
        self._seen = seen
        self._changed = changed
        self._moving = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to look, or go on."""
        if self._timer is None:
            self._again()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _again(self) -> None:
        self._timer = self._clock.call_later(INTERVAL_S, self._look)

    def _look(self) -> None:
        stamp = stamp_of(self._path)
        self._again()
        if stamp != self._seen:
            self._seen, self._moving = stamp, True
        elif self._moving:
            self._moving = False
            self._changed()
