"""Fill a named queue through the engine's own journal, without an engine.

Run like ``fill``: by its path, with ``PYTHONPATH`` set to the tree whose engine will open
the file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from iii.engine.core import Engine
from iii.engine.ids import next_id
from iii.engine.module import ModuleApi
from iii.modules.queue.builtin import NAME, SCHEMA
from iii.modules.queue.journal import Journal
from iii.modules.queue.message import Details, Message
from iii.modules.queue.names import named
from iii.storage.database import Database

MESSAGES_PER_TURN = 10_000


async def fill(path: Path, count: int, queue: str, function_id: str, data: str) -> None:
    """Enqueue ``count`` messages and close the file.

    :param data: made of the last two digits of a message's number, and of the number
    """
    engine = ModuleApi(Engine(reactor), "benchmark")
    journal = Journal(engine, Database(engine, path, NAME, SCHEMA))
    lane, details = journal.lane(named(queue).text), Details()
    created_ms = engine.clock.wall_ms()
    for first in range(0, count, MESSAGES_PER_TURN):
        numbers = range(first, min(count, first + MESSAGES_PER_TURN))
        messages = [
            Message.new(
                journal.next_seq(),
                next_id(),
                lane,
                Raw((data % (number % 100, number)).encode()),
                details,
                created_ms=created_ms,
                function_id=function_id,
            )
            for number in numbers
        ]
        await journal.add(messages)
    await journal.close()


if __name__ == "__main__":
    directory, count, queue, function_id, data = sys.argv[1:]
    path = Path(directory) / f"{NAME}.sqlite"
    path.parent.mkdir()
    filling = fill(path, int(count), queue, function_id, data)
    react(lambda _: Deferred.fromCoroutine(filling))
