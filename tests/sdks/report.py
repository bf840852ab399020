"""What came of one case: its checks held one after the other, counted, shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.sdks.engine import Engine, EngineFailed
from tests.sdks.program import Program

CHECK_LIMIT_S = 30.0
QUOTED_LINES = 40
OWN_FILES = (
    "scenario.py",
    "stored.py",
    "queued.py",
    "signals.py",
    "listening.py",
    "observed.py",
    "endings.py",
    "quickstarts.py",
    "streamclients.py",
    "restricted.py",
    "secured.py",
    "draining.py",
    "board.py",
    "stage.py",
)


@dataclass
class Report:
    """What came of one case."""

    name: str
    expected: int
    passed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    skipped: str = ""
    evidence: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Checks that failed, and those that should have run and did not."""
        if self.skipped:
            return 0
        return max(len(self.failures), self.expected - self.passed)

    @property
    def surplus(self) -> int:
        return max(self.passed + len(self.failures) - self.expected, 0)

    async def hold(self, name: str, run: Callable[[], Awaitable[None]]) -> bool:
        """Run one check and note how it went."""
        try:
            async with asyncio.timeout(CHECK_LIMIT_S):
                await run()
        except TimeoutError:
            self.failures.append((name, f"no answer in time (limit {CHECK_LIMIT_S:.0f} s)"))
        except Exception as error:
            # Whatever a check meets is its result; the frame says where.
            self.failures.append((name, f"{describe(error)}\n    at {place(error)}"))
        else:
            self.passed += 1
            return True
        return False


def describe(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"


def place(error: Exception) -> str:
    """Where in the scenario it went wrong."""
    lines: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if Path(code.co_filename).name in OWN_FILES:
            lines.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return " > ".join(lines) or "(elsewhere)"


def tail(text: str, lines: int = QUOTED_LINES) -> str:
    return "\n".join(f"    | {line[:300]}" for line in text.splitlines()[-lines:]) or "    | (none)"


def quoted(engine: Engine, programs: Sequence[Program], frames: Sequence[str]) -> str:
    """The outputs of everybody involved, for the report of a failure."""
    parts = [f"  output of {program.name}:\n{tail(program.output)}" for program in programs]
    parts.append(f"  engine log:\n{tail(engine.log)}")
    if frames:
        parts.append("  last frames of the raw worker:\n" + tail("\n".join(frames)))
    return "\n".join(parts)


async def close_engine(engine: Engine, report: Report) -> None:
    try:
        code = await engine.stop()
    except EngineFailed as error:
        report.failures.append(("stopping the engine", str(error)))
    else:
        if code != 0:
            report.failures.append(("stopping the engine", f"exit code {code}"))


def say(text: str) -> None:
    print(text, flush=True)


def show(report: Report) -> None:
    if report.skipped:
        say(f"SKIP {report.name}: {report.skipped} ({report.expected} checks)")
        return
    good = not report.failed and not report.surplus
    count = f"{report.passed}/{report.expected} checks"
    say(f"{'ok  ' if good else 'FAIL'} {report.name}: {count}, {report.seconds:.1f} s")
    for name, what in report.failures:
        say(f"  FAILED {name}: {what}")
    missing = report.expected - report.passed - len(report.failures)
    if missing > 0:
        say(f"  {missing} of {report.expected} checks did not run")
    if report.surplus:
        say(f"  {report.surplus} more checks ran than releases.py expects")
    if report.evidence:
        say(report.evidence)
