"""Adds up what the test runners of ``.ci/run`` report.

    python .ci/summary.py [--ci] [--failed-steps N] trial.log sdks.log browser.log …

Each file is the output of one runner: trial's, which ends with ``PASSED (…)`` or
``FAILED (…)``, or one whose last line is ``N passed, N failed, N skipped``.  The only
line on stdout is the sum in that form, steps without tests that failed counted in.
The exit code is 0 only when every runner executed tests, nothing failed, and, with
``--ci``, no test was skipped because the machine lacks something: there a skip would
hide that nothing was tested.  What is skipped on purpose says so: its reason starts
with ``soak``.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_TRIAL = re.compile(r"^(?:PASSED|FAILED)(?: \(([^)]*)\))?$", re.MULTILINE)
_COUNTS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
_SKIP_BLOCK = re.compile(r"^\[SKIPPED\]\n(.*?)\n\n((?:[\w.]+\n)+)", re.MULTILINE | re.DOTALL)
_FAILED = ("failures", "errors", "unexpectedSuccesses")
_PASSED = ("successes", "expectedFailures")
ON_PURPOSE = "soak"


@dataclass(frozen=True)
class Result:
    """One runner's outcome, or several added up.

    :ivar missing: tests that were skipped because the machine lacks something
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    missing: int = 0

    def __add__(self, other: Result) -> Result:
        return Result(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.missing + other.missing,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read(output: str) -> Result | None:
    """The result in one runner's output; None when it reached no end."""
    if counts := _COUNTS.findall(output):
        passed, failed, skipped = map(int, counts[-1])
        return Result(passed, failed, skipped, skipped)
    ends = _TRIAL.findall(output)
    if not ends:
        return None
    pairs = (part.split("=") for part in ends[-1].split(", ") if "=" in part)
    number = {name: int(count) for name, count in pairs}
    skipped = number.get("skips", 0)
    on_purpose = sum(
        len(tests.split())
        for reason, tests in _SKIP_BLOCK.findall(output)
        if reason.startswith(ON_PURPOSE)
    )
    return Result(
        sum(number.get(name, 0) for name in _PASSED),
        sum(number.get(name, 0) for name in _FAILED),
        skipped,
        skipped - on_purpose,
    )


def total_of(files: list[Path], *, ci: bool) -> tuple[Result, list[str]]:
    """All results added up, and what keeps the run from being a success."""
    total, faults = Result(), []
    for path in files:
        result = read(path.read_text(errors="replace")) if path.exists() else None
        if result is None:
            faults.append(f"{path}: the runner did not reach its end")
        elif not result.passed and not result.failed:
            faults.append(f"{path}: no test was executed")
        elif ci and result.missing:
            faults.append(f"{path}: {result.missing} skipped for want of something")
        total += result or Result()
    return total, faults


def main(arguments: list[str]) -> int:
    """The script; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ci", action="store_true")
    parser.add_argument("--failed-steps", type=int, default=0)
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    total, faults = total_of(options.files, ci=options.ci)
    for fault in faults:
        print(fault, file=sys.stderr)
    # A line that reads like success must not stand at the end of a run that was none.
    total += Result(failed=len(faults) + options.failed_steps)
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
