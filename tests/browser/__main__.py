"""``python -m tests.browser``: the live board in two tabs of Chromium.

The last line is ``N passed, N failed, N skipped``, counting checks; the exit code is 0
only when nothing failed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.browser.board import CHECKS, Board
from tests.browser.webdriver import BrowserFailed, chromium, missing
from tests.sdks.engine import CHECKOUT, Engine, EngineFailed
from tests.sdks.program import Program
from tests.sdks.raw import RawWorker
from tests.sdks.report import Report, close_engine, describe, quoted, say, show, tail

NAME = "browser:live-board"
LIMIT_S = 60.0
READY_LIMIT_S = 15.0


async def run(folder: Path) -> Report:
    """Start everything, hold every check, end everything."""
    report = Report(NAME, CHECKS)
    began = time.monotonic()
    engine = Engine(folder)
    command = (sys.executable, "-B", str(CHECKOUT / "examples" / "live-board" / "worker.py"))
    environment = {"PYTHONPATH": str(CHECKOUT)}
    worker = Program("the board's worker", command, folder, folder / "worker.log", environment)
    board: Board | None = None
    driver_log = folder / "chromedriver.log"
    try:
        async with asyncio.timeout(LIMIT_S):
            await engine.start()
            await worker.start(engine.url)
            await worker.says("The board is at", READY_LIMIT_S)
            async with chromium(driver_log) as browser:
                tabs = [await browser.first_tab(), await browser.new_tab()]
                board = Board(engine, worker, await RawWorker.open(engine.url), tabs)
                await board.run(report)
    except TimeoutError:
        report.failures.append(("the whole scenario", f"not over within {LIMIT_S:.0f} s"))
    except (AssertionError, EngineFailed, BrowserFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        if report.failed or report.surplus:
            frames = list(board.raw.frames) if board else []
            report.evidence = quoted(engine, (worker,), frames)
            if driver_log.exists():
                report.evidence += f"\n  chromedriver:\n{tail(driver_log.read_text())}"
        await worker.stop()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report


def main() -> int:
    # Ended from outside, we still end what we started: as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if absent := missing():
        report = Report(NAME, CHECKS, skipped=absent)
    else:
        with tempfile.TemporaryDirectory(prefix="iii-browser-") as folder:
            try:
                report = asyncio.run(run(Path(folder)))
            except KeyboardInterrupt:
                say("interrupted")
                return 130
    show(report)
    failed = report.failed + report.surplus
    skipped = report.expected if report.skipped else 0
    say(f"{report.passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
