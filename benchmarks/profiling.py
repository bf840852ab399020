"""Where the engine's time goes: a suite with the engine under cProfile.

The figures of such a run mean nothing, because the profiler slows calls down and
leaves C code alone.  The order of the functions does.
"""

from __future__ import annotations

import pstats
import tempfile
from pathlib import Path

from benchmarks.processes import BenchmarkError
from benchmarks.suite import Plan, Side, Suite


def profile(suite: Suite, seconds: int, top: int) -> None:
    """Take each measure of the suite's main situation once and print the hottest functions."""
    for measure in suite.measures:
        with tempfile.TemporaryDirectory(prefix="iii-bench-profile-") as directory:
            file = Path(directory) / "profile"
            plan = Plan(1, seconds, python_options=("-m", "cProfile", "-o", str(file)))
            with suite.surroundings(), Side(suite.situations(plan)[0], plan) as side:
                suite.prepare(side)
                measure.take(side, seconds)
            if not file.exists():
                raise BenchmarkError("the engine ended without writing its profile")
            print(f"\n{suite.name}: {measure.name}\n")
            stats = pstats.Stats(str(file)).strip_dirs()
            stats.sort_stats("tottime").print_stats(top)
