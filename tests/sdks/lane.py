"""One release from its first connection to its end."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from tests.sdks import endings, observed, queued, scenario, signals, stored
from tests.sdks.engine import Engine, EngineFailed
from tests.sdks.install import Installed
from tests.sdks.program import Program
from tests.sdks.proxy import Proxy
from tests.sdks.raw import RawWorker
from tests.sdks.releases import Release
from tests.sdks.report import Report, close_engine, describe, quoted
from tests.sdks.stage import Check, Stage

CASE_LIMIT_S = 90.0
READY_LIMIT_S = 20.0
CHECKS: tuple[Check, ...] = (
    *scenario.CHECKS,
    *stored.CHECKS,
    *queued.CHECKS,
    *signals.CHECKS,
    *observed.CHECKS,
    *endings.CHECKS,
)


def telemetry_of(name: str) -> dict[str, str]:
    """A program's telemetry: whose it is, and sent soon (releases to 0.19 take 5 s)."""
    soon = ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BLRP_SCHEDULE_DELAY", "OTEL_LOGS_FLUSH_INTERVAL_MS")
    return {"OTEL_SERVICE_NAME": name, **dict.fromkeys(soon, "100")}


def checks_for(release: Release) -> list[Check]:
    return [each for each in CHECKS if each.needs is None or each.needs in release.can]


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
        telemetry_of(release.prefix),
    )
    theirs = installed[other.name]
    peer = Program(
        f"{other.name} (counterpart)",
        theirs.command(engine.url, peer_prefix),
        theirs.folder,
        folder / "peer.log",
        telemetry_of(peer_prefix),
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
