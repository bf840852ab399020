"""What SQLite writes and syncs, in order: a VFS below the standard library's ``sqlite3``.

``Recorder`` makes itself the default VFS of the SQLite library that ``sqlite3`` is linked
to, so the code under test is used as it is.  Every call goes on to the real VFS; opening,
writing, truncating, syncing and deleting files is noted as well, with what the test says
in between (``mark``).  ``power_disk`` makes of these notes what is left after a cut.

A write is noted when it is done and a sync with the position at which it *began*: what was
written meanwhile is not covered by it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import SkipTest

# The layout of sqlite3_vfs and sqlite3_io_methods, which SQLite never changes.
# SQLite keeps names it hands over, so they go on as pointers.
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_SET_SYSTEM_CALL = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_OPEN_DIRECTORY = CFUNCTYPE(c_int, c_char_p, POINTER(c_int))
_NAME = b"iii-power"


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", c_int),
        ("file_bytes", c_int),
        ("max_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("app_data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("others", c_void_p * 11),
        ("set_system_call", c_void_p),
        ("get_system_call", c_void_p),
        ("next_system_call", c_void_p),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("others", c_void_p * 13),
    )


@dataclass(frozen=True, slots=True)
class Created:
    """``name`` leads to a new, empty file from now on."""

    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """``name`` leads nowhere."""

    name: str


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes of a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A file's new size."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """What happened to a file before ``begin`` is on the disk."""

    file: int
    begin: int


@dataclass(frozen=True, slots=True)
class DirectorySynced:
    """Which names there are is on the disk, as it was before ``begin``."""

    begin: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The test's own note."""

    what: Any


#: A connection that is closed late still calls its recorder.
_stopped: list[Recorder] = []

Note = Created | Deleted | Written | Truncated | Synced | DirectorySynced | Mark


@dataclass
class _Library:
    """The SQLite that ``sqlite3`` uses."""

    find: Callable[..., Any]
    register: Callable[..., Any]
    unregister: Callable[..., Any]

    @classmethod
    def load(cls) -> _Library:
        import _sqlite3

        try:
            # Its own names, or those of the library that it is linked to.
            library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
            find, register = library.sqlite3_vfs_find, library.sqlite3_vfs_register
            unregister = library.sqlite3_vfs_unregister
        except (OSError, AttributeError) as error:
            raise SkipTest(f"the SQLite of this Python can't be reached: {error}") from error
        find.restype, find.argtypes = c_void_p, (c_char_p,)
        register.restype, register.argtypes = c_int, (c_void_p, c_int)
        unregister.restype, unregister.argtypes = c_int, (c_void_p,)
        return cls(find, register, unregister)


class Recorder:
    """The default VFS between ``start`` and ``stop``.

    :param directory: only files directly in it are noted
    :ivar notes: what happened, in order
    :ivar recording: off: nothing is noted, and nothing is synced either
    :ivar held: while it is there and not set, whoever writes waits
    """

    def __init__(self, directory: Path) -> None:
        self._library = _Library.load()
        self._directory = directory.absolute()
        self._below_address: int = self._library.find(None)
        self._below = ctypes.cast(self._below_address, POINTER(_Vfs)).contents
        if self._below.version < 3:
            raise SkipTest("this SQLite has no hooks for system calls")
        self.notes: list[Note] = []
        self.recording = True
        self.held: threading.Event | None = None
        self._names: dict[Path, int] = {}
        self._numbers = 0
        self._files: dict[int, int] = {}
        self._own: dict[int, _Methods] = {}
        self._here = threading.local()
        self._callbacks: dict[str, Any] = {}
        self._vfs = self._make_vfs()
        self._fdatasync = os.fdatasync

    def start(self) -> None:
        """Be the default VFS."""
        self._library.register(ctypes.addressof(self._vfs), 1)
        self._set_system_call(ctypes.cast(self._callbacks["directory"], c_void_p))

    def stop(self) -> None:
        """Be it no longer; connections that are open go on."""
        self._set_system_call(None)
        self._library.unregister(ctypes.addressof(self._vfs))
        self._library.register(self._below_address, 1)
        self.notes.clear()
        _stopped.append(self)

    def mark(self, what: Any) -> None:
        """Note something."""
        self.notes.append(Mark(what))

    def fdatasync(self, descriptor: int) -> None:
        """In place of ``os.fdatasync``."""
        begin = len(self.notes)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._fdatasync(descriptor)
        if path in self._names:
            self.notes.append(Synced(self._names[path], begin))

    # Building --------------------------------------------------------------------------

    def _make_vfs(self) -> _Vfs:
        vfs = _Vfs()
        ctypes.memmove(ctypes.addressof(vfs), self._below_address, ctypes.sizeof(_Vfs))
        self._real_open = _OPEN(self._below.open)
        self._real_delete = _DELETE(self._below.delete)
        kept = self._callbacks
        kept["open"], kept["delete"] = _OPEN(self._open), _DELETE(self._delete)
        kept["directory"] = _OPEN_DIRECTORY(self._open_directory)
        vfs.name = _NAME
        vfs.open = ctypes.cast(kept["open"], c_void_p)
        vfs.delete = ctypes.cast(kept["delete"], c_void_p)
        get = CFUNCTYPE(c_void_p, c_void_p, c_char_p)(self._below.get_system_call)
        self._real_open_directory = _OPEN_DIRECTORY(get(self._below_address, b"openDirectory"))
        return vfs

    def _set_system_call(self, call: c_void_p | None) -> None:
        set_call = _SET_SYSTEM_CALL(self._below.set_system_call)
        set_call(self._below_address, b"openDirectory", call)

    def _watched(self, methods_address: int) -> _Methods:
        """The methods of a file, with ours in front of those that change it."""
        own = self._own.get(methods_address)
        if own is None:
            own = _Methods()
            ctypes.memmove(ctypes.addressof(own), methods_address, ctypes.sizeof(_Methods))
            for name, type_ in (
                ("close", _CLOSE),
                ("write", _WRITE),
                ("truncate", _TRUNCATE),
                ("sync", _SYNC),
            ):
                real = type_(getattr(own, name))
                callback = type_(getattr(self, f"_{name}")(real))
                self._callbacks[f"{name} {methods_address}"] = (real, callback)
                setattr(own, name, ctypes.cast(callback, c_void_p))
            self._own[methods_address] = own
        return own

    # In front of the VFS ---------------------------------------------------------------

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = _path(name)
        new = self._is_watched(path) and not path.exists()
        status = self._real_open(self._below_address, name, file, flags, out)
        if status == 0 and self._is_watched(path):
            if new:
                self._numbers += 1
                self._names[path] = self._numbers
                self.notes.append(Created(path.name, self._numbers))
            self._files[file] = self._names[path]
        if status == 0:
            methods = ctypes.cast(file, POINTER(c_void_p))
            methods[0] = ctypes.addressof(self._watched(methods[0]))
        return int(status)

    def _is_watched(self, path: Path) -> bool:
        # The index of the log is made anew by whoever opens it.
        return self.recording and path.parent == self._directory and path.suffix[-4:] != "-shm"

    def _delete(self, vfs: int, name: int, sync_directory: int) -> int:
        path = _path(name)
        self._here.directory = None
        status = self._real_delete(self._below_address, name, sync_directory)
        if status == 0 and self._names.pop(path, None) is not None:
            self.notes.append(Deleted(path.name))
            if self._here.directory is not None:
                self.notes.append(DirectorySynced(len(self.notes)))
        return int(status)

    def _open_directory(self, name: bytes, out: Any) -> int:
        if Path(os.fsdecode(name)).parent == self._directory:
            self._here.directory = len(self.notes)
        return int(self._real_open_directory(name, out))

    def _close(self, real: Any) -> Callable[..., int]:
        def close(file: int) -> int:
            self._files.pop(file, None)
            return int(real(file))

        return close

    def _write(self, real: Any) -> Callable[..., int]:
        def write(file: int, data: int, size: int, offset: int) -> int:
            if self.held is not None:
                self.held.wait()
            status = real(file, data, size, offset)
            number = self._files.get(file)
            if status == 0 and number is not None:
                self.notes.append(Written(number, offset, ctypes.string_at(data, size)))
            return int(status)

        return write

    def _truncate(self, real: Any) -> Callable[..., int]:
        def truncate(file: int, size: int) -> int:
            status = real(file, size)
            number = self._files.get(file)
            if status == 0 and number is not None:
                self.notes.append(Truncated(number, size))
            return int(status)

        return truncate

    def _sync(self, real: Any) -> Callable[..., int]:
        def sync(file: int, flags: int) -> int:
            if not self.recording:
                return 0
            begin = len(self.notes)
            self._here.directory = None
            status = real(file, flags)
            number = self._files.get(file)
            if status == 0 and number is not None:
                self.notes.append(Synced(number, begin))
                if self._here.directory is not None:
                    self.notes.append(DirectorySynced(self._here.directory))
            return int(status)

        return sync


def _path(name: int | None) -> Path:
    return Path(os.fsdecode(ctypes.string_at(name))) if name is not None else Path()
