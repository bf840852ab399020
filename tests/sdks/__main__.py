"""``python -m tests.sdks``: install, run, report.

The last line is ``N passed, N failed, N skipped``, counting checks; the exit code
is 0 only when nothing failed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from tests.sdks.draining import DRAINING, Draining, run_draining
from tests.sdks.install import (
    Installed,
    InstallFailed,
    Missing,
    install,
    install_rust_quickstart,
    install_stream_clients,
)
from tests.sdks.lane import run_release
from tests.sdks.quickstarts import QUICKSTARTS, QuickStart, run_quickstart
from tests.sdks.releases import BY_NAME, RELEASES, Release, counterparts
from tests.sdks.report import Report, say, show
from tests.sdks.restricted import RESTRICTED, Restricted, run_restricted
from tests.sdks.secured import SECURED, Secured, run_secured
from tests.sdks.streamclients import (
    ENVIRONMENT,
    STREAM_CLIENTS,
    StreamClient,
    run_stream_client,
)

INSTALLS_AT_A_TIME = 2
LANES = 2
RUST_QUICKSTART = "rust"


@dataclass
class Plan:
    """What this run does."""

    releases: list[Release]
    stream_clients: list[StreamClient]
    restricted: list[Restricted]
    secured: list[Secured]
    draining: list[Draining]
    quickstarts: list[QuickStart]

    @property
    def needed(self) -> list[str]:
        """Names of the environments, counterparts included."""
        names = {each.name for each in self.releases}
        names |= {other.name for each in self.releases for other in counterparts(each)}
        names |= {ENVIRONMENT for _ in self.stream_clients}
        others = (*self.restricted, *self.secured, *self.draining)
        names |= {each.release.name for each in others}
        names |= {each.needs for each in self.quickstarts if each.needs}
        return sorted(names)


def plan(arguments: argparse.Namespace) -> Plan:
    wanted: list[str] = arguments.release

    def chosen(name: str) -> bool:
        return not wanted or any(fnmatch(name, pattern) for pattern in wanted)

    # One that is named exactly runs even without --soak.
    releases = [
        each
        for each in RELEASES
        if chosen(each.name) and (arguments.soak or not each.soak or each.name in wanted)
    ]
    clients = [each for each in STREAM_CLIENTS if chosen(each.name)]
    restricted = [each for each in RESTRICTED if chosen(each.name)]
    secured = [each for each in SECURED if chosen(each.name)]
    draining = [each for each in DRAINING if chosen(each.name)]
    quickstarts = [each for each in QUICKSTARTS if chosen(each.name)]
    return Plan(releases, clients, restricted, secured, draining, quickstarts)


async def install_all(names: Sequence[str]) -> dict[str, Installed | Missing | InstallFailed]:
    """Every environment of the run, two at a time."""
    gate = asyncio.Semaphore(INSTALLS_AT_A_TIME)

    async def one(name: str) -> Installed | Missing | InstallFailed:
        async with gate:
            began = time.monotonic()
            try:
                if name == RUST_QUICKSTART:
                    installed = Installed(await install_rust_quickstart(), ())
                elif name == ENVIRONMENT:
                    installed = await install_stream_clients()
                else:
                    installed = await install(BY_NAME[name])
            except (Missing, InstallFailed) as error:
                return error
            except TimeoutError:
                return InstallFailed(f"installing {name} took too long")
            seconds = time.monotonic() - began
            if seconds > 1:
                say(f"installed {name} in {seconds:.0f} s")
            return installed

    results = await asyncio.gather(*(one(name) for name in names))
    return dict(zip(names, results, strict=True))


def without_environment(
    name: str, checks: int, needed: Sequence[str], found: dict[str, object]
) -> Report | None:
    """The report of a case whose environment is not there, else None."""
    for each in needed:
        state = found[each]
        if isinstance(state, Missing):
            return Report(name, checks, skipped=str(state))
        if isinstance(state, InstallFailed):
            return Report(name, checks, failures=[(f"installing {each}", str(state))])
    return None


async def run_all(todo: Plan, folder: Path) -> list[Report]:
    found = await install_all(todo.needed)
    installed = {name: each for name, each in found.items() if isinstance(each, Installed)}
    gate = asyncio.Semaphore(LANES)

    async def finish(report: Report | None, run: Callable[[], Awaitable[Report]]) -> Report:
        if report is None:
            async with gate:
                report = await run()
        show(report)
        return report

    async def release_case(each: Release) -> Report:
        other = next(
            (peer for peer in counterparts(each) if not isinstance(found[peer.name], Missing)),
            each,
        )
        needed = (each.name, other.name)
        absent = without_environment(each.name, each.checks, needed, dict(found))
        place = folder / each.prefix
        return await finish(absent, partial(run_release, each, other, installed, place))

    async def client_case(each: StreamClient) -> Report:
        absent = without_environment(each.name, each.checks, (ENVIRONMENT,), dict(found))
        place = folder / each.name.replace(":", "-")
        return await finish(absent, partial(run_stream_client, each, installed, place))

    async def restricted_case(each: Restricted) -> Report:
        absent = without_environment(each.name, each.checks, (each.release.name,), dict(found))
        place = folder / each.name.replace(":", "-")
        return await finish(absent, partial(run_restricted, each, installed, place))

    async def secured_case(each: Secured) -> Report:
        absent = without_environment(each.name, each.checks, (each.release.name,), dict(found))
        place = folder / each.name.replace(":", "-")
        return await finish(absent, partial(run_secured, each, installed, place))

    async def draining_case(each: Draining) -> Report:
        absent = without_environment(each.name, each.checks, (each.release.name,), dict(found))
        place = folder / each.name.replace(":", "-")
        return await finish(absent, partial(run_draining, each, installed, place))

    async def quickstart_cases() -> list[Report]:
        """One after the other: they all use the same ports."""
        reports = []
        for each in todo.quickstarts:
            needed = (each.needs,) if each.needs else ()
            absent = without_environment(each.name, each.checks, needed, dict(found))
            place = folder / each.name.replace(":", "-")
            run = partial(run_quickstart, each, installed, place)
            reports.append(await finish(absent, run))
        return reports

    releases = asyncio.gather(*(release_case(each) for each in todo.releases))
    clients = asyncio.gather(*(client_case(each) for each in todo.stream_clients))
    restricted = asyncio.gather(*(restricted_case(each) for each in todo.restricted))
    secured = asyncio.gather(*(secured_case(each) for each in todo.secured))
    draining = asyncio.gather(*(draining_case(each) for each in todo.draining))
    quickstarts = asyncio.ensure_future(quickstart_cases())
    others = [*await clients, *await restricted, *await secured, *await draining]
    return [*await releases, *others, *await quickstarts]


async def install_only(todo: Plan) -> int:
    found = await install_all(todo.needed)
    bad = {name: each for name, each in found.items() if isinstance(each, InstallFailed)}
    for name, each in found.items():
        state = f"{type(each).__name__}: {each}" if isinstance(each, Exception) else each.folder
        say(f"{name}: {state}")
    return 1 if bad else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sdks", description=__doc__)
    parser.add_argument(
        "--release",
        action="append",
        default=[],
        metavar="NAME",
        help="only this case (npm:0.9.0, pypi:*, quickstart:node …); may be repeated",
    )
    parser.add_argument("--soak", action="store_true", help="also the releases kept for soak runs")
    parser.add_argument("--list", action="store_true", help="say what would run, and stop")
    parser.add_argument("--install-only", action="store_true", help="install, run nothing")
    return parser.parse_args(arguments)


def main() -> int:
    # Ended from outside, we still end what we started: as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = parse(sys.argv[1:])
    todo = plan(arguments)
    if not todo.needed and not todo.quickstarts:
        say(f"nothing is called {', '.join(arguments.release)}; try --list")
        return 1
    if arguments.list:
        for release in todo.releases:
            say(f"{release.name}  {release.checks} checks")
        for case in (*todo.stream_clients, *todo.restricted, *todo.secured, *todo.draining):
            say(f"{case.name}  {case.checks} checks")
        for quickstart in todo.quickstarts:
            say(f"{quickstart.name}  {quickstart.checks} checks  ({quickstart.what})")
        return 0
    if arguments.install_only:
        return asyncio.run(install_only(todo))
    with tempfile.TemporaryDirectory(prefix="iii-sdks-") as folder:
        try:
            reports = asyncio.run(run_all(todo, Path(folder)))
        except KeyboardInterrupt:
            say("interrupted")
            return 130
    passed = sum(each.passed for each in reports)
    failed = sum(each.failed + each.surplus for each in reports)
    skipped = sum(each.expected for each in reports if each.skipped)
    say(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
