"""SQLite's complaints as errors with a code (docs/durability.md, "Refused writes")."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from iii.errors import Code
from iii.storage.store import StoreError

_PRIMARY = 0xFF

#: SQLite's primary result code → our code and what a person can do.
_KINDS: dict[int, tuple[Code, str]] = {
    sqlite3.SQLITE_FULL: (Code.STORE_FULL, "no space left: free some, or raise max_file_bytes"),
    sqlite3.SQLITE_READONLY: (Code.STORE_READ_ONLY, "it can't be written"),
    sqlite3.SQLITE_BUSY: (Code.STORE_LOCKED, "another program holds it locked"),
    sqlite3.SQLITE_LOCKED: (Code.STORE_LOCKED, "another program holds it locked"),
    sqlite3.SQLITE_CORRUPT: (
        Code.STORE_CORRUPT,
        "the file is damaged: restart the engine to have it moved aside, or restore a copy",
    ),
    sqlite3.SQLITE_NOTADB: (
        Code.STORE_CORRUPT,
        "the file is damaged: restart the engine to have it moved aside, or restore a copy",
    ),
}


def kind_of(error: BaseException) -> int:
    """SQLite's primary result code; 0 when it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return 0 if code is None else code & _PRIMARY


def is_corrupt(error: BaseException) -> bool:
    """Whether the file is to blame."""
    return kind_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def reason_of(error: BaseException) -> str:
    """What went wrong, for a person."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def store_error(path: Path, error: BaseException) -> StoreError:
    """``error`` of the file at ``path`` as callers get it."""
    if isinstance(error, StoreError):
        return error
    code, meaning = _KINDS.get(kind_of(error), (Code.STORE_ERROR, "it could not be used"))
    return StoreError(code, f"{path}: {meaning} ({reason_of(error)})")
