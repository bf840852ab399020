"""A thread that does one job after the other.

Collectors are slow, far away or gone, and the SDK's exporters block while they talk to
one.  So every signal has a thread of its own, and a collector that hangs holds up nothing
else.  The thread is a daemon: neither the engine's stop nor the end of the process waits
for it.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
Job = Callable[[], Any]
Done = Callable[[Any], None]


class Courier:
    """Runs jobs in order, in its thread, which begins with the first one.

    :param call_from_thread: runs a function in the reactor's thread
    """

    def __init__(self, name: str, call_from_thread: Callable[..., None]) -> None:
        self._name = name
        self._call = call_from_thread
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, job: Job, done: Done) -> None:
        """Run ``job()``; ``done`` gets its result or a ``Failure``, in the reactor's thread."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, done))

    def call(self, job: Callable[[], T]) -> Deferred[T]:
        """Run ``job()``; its result."""
        result: Deferred[T] = Deferred()
        self.run(job, result.callback)
        return result

    def end(self) -> None:
        """The thread ends after the jobs it was given."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (work := self._jobs.get()) is not None:
            job, done = work
            outcome: Any
            try:
                outcome = job()
            except Exception:
                outcome = Failure()
            self._call(done, outcome)
            # Nothing of a job stays alive while this waits for the next.
            del work, job, done, outcome
