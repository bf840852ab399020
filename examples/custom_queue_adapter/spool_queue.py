"""A queue adapter of one's own: every message is a file.

``spool: {directory: ./spool}`` keeps the messages of a queue as files of one directory,
named by the order in which they came.  You can look at them with ``ls``, and a message
that has failed too often lies in ``dead/``.  The engine brings topics, named queues,
conditions, calls and time limits; an adapter only keeps messages and says whose turn it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from iii.engine.module import ModuleApi
from iii.errors import Code, StartError
from iii.modules.queue.adapter import (
    Details,
    Executor,
    Message,
    New,
    Once,
    Outcome,
    QueueAdapter,
    QueueName,
    Receipt,
    Verdict,
)
from iii.modules.queue.settings import LaneSettings


class SpoolConfig(msgspec.Struct):
    """``config:`` of the adapter; a wrong key or type is refused with file and line."""

    directory: str = "./spool"


class Stored(msgspec.Struct):
    """A file."""

    id: str
    data: Raw
    details: Details
    function_id: str | None
    created_ms: int


class Spool:
    """One queue: its directory, and who works it off."""

    def __init__(self, folder: Path, settings: LaneSettings, executor: Executor) -> None:
        self.folder = folder
        self.settings = settings
        self.executor = executor
        self.busy: set[Path] = set()  # running, or waiting for another attempt


class SpoolAdapter(QueueAdapter):
    """Messages as files."""

    kind = "spool"
    config = SpoolConfig

    def __init__(self, settings: SpoolConfig) -> None:
        self._root = Path(settings.directory).absolute()
        self._spools: dict[QueueName, Spool] = {}
        self._closing = False

    def start(self, engine: ModuleApi, stores: dict[str, str]) -> None:
        """Adapter: find the last number."""
        self._engine = engine
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"the spool directory {self._root} can't be made: {error.strerror}"
            raise StartError(Code.STORE_ERROR, text) from error
        stores["queue"] = str(self._root)
        self._last = max((int(path.stem) for path in self._root.rglob("*.json")), default=0)

    def put(self, new: New, once: Once | None = None) -> Deferred[Receipt]:
        """Adapter: one file for each queue, synced before the answer."""
        now_ms = self._engine.clock.wall_ms()
        details = Details(new.namespace, new.traceparent, new.baggage)
        stored = Stored(new.id, new.data, details, new.function_id, now_ms)
        files = []
        for queue in new.queues:
            self._last += 1
            files.append(self._folder(queue) / f"{self._last:020}.json")
        written = deferToThread(_write_all, files, msgspec.json.encode(stored))

        def answer(_: None) -> Receipt:
            for queue in new.queues:
                self._pump(queue)
            return Receipt(new.id)

        return written.addCallback(answer)

    def consume(self, queue: QueueName, settings: LaneSettings, executor: Executor) -> None:
        """Adapter: who works ``queue`` off."""
        spool = self._spools.get(queue)
        if spool is None:
            self._spools[queue] = Spool(self._folder(queue), settings, executor)
        else:
            spool.settings, spool.executor = settings, executor
        self._pump(queue)

    def look_again(self, queue: QueueName | None = None) -> None:
        """Adapter: somebody may be there now."""
        for known in list(self._spools) if queue is None else [queue]:
            self._pump(known)

    def closing(self) -> None:
        """Adapter: hand out nothing more."""
        self._closing = True

    def stop(self) -> None:
        """Adapter: what runs is still a file."""
        self.closing()

    def _pump(self, queue: QueueName) -> None:
        """Hand out the next files while there are slots."""
        spool = self._spools.get(queue)
        if spool is None or self._closing:
            return
        for path in sorted(spool.folder.glob("*.json")):
            if len(spool.busy) >= spool.settings.concurrency:
                return
            if path not in spool.busy:
                message = _read(path)
                if spool.executor.ready(message):
                    spool.busy.add(path)
                    self._run(queue, spool, path, message)

    def _run(self, queue: QueueName, spool: Spool, path: Path, message: Message) -> None:
        def done(outcome: Outcome) -> None:
            wait_ms = 0
            if outcome.verdict is Verdict.DONE:
                path.unlink()
            elif outcome.verdict is Verdict.FAILED:
                wait_ms = self._failed(spool, path, message, outcome)
            self._engine.clock.call_later(wait_ms / 1000, again)

        def again() -> None:
            spool.busy.discard(path)
            self._pump(queue)

        spool.executor.run(message, spool.settings.dispatch_timeout_ms, done)

    def _failed(self, spool: Spool, path: Path, message: Message, outcome: Outcome) -> int:
        """Write down the attempt; milliseconds until the next."""
        details = message.details
        details.attempts += 1
        if outcome.failure is not None:
            details.failures.append(outcome.failure)
        stored = Stored(message.id, message.data, details, message.function_id, message.created_ms)
        dead = details.attempts >= spool.settings.max_attempts
        target = path.parent / "dead" / path.name if dead else path
        _write_all([target], msgspec.json.encode(stored))
        if dead:
            path.unlink()
            return 0
        wait_ms = spool.settings.wait_ms(details.attempts, 0.0)
        return wait_ms if outcome.after_ms is None else outcome.after_ms

    def _folder(self, queue: QueueName) -> Path:
        folder = self._root / quote(queue.text, safe="")
        folder.mkdir(exist_ok=True)
        return folder


def _write_all(files: list[Path], content: bytes) -> None:
    """Write each file whole or not at all."""
    for path in files:
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)


def _read(path: Path) -> Message:
    stored = msgspec.json.decode(path.read_bytes(), type=Stored)
    return Message.new(
        int(path.stem),
        stored.id,
        0,
        stored.data,
        stored.details,
        created_ms=stored.created_ms,
        function_id=stored.function_id,
    )


def register(catalogue: object) -> None:
    """Entry point of the group ``iii.modules``: makes ``adapter: {class: my::Spool}`` work."""
    catalogue.register_adapter("iii-queue", "my::Spool", SpoolAdapter)  # type: ignore[attr-defined]
