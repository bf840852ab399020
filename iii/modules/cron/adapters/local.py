"""The adapter ``kv`` (``local``): one engine, which gets every claim.

Last runs are kept in a store like the state's.  Only triggers with ``catch_up`` need
one, so it is opened for the first of them; one that exists is opened at once, so that a
file that can't be used stops the start rather than a worker's registration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from iii.engine.module import ModuleApi
from iii.modules.cron.adapters.claims import Again, Claim
from iii.storage.kvstore import KvStore, StoreConfig
from iii.storage.store import Change, Store

log = Logger()

NAME = "cron"
RUNS = ("runs", "")


class LocalConfig(StoreConfig, frozen=True, kw_only=True):
    """``config:`` of the adapter: a store's, and two keys of old configurations.

    :ivar lock_ttl_ms: accepted; one engine has nobody to lock out
    :ivar lock_index: accepted
    """

    lock_ttl_ms: Any = None
    lock_index: Any = None


class LocalClaims:
    """``Claims`` of a single engine."""

    config = LocalConfig

    def __init__(self, settings: LocalConfig) -> None:
        self._settings = settings
        self._engine: ModuleApi | None = None
        self._stores: dict[str, str] = {}
        self._store: Store | None = None

    def start(self, engine: ModuleApi, stores: dict[str, str], again: Again) -> None:
        """Claims: open the store when there is one."""
        self._engine = engine
        self._stores = stores
        log.info(
            "cron: locks are of this process; with several engines every one of them runs the jobs"
        )
        directory = Path(self._settings.file_path or f"./data/{NAME}")
        if self._settings.store_method != "in_memory" and (directory / f"{NAME}.sqlite").exists():
            self._opened()

    def take(self, claim: Claim) -> bool:
        """Claims: nobody else wants it."""
        return True

    def release(self, claim: Claim, *, ran: bool = True) -> None:
        """Claims: nothing is held."""

    def recall(self, key: str) -> Deferred[int | None]:
        """Claims: from the store."""
        found = self._opened().get(RUNS, key)
        waiting = found if isinstance(found, Deferred) else succeed(found)
        return waiting.addCallback(_tick)

    def remember(self, key: str, tick: int) -> Deferred[None]:
        """Claims: into the store."""
        value = Raw(msgspec.json.encode(tick))
        return self._opened().set(RUNS, key, value).addCallback(_kept)

    def stop(self) -> Deferred[None] | None:
        """Claims: finish the writes."""
        return None if self._store is None else self._store.close()

    def _opened(self) -> Store:
        if self._store is None:
            assert self._engine is not None
            self._store = KvStore(self._settings).open(self._engine, NAME, self._stores)
        return self._store


def _tick(value: Raw | None) -> int | None:
    return None if value is None else msgspec.json.decode(value, type=int)


def _kept(change: Change) -> None:
    return None
