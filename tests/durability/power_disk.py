"""What is left of files when the power goes.

A ``Disk`` follows the notes of a ``Recorder``.  What was synced is there; of everything
since, any part may be: whole writes, the sectors of a write one by one, nothing, or
rubbish where a sector was under way.  A file system keeps the order of names only: of
files made and removed since the last sync of the directory, the first few count.
"""

from __future__ import annotations

from random import Random

from tests.durability.power_vfs import (
    Created,
    Deleted,
    DirectorySynced,
    Note,
    Synced,
    Truncated,
    Written,
)

SECTOR_BYTES = 512

Change = Written | Truncated


class _File:
    """One file.

    :ivar kept: what is on the disk for sure
    :ivar open: what may be, with its position in the notes
    """

    def __init__(self) -> None:
        self.kept = bytearray()
        self.open: list[tuple[int, Change]] = []

    def sync(self, begin: int) -> None:
        """What happened before ``begin`` is on the disk."""
        while self.open and self.open[0][0] < begin:
            _apply(self.kept, self.open.pop(0)[1])


class Disk:
    """The files of one directory, as far as they were followed."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._open_names: list[tuple[int, Created | Deleted]] = []

    def follow(self, position: int, note: Note) -> None:
        """``note`` happened."""
        if isinstance(note, Created):
            self._files[note.file] = _File()
        if isinstance(note, Created | Deleted):
            self._open_names.append((position, note))
        elif isinstance(note, Written | Truncated):
            self._files[note.file].open.append((position, note))
        elif isinstance(note, Synced):
            self._files[note.file].sync(note.begin)
        elif isinstance(note, DirectorySynced):
            while self._open_names and self._open_names[0][0] < note.begin:
                _rename(self._names, self._open_names.pop(0)[1])

    def cut(self, chance: Random) -> tuple[dict[str, bytes], str]:
        """The files that one cut of the power leaves; how much of what was open, in words."""
        left = {}
        names = dict(self._names)
        lasting = chance.randint(0, len(self._open_names))
        for _, note in self._open_names[:lasting]:
            _rename(names, note)
        told = [f"{lasting} of {len(self._open_names)} names"]
        for name, number in names.items():
            file = self._files[number]
            how = chance.choice([*_WAYS])
            data = bytearray(file.kept)
            _WAYS[how](data, [change for _, change in file.open], chance)
            left[name] = bytes(data)
            told.append(f"{name}: {how} of {len(file.open)} writes")
        return left, ", ".join(told)


def _rename(names: dict[str, int], note: Created | Deleted) -> None:
    if isinstance(note, Created):
        names[note.name] = note.file
    else:
        names.pop(note.name, None)


def _apply(data: bytearray, change: Change) -> None:
    if isinstance(change, Truncated):
        del data[change.size :]
        data.extend(bytes(change.size - len(data)))
    else:
        _put(data, change.offset, change.data)


def _put(data: bytearray, offset: int, new: bytes) -> None:
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(new)] = new


# Ways in which unsynced writes reach the disk -------------------------------------------


def _nothing(data: bytearray, changes: list[Change], chance: Random) -> None:
    """Not at all."""


def _everything(data: bytearray, changes: list[Change], chance: Random) -> None:
    """As if the power had stayed."""
    for change in changes:
        _apply(data, change)


def _beginning(data: bytearray, changes: list[Change], chance: Random) -> None:
    """In order, the last one torn."""
    count = chance.randint(0, len(changes))
    for change in changes[:count]:
        _apply(data, change)
    if count < len(changes):
        change = changes[count]
        if isinstance(change, Written):
            sectors = _sectors(change)
            for offset, part in sectors[: chance.randint(0, len(sectors))]:
                _put(data, offset, part)


def _any(data: bytearray, changes: list[Change], chance: Random) -> None:
    """Some of them."""
    for change in changes:
        if chance.random() < 0.5:
            _apply(data, change)


def _all_but_one(data: bytearray, changes: list[Change], chance: Random) -> None:
    """One is missing."""
    missing = chance.randrange(len(changes)) if changes else -1
    for number, change in enumerate(changes):
        if number != missing:
            _apply(data, change)


def _torn(data: bytearray, changes: list[Change], chance: Random) -> None:
    """Some sectors of each, a few as rubbish."""
    for change in changes:
        if isinstance(change, Truncated):
            if chance.random() < 0.5:
                _apply(data, change)
            continue
        for offset, part in _sectors(change):
            fate = chance.random()
            if fate < 0.5:
                _put(data, offset, part)
            elif fate < 0.55:
                _put(data, offset, chance.randbytes(len(part)))


_WAYS = {
    "nothing": _nothing,
    "everything": _everything,
    "the beginning": _beginning,
    "some": _any,
    "all but one": _all_but_one,
    "torn parts": _torn,
}


def _sectors(change: Written) -> list[tuple[int, bytes]]:
    parts = []
    offset, end = change.offset, change.offset + len(change.data)
    while offset < end:
        border = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        start = offset - change.offset
        parts.append((offset, change.data[start : start + border - offset]))
        offset = border
    return parts
