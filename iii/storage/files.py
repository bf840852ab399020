"""The file of a store: found or made, locked, sound, at the right version.

A start never overwrites what it can't read: a file that is no database, is cut off or
fails SQLite's check is moved aside under a new name, with its write-ahead log, and the
store begins empty (docs/durability.md).  What stops the start instead: a directory that
can't be made or written, a file of a newer release, another engine on the same file.

The lock is an ``flock`` on ``<file>.lock``, which holds the owner's process id; it goes
with the process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import struct
from importlib import resources
from itertools import count
from pathlib import Path

from twisted.logger import Logger

from iii.errors import Code, StartError
from iii.storage.failures import is_corrupt, reason_of

log = Logger()

#: ``PRAGMA application_id`` of our files: "iii1".
APPLICATION_ID = 0x69696931
_NEW_PAGE_BYTES = 4096
#: Files up to this size are checked from end to end at every start (about 0.1 s).
CHECKED_WHOLE_BYTES = 32 * 1024 * 1024
BUSY_TIMEOUT_MS = 5000

_HEADER_BYTES = 100
_PAGE_SIZE_AT, _PAGE_COUNT_AT, _APPLICATION_AT = 16, 28, 68
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("", "-wal", "-shm", "-journal")


class Corrupt(Exception):
    """The file is not what it should be; the text says why."""


class StoreFile:
    """One SQLite file that belongs to this process until ``release``.

    :param path: the file; its directory is made when it is missing
    :param schema: name of a directory below ``iii/storage/schema``
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path.absolute()
        self._schema = schema
        self._lock: int | None = None

    @property
    def wal(self) -> Path:
        """The write-ahead log."""
        return Path(f"{self.path}-wal")

    def claim(self, moved_aside_as: str) -> None:
        """Make, lock, check and migrate the file.

        :param moved_aside_as: what a corrupt file's name ends with
        :raises StartError: it can't be used
        """
        self._make_directory()
        self._take_lock()
        try:
            try:
                self._check_and_migrate()
            except Corrupt as corrupt:
                self._move_aside(moved_aside_as, str(corrupt))
                self._check_and_migrate()
        except (OSError, sqlite3.Error, Corrupt) as error:
            self.release()
            text = f"{self.path} can't be used: {reason_of(error)}"
            raise StartError(Code.STORE_ERROR, text) from error
        except StartError:
            self.release()
            raise

    def connect(self) -> sqlite3.Connection:
        """A connection; its user sees to it that one thread at a time has it."""
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
        )
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        return connection

    def release(self) -> None:
        """Let others have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Parts of a start ------------------------------------------------------------------

    def _make_directory(self) -> None:
        directory = self.path.parent
        try:
            _make_and_sync(directory)
        except OSError as error:
            raise StartError(
                Code.STORE_ERROR,
                f"the data directory {directory} can't be made: {error.strerror}; "
                "choose another directory, or give this user the right to write there",
            ) from error

    def _take_lock(self) -> None:
        path = f"{self.path}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(
                Code.STORE_ERROR,
                f"the data directory {self.path.parent} can't be written: {error.strerror}; "
                "choose another directory, or give this user the right to write there",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise StartError(
                Code.STORE_LOCKED,
                f"{self.path} is in use by process {holder or 'unknown'}: one engine at a time; "
                "stop it, or give this one another directory with file_path",
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _check_and_migrate(self) -> None:
        """Open the file once with all checks.

        :raises Corrupt: it has to be moved aside
        """
        self._check_header()
        connection = self.connect()
        try:
            # By its pages: bytes of a file may be those of a first start that was killed, which
            # SQLite takes back now.
            fresh = not connection.execute("PRAGMA page_count").fetchone()[0]
            if fresh:
                connection.execute(f"PRAGMA page_size = {_NEW_PAGE_BYTES}")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # What a crash left in the log goes into the file, so that the file can be judged.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not fresh:
                self._check_header(folded=True)
                self._check_content(connection)
            self._migrate(connection)
        except sqlite3.DatabaseError as error:
            if is_corrupt(error):
                raise Corrupt(str(error)) from error
            raise
        finally:
            connection.close()

    def _check_header(self, *, folded: bool = False) -> None:
        """What SQLite would take for an empty file or silently begin anew.

        :param folded: the log was moved into the file
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == 0:
            if self.wal.exists() and self.wal.stat().st_size:
                raise Corrupt("it is empty, but its write-ahead log is not")
            return
        if not folded and self.wal.exists() and self.wal.stat().st_size:
            # Perhaps the power went while the header was taken from the log into the file:
            # SQLite repairs it from the log first.
            return
        with self.path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            raise Corrupt("it is no SQLite database")
        if struct.unpack_from(">I", header, _APPLICATION_AT)[0] != APPLICATION_ID:
            # Before anything is changed in it: it may be somebody's.
            raise Corrupt("it is a database, but not a store of iii")

    def _check_content(self, connection: sqlite3.Connection) -> None:
        with self.path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        page_bytes = struct.unpack_from(">H", header, _PAGE_SIZE_AT)[0]
        page_bytes = 65536 if page_bytes == 1 else page_bytes
        claimed = struct.unpack_from(">I", header, _PAGE_COUNT_AT)[0] * page_bytes
        size = self.path.stat().st_size
        if claimed > size:
            raise Corrupt(f"it has {size} bytes of {claimed}")
        if size <= CHECKED_WHOLE_BYTES:
            verdict: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise Corrupt(" ".join(verdict.split()))

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, one version per transaction."""
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        steps = sorted(
            (step for step in _schemas(self._schema).iterdir() if step.name.endswith(".sql")),
            key=lambda step: step.name,
        )
        if version > len(steps):
            raise StartError(
                Code.STORE_ERROR,
                f"{self.path} was written by a newer release (its schema is version {version}, "
                f"this release knows {len(steps)}): use that release, or another file_path",
            )
        for number, step in enumerate(steps[version:], version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{step.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;"
            )
        # Writes the file: what can't be written shall stop the start, not the first caller.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")

    def _move_aside(self, ending: str, reason: str) -> None:
        aside = self._free_name(f"{self.path}.{ending}")
        for suffix in _BESIDE:
            source = Path(f"{self.path}{suffix}")
            if source.exists():
                source.rename(f"{aside}{suffix}")
        log.error(
            "{path} can't be read ({reason}): it was moved to {aside}, and the store begins empty",
            path=str(self.path),
            aside=str(aside),
            reason=reason,
        )

    @staticmethod
    def _free_name(wanted: str) -> Path:
        """``wanted``, or the first of ``wanted-2``, ``wanted-3``, … that nothing has."""
        names = (f"{wanted}-{n}" if n > 1 else wanted for n in count(1))
        return Path(
            next(
                name
                for name in names
                if not any(Path(f"{name}{suffix}").exists() for suffix in _BESIDE)
            )
        )


def _make_and_sync(directory: Path) -> None:
    """Make a directory and what is missing above it, safe from a power cut."""
    if directory.is_dir():
        return
    if directory.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    parent = directory.parent
    _make_and_sync(parent)
    directory.mkdir(exist_ok=True)
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _schemas(name: str) -> Path:
    return Path(str(resources.files("iii.storage"))) / "schema" / name
