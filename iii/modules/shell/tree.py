"""What of a directory tree is worth looking at."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from iii.modules.shell.globs import Globs


@dataclass(slots=True)
class Looked:
    """What was found in one directory.

    :ivar directories: to be looked at next
    :ivar files: those that count
    """

    directories: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def look(globs: Globs, directory: str) -> Looked:
    """Look into one directory; one that is gone or forbidden is empty.

    Links to directories are followed only where a glob names them, so a link to a
    directory above itself is no circle.
    """
    found = Looked([path for path in globs.steps(directory) if Path(path).is_dir()])
    if globs.is_above_all(directory):
        return found  # nothing else in it leads anywhere, and it may not be ours to read
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    if globs.matches(entry.path):
                        found.files.append(entry.path)
                elif entry.path not in found.directories and globs.leads(entry.path):
                    found.directories.append(entry.path)
    except OSError:
        # It has just gone, or we may not read it: then nothing in it is for us.
        return found
    return found


def nearest_existing(directory: str) -> str:
    """The directory itself, or the first one above it that is there."""
    path = Path(directory)
    return str(next(one for one in (path, *path.parents) if one.is_dir()))
