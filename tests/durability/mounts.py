"""Small file systems for a test; the test is skipped where that is not allowed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from unittest import SkipTest, TestCase


def tmpfs(case: TestCase, directory: Path, size_bytes: int) -> None:
    """A file system of ``size_bytes`` at ``directory`` until the test ends."""
    directory.mkdir(parents=True)
    options = f"size={size_bytes}"
    command = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SkipTest(f"mount is missing: {error}") from error
    if done.returncode:
        raise SkipTest(f"mounting needs root and CAP_SYS_ADMIN: {done.stderr.strip()}")
    # After the engine has been killed, which was asked for later and so is done earlier.
    case.addCleanup(subprocess.run, ("umount", str(directory)), check=True)
