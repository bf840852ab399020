"""A worker that is about to leave: nothing new for it, time for what it runs.

Its functions stay registered as long as it is connected, but calls go to their other
owners; where there is none, the function counts as absent.  There is no way back except
a new connection.
"""

from __future__ import annotations

from collections.abc import Iterable

from iii.engine.clock import Clock
from iii.engine.functions import Functions
from iii.engine.workers import Worker

POLL_S = 0.02


async def drain(
    clock: Clock, functions: Functions, workers: Iterable[Worker], limit_s: float
) -> int:
    """Let ``workers`` finish what they run.

    :param limit_s: how long that may take
    :returns: how many calls are left; more than 0 only when the time is up
    """
    leaving = list(workers)
    ends = clock.monotonic() + limit_s
    staying = [worker for worker in leaving if not worker.draining]
    for worker in staying:
        worker.draining = True
        for namespace, id in worker.functions:
            functions.owner_changed(id, namespace)
    if staying:
        functions.tell()
    while (left := sum(len(worker.executing) for worker in leaving)) and clock.monotonic() < ends:
        await clock.pause(POLL_S)
    return left
