"""Another revision of this repository, as a program to measure against."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import REPOSITORY, BenchmarkError, Program


def _git(*arguments: str, repository: Path) -> None:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"git {' '.join(arguments)}: {done.stderr.strip()}")


@contextmanager
def checked_out(revision: str, repository: Path = REPOSITORY) -> Iterator[Program]:
    """The revision's engine, from a git worktree that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="iii-bench-tree-") as directory:
        tree = Path(directory) / "tree"
        _git("worktree", "add", "--detach", str(tree), revision, repository=repository)
        try:
            yield Program(f"engine at {revision}", tree)
        finally:
            _git("worktree", "remove", "--force", str(tree), repository=repository)
