"""The adapter ``kv``: where an entry of the configuration keeps its values.

The keys are the original's (docs/durability.md).  Absent ``store_method`` means a
durable file below ``file_path``, which is a directory even when it is called
``state_store.db``; only ``in_memory`` is volatile.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from twisted.logger import Logger

from iii.checking import Fault, Kind, nearest
from iii.engine.module import ModuleApi
from iii.storage.database import Database
from iii.storage.entries import SCHEMA, EntryStore
from iii.storage.memory import MemoryStore
from iii.storage.store import Store

log = Logger()

IN_MEMORY, FILE_BASED = "in_memory", "file_based"
DEFAULT_CACHE_BYTES = 256 * 1024 * 1024

Durability = Literal["memory", "os", "fsync"]


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``config:`` of the adapter ``kv`` (docs/configuration.md).

    :ivar store_method: ``in_memory`` or ``file_based``
    :ivar file_path: a directory, relative to the working directory
    :ivar durability: when a write is answered: ``memory`` (no file), ``os`` (written to
        the file), ``fsync`` (on the disk)
    :ivar save_interval_ms: accepted; writes are never put off
    :ivar channel_size: accepted; there is no such buffer
    :ivar max_file_bytes: the file grows to this; then writes are refused as if the disk were full
    :ivar cache_bytes: how much of the file reads may keep in memory
    """

    store_method: str | None = None
    file_path: str | None = None
    durability: Durability | None = None
    save_interval_ms: Any = None
    channel_size: Any = None
    max_file_bytes: Annotated[int, msgspec.Meta(ge=65536)] | None = None
    cache_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None

    def faults(self) -> Iterator[Fault]:
        """Settings that contradict each other, or that nobody knows."""
        method, durability = self.store_method, self.durability
        if method not in (None, IN_MEMORY, FILE_BASED):
            known = nearest(method, (IN_MEMORY, FILE_BASED))
            text = (
                f"'{method}' is neither in_memory nor file_based: values are kept in a file{known}"
            )
            yield Fault(text, ("store_method",), Kind.UNKNOWN)
        if method == IN_MEMORY and durability not in (None, "memory"):
            text = f"store_method: in_memory and durability: {durability} exclude each other"
            yield Fault(text, ("durability",))
        if method == FILE_BASED and durability == "memory":
            text = "store_method: file_based and durability: memory exclude each other"
            yield Fault(text, ("durability",))

    @property
    def is_volatile(self) -> bool:
        """Whether values are to be kept in memory only."""
        return self.store_method == IN_MEMORY or self.durability == "memory"

    @property
    def names_no_method(self) -> bool:
        """Whether nobody said how values are to be kept."""
        return self.store_method is None and self.durability is None


class KvStore:
    """Opens the store of one module."""

    config = StoreConfig

    def __init__(self, settings: StoreConfig) -> None:
        self._settings = settings

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Store:
        """The store called ``name``; a file's path is entered in ``stores``.

        :raises StartError: the directory or file can't be used
        """
        settings = self._settings
        if settings.is_volatile:
            log.warn("{name} keeps its values in memory: they are gone at the next stop", name=name)
            return MemoryStore()
        database = open_database(engine, settings, name, SCHEMA, stores)
        cache_bytes = settings.cache_bytes
        return EntryStore(
            engine,
            database,
            cache_bytes=DEFAULT_CACHE_BYTES if cache_bytes is None else cache_bytes,
        )


def open_database(
    engine: ModuleApi,
    settings: StoreConfig,
    name: str,
    schema: str,
    stores: dict[str, str],
    *,
    durability: Durability = "os",
) -> Database:
    """The file called ``name`` of a store that is not volatile; entered in ``stores``.

    :param durability: what counts when the settings name none
    :raises StartError: the directory or file can't be used
    """
    directory = Path(settings.file_path or f"./data/{name}").absolute()
    database = Database(
        engine,
        directory / f"{name}.sqlite",
        name,
        schema,
        fsync=(settings.durability or durability) == "fsync",
        max_file_bytes=settings.max_file_bytes,
    )
    stores[name] = str(database.path)
    log.info("{name} keeps its values in {path}", name=name, path=str(database.path))
    _mention_old_files(directory)
    return database


def _mention_old_files(directory: Path) -> None:
    old = sum(1 for _ in directory.glob("*.bin"))
    if old:
        log.warn(
            "{directory} has {count} .bin file(s) of the original engine: they are left alone "
            "and not read",
            directory=str(directory),
            count=old,
        )
