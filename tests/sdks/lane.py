"""One release from its first connection to its end, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.sdks.engine import Engine, EngineFailed
from tests.sdks.install import Installed
from tests.sdks.program import Program
from tests.sdks.proxy import Proxy
from tests.sdks.raw import RawWorker
from tests.sdks.releases import Release
from tests.sdks.scenario import checks_for
from tests.sdks.stage import Stage

CASE_LIMIT_S = 60.0
CHECK_LIMIT_S = 30.0
READY_LIMIT_S = 20.0
QUOTED_LINES = 40


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
        if Path(code.co_filename).name in ("scenario.py", "quickstarts.py", "stage.py"):
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


async def run_release(
    release: Release, other: Release, installed: dict[str, Installed], folder: Path
) -> Report:
    """Start engine, program and counterpart; hold every check of the scenario."""
    report = Report(release.name, release.checks)
    began = time.monotonic()
    peer_prefix = f"peer-{other.prefix}"
    engine = Engine(folder)
    proxy = Proxy(engine.ports.worker)
    await proxy.resume()
    own = installed[release.name]
    program = Program(
        release.name,
        own.command(proxy.url, release.prefix),
        own.folder,
        folder / "program.log",
    )
    theirs = installed[other.name]
    peer = Program(
        f"{other.name} (counterpart)",
        theirs.command(engine.url, peer_prefix),
        theirs.folder,
        folder / "peer.log",
    )
    stage: Stage | None = None
    try:
        async with asyncio.timeout(CASE_LIMIT_S):
            await engine.start()
            await peer.start(engine.url)
            await program.start(proxy.url)
            await peer.says("program ready", READY_LIMIT_S)
            await program.says("program ready", READY_LIMIT_S)
            raw = await RawWorker.open(engine.url)
            stage = Stage(release, engine, program, proxy, peer, peer_prefix, raw)
            await stage.raw.close()
            await stage.connect_raw()
            for each in checks_for(release):
                await report.hold(each.name, partial(each.run, stage))
    except TimeoutError:
        report.failures.append(("the whole scenario", f"not over within {CASE_LIMIT_S:.0f} s"))
    except (AssertionError, EngineFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        frames = list(stage.raw.frames) if stage else []
        if report.failed or report.surplus:
            report.evidence = quoted(engine, (program, peer), frames)
        for started in (program, peer):
            await started.stop()
        proxy.stop()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report


async def close_engine(engine: Engine, report: Report) -> None:
    try:
        code = await engine.stop()
    except EngineFailed as error:
        report.failures.append(("stopping the engine", str(error)))
    else:
        if code != 0:
            report.failures.append(("stopping the engine", f"exit code {code}"))
