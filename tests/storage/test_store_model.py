"""Every store keeps the contract: in memory, in a file, in a file that reads uncached."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.trial.unittest import TestCase

from iii.storage.memory import MemoryStore
from iii.storage.store import Store
from tests.storage.cases import StoreCase
from tests.storage.contract import StoreContract


class InMemory(StoreContract, TestCase):
    """``MemoryStore``."""

    def make_store(self) -> Store:
        """StoreContract: a new one."""
        return MemoryStore()


class InFile(StoreContract, StoreCase):
    """``EntryStore``; a run's end is after a restart.

    :cvar settings: of the adapter
    """

    seeds = 8
    timeout = 60
    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.numbers = count()
        self.path = self.directory

    def make_store(self) -> Store:
        """StoreContract: one in a directory of its own."""
        self.path = self.directory / str(next(self.numbers))
        return self.open(file_path=str(self.path), **self.settings)

    async def reopen(self, store: Store) -> Store:
        """StoreContract: close it and open its file again."""
        await self.close(store)
        return self.open(file_path=str(self.path), **self.settings)


class Uncached(InFile):
    """Every read comes from the file."""

    settings = {"cache_bytes": 0}


class Synced(InFile):
    """Every write is on the disk when it is answered."""

    seeds = 2
    settings = {"durability": "fsync"}
