"""Threads for plain ``def`` handlers.

A pool with a size would deadlock: handlers that wait for calls to handlers of
the same worker fill it, and the calls they wait for never get a thread.  So
there is a thread per running call, and a thread that has finished is used again
for a while.  The threads are daemons: they never keep a process alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("iii.client")

IDLE_LIMIT_S = 10.0

_Outcome = tuple[Any, BaseException | None]


class _Job:
    """One call, and where its outcome goes."""

    __slots__ = ("args", "context", "function", "future", "loop")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_Outcome] = self.loop.create_future()
        self.context = contextvars.copy_context()
        self.function = function
        self.args = args

    def run(self) -> _Outcome:
        """Call it; whatever it raises is its outcome."""
        try:
            return self.context.run(self.function, *self.args), None
        except BaseException as error:
            return None, error

    def deliver(self, outcome: _Outcome) -> None:
        """Hand the outcome to the loop that waits."""
        try:
            self.loop.call_soon_threadsafe(self._settle, outcome)
        except RuntimeError:
            logger.debug("a handler finished after its event loop was closed")

    def _settle(self, outcome: _Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class Threads:
    """As many threads as there are calls running.

    :param idle_limit_s: how long a thread waits for its next call
    """

    def __init__(self, idle_limit_s: float = IDLE_LIMIT_S) -> None:
        self._idle_limit_s = idle_limit_s
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[_Job | None]] = []

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function`` in a thread, in a copy of the current context."""
        job = _Job(function, args)
        with self._lock:
            jobs = self._idle.pop() if self._idle else None
        if jobs is None:
            jobs = queue.SimpleQueue()
            threading.Thread(
                target=self._work, args=(jobs,), name="iii-handler", daemon=True
            ).start()
        jobs.put(job)
        # The outcome travels as a pair: a future can't carry StopIteration.
        value, error = await job.future
        if error is not None:
            raise error
        return value

    def stop(self) -> None:
        """End the threads that wait; one that runs ends when it has waited long enough."""
        with self._lock:
            idle, self._idle = self._idle, []
        for jobs in idle:
            jobs.put(None)

    def _work(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        while True:
            try:
                job = jobs.get(timeout=self._idle_limit_s)
            except queue.Empty:
                with self._lock:
                    if jobs in self._idle:
                        self._idle.remove(jobs)
                        return
                # A call has been given to this thread just now.
                continue
            if job is None:
                return
            outcome = job.run()
            with self._lock:
                self._idle.append(jobs)
            job.deliver(outcome)
            # Let go of payload and result while waiting for the next one.
            del job, outcome
