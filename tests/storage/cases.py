"""A case with a durable store in a directory of its own."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.storage.kvstore import KvStore, StoreConfig
from iii.storage.store import Bucket, Change, Store

BUCKET = ("orders", "")


def raw(text: str) -> Raw:
    """JSON."""
    return Raw(text.encode())


def shown(change: Change) -> tuple[str | None, str | None]:
    """Old and new value as text."""
    old, new = (None if part is None else bytes(part).decode() for part in change)
    return old, new


class StoreCase(TestCase):
    """Opens stores below ``self.directory`` and closes what is left open."""

    timeout = 20

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.engine = Engine(reactor)
        self.api = ModuleApi(self.engine, "test")
        self.stores: dict[str, str] = {}
        self._open: list[Store] = []

    async def tearDown(self) -> None:
        for store in self._open:
            await store.close()
        self.engine.stop()
        gc.collect()

    @property
    def file(self) -> Path:
        """The file of the store."""
        return self.directory.absolute() / "state.sqlite"

    def open(self, **settings: Any) -> Store:
        """A store on the case's directory."""
        settings.setdefault("file_path", str(self.directory))
        store = KvStore(StoreConfig(**settings)).open(self.api, "state", self.stores)
        self._open.append(store)
        return store

    async def close(self, store: Store) -> None:
        """Close it now."""
        self._open.remove(store)
        await store.close()

    async def value(self, store: Store, key: str, bucket: Bucket = BUCKET) -> str | None:
        """What is stored under ``key``, as text."""
        found = store.get(bucket, key)
        if found is not None and not isinstance(found, Raw):
            found = await found
        return None if found is None else bytes(found).decode()

    def turn(self) -> Deferred[None]:
        """The end of this turn of the reactor."""
        over: Deferred[None] = Deferred()
        self.engine.clock.call_later(0, over.callback, None)
        return over
