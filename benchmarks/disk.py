"""How fast the disk is: what a commit of one small write costs at least."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

BLOCK = b"x" * 4096
PROBE_S = 1.0


def fdatasyncs_per_s(directory: Path, seconds: float = PROBE_S) -> float:
    """Append 4 KiB to a file in ``directory`` and wait for the disk, again and again."""
    path = directory / "fdatasync-probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        count, started = 0, perf_counter()
        while perf_counter() - started < seconds:
            os.write(descriptor, BLOCK)
            os.fdatasync(descriptor)
            count += 1
        return count / (perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
