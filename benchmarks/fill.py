"""Fill a state store through the engine's own store, without an engine.

A million values take half a minute.  The engine that is measured then starts on the file,
as after a restart, with nothing in its memory.  Run by its path with ``PYTHONPATH`` set to
the tree whose engine will open the file.
"""

from __future__ import annotations

import sys

from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.storage.kvstore import KvStore, StoreConfig

WRITES_PER_TURN = 10_000
STORE = "state"


async def fill(directory: str, count: int, scope: str, key: str, value: str) -> None:
    """Write ``count`` keys and close the store."""
    store = KvStore(StoreConfig(file_path=directory)).open(
        ModuleApi(Engine(reactor), "benchmark"), STORE, {}
    )
    raw = Raw(value.encode())
    for first in range(0, count, WRITES_PER_TURN):
        numbers = range(first, min(count, first + WRITES_PER_TURN))
        writes = [store.set((scope, ""), key % number, raw) for number in numbers]
        for write in writes:
            await write
    await store.close()


if __name__ == "__main__":
    directory, count, scope, key, value = sys.argv[1:]
    react(lambda _: Deferred.fromCoroutine(fill(directory, int(count), scope, key, value)))
