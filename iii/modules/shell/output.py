"""The output of a command with a name before each line.

A command's pipes are read only when what was read before has been written: a slow
terminal slows the command down, as it would without us, and neither memory nor the
reactor.  Writing, which may wait, is done in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

#: A longer line is shown as several.
MAX_LINE_BYTES = 64 * 1024

Write = Callable[[int, bytes], Deferred[None]]


class Output:
    """Prefixes lines and writes them.

    :param label: what stands before each line
    :param write: ``write(descriptor, data)``, done when the Deferred fires
    """

    def __init__(self, label: str, write: Write) -> None:
        self._prefix = f"{label} | ".encode()
        self._write = write
        self._rests: dict[int, bytes] = {}
        self._ready: list[tuple[int, bytes]] = []
        self._writing = False
        self._broken = False
        self._transport: Any = None

    def attach(self, transport: Any) -> None:
        """The pipes; they are paused and resumed."""
        self._transport = transport

    def received(self, descriptor: int, data: bytes) -> None:
        """Output has come."""
        *lines, rest = (self._rests.pop(descriptor, b"") + data).split(b"\n")
        while len(rest) > MAX_LINE_BYTES:
            lines.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        if rest:
            self._rests[descriptor] = rest
        self._show(descriptor, lines)

    def ended(self, descriptor: int) -> None:
        """No more output comes from there; a line without an end is shown."""
        rest = self._rests.pop(descriptor, b"")
        if rest:
            self._show(descriptor, [rest])

    def _show(self, descriptor: int, lines: list[bytes]) -> None:
        if lines and not self._broken:
            text = b"".join(self._prefix + line + b"\n" for line in lines)
            self._ready.append((descriptor, text))
            self._go_on()

    def _go_on(self) -> None:
        if self._writing or not self._ready:
            return
        self._writing = True
        self._transport.pauseProducing()
        self._write(*self._ready.pop(0)).addCallbacks(self._written, self._failed)

    def _written(self, _: None) -> None:
        self._writing = False
        self._go_on()
        if not self._writing:
            self._transport.resumeProducing()

    def _failed(self, failure: Failure) -> None:
        # Nobody reads ours: read on, or the command would hang.
        self._broken = True
        self._ready.clear()
        log.warn("exec: output can't be shown any more: {error}", error=failure.value)
        self._written(None)


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a descriptor that may make us wait."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
