"""The last messages of a worker's connection, as they were on the wire.

Off until somebody asks for it, for one connection at a time; then the beginning of every
message is kept.  It is off again when whoever asked says so or watches no more.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from msgspec import UNSET, Raw, Struct, UnsetType

from iii.engine.clock import Clock
from iii.engine.redacting import REDACTED, Redactor
from iii.engine.workers import Worker

MAX_KEPT_MESSAGES = 200
#: Of a message.
KEPT_MESSAGE_BYTES = 2 * 1024
MAX_INSPECTED = 50

_TYPE = re.compile(rb'"type"\s*:\s*"([a-z_]{1,40})"')


class MessageRow(Struct):
    """A message.

    :ivar number: counted from the first that was kept
    :ivar direction: ``in``: from the worker
    :ivar size: in bytes
    :ivar body: its beginning; of binary ones only their kind
    """

    number: int
    at_ms: float
    at_unix_nano_str: str
    direction: str
    type: str | None
    size: int
    body: str
    cut: bool
    binary: bool | UnsetType = UNSET


class Inspected:
    """One connection.

    :ivar wanted: it was asked for, not only watched
    :ivar listeners: told of every message
    """

    def __init__(self, worker: Worker, clock: Clock) -> None:
        self.worker = worker
        self.wanted = False
        self.listeners: list[Callable[[Kept], None]] = []
        self.messages: deque[Kept] = deque(maxlen=MAX_KEPT_MESSAGES)
        self._clock = clock
        self._count = 0
        worker.link.observe(self._observe)

    def _observe(self, direction: str, payload: bytes, is_binary: bool) -> None:
        self._count += 1
        beginning = payload[:KEPT_MESSAGE_BYTES]
        kept = Kept(
            (self._count, self._clock.wall(), direction, beginning, len(payload), is_binary)
        )
        self.messages.append(kept)
        for listener in list(self.listeners):
            listener(kept)

    def end(self) -> None:
        """Keep nothing more."""
        self.worker.link.observe(None)


class Kept(tuple[int, float, str, bytes, int, bool]):
    """Number, wall time, direction, beginning, size, whether it is binary."""

    __slots__ = ()

    def row(self, redactor: Redactor) -> MessageRow:
        """As people see it."""
        number, at, direction, beginning, size, is_binary = self
        cut = size > len(beginning)
        found = _TYPE.search(beginning)
        if is_binary:
            kind, body = beginning[:4].decode("ascii", "replace"), ""
        else:
            kind = found[1].decode() if found else ""
            body = _shown(beginning, cut, redactor)
        return MessageRow(
            number,
            round(at * 1000, 3),
            str(round(at * 1e6) * 1000),
            direction,
            kind or None,
            size,
            body,
            cut,
            True if is_binary else UNSET,
        )


def _shown(beginning: bytes, cut: bool, redactor: Redactor) -> str:
    if redactor.is_clean(beginning):
        return beginning.decode("utf-8", "ignore")
    # Where half a message ends nobody can tell what a key hides.
    return REDACTED if cut else bytes(redactor.redacted(Raw(beginning))).decode()


class Inspector:
    """All connections that are looked at."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inspected: dict[str, Inspected] = {}

    def find(self, worker_id: str) -> Inspected | None:
        """What is kept of a connection; None: it is not looked at."""
        return self._inspected.get(worker_id)

    def begin(self, worker: Worker) -> Inspected | None:
        """Look at a connection; None: at too many already."""
        known = self._inspected.get(worker.id)
        if known is None and len(self._inspected) < MAX_INSPECTED:
            known = self._inspected[worker.id] = Inspected(worker, self._clock)
        return known

    def end_unless_wanted(self, inspected: Inspected) -> None:
        """Somebody looks no more."""
        if not inspected.wanted and not inspected.listeners:
            self._inspected.pop(inspected.worker.id, None)
            inspected.end()

    def changed(self, event: str, worker: Worker) -> None:
        """A worker came or went."""
        if event == "worker_disconnected":
            known = self._inspected.pop(worker.id, None)
            if known is not None:
                known.end()
