"""The quick starts of the mission documents, unchanged, on the ports they name.

The texts lie in ``quickstarts/`` exactly as published; the engine runs on the minimal
configuration of the same README.  They name 49134 and 3111, so these ports have to be
free: if they are not, that is a failure with the reason, not a skip.

The Node programs of our own pages (``docs/*.md``, blocks with ``<!-- file: NAME.mjs -->``)
are run here as well, with a published SDK.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.sdks import web
from tests.sdks.engine import CHECKOUT, Engine, EngineFailed, Ports, is_free
from tests.sdks.install import HERE, Installed
from tests.sdks.program import Program
from tests.sdks.raw import RawWorker
from tests.sdks.report import Report, close_engine, describe, quoted
from tests.sdks.stage import eventually, same

TEXTS = HERE / "quickstarts"
PORTS = Ports(worker=49134, http=3111)
QUICKSTART_LIMIT_S = 25.0
PORTS_WAIT_S = 75.0
COMPLETE_EXAMPLE: tuple[tuple[str, str, object], ...] = (
    ("GET", "/greet?name=Ada", {"greeting": "Hello, Ada!", "saved": True}),
    ("GET", "/greetings/Ada", {"greeting": "Hello, Ada!"}),
    ("GET", "/greetings", {"greetings": {"Ada": "Hello, Ada!"}}),
    ("DELETE", "/greetings/Ada", {"deleted": True}),
    ("GET", "/greetings", {"greetings": {}}),
)


@dataclass(frozen=True)
class QuickStart:
    """One published text: how it is run and what must then be true."""

    name: str
    checks: int
    what: str
    run: Callable[[Engine, Program, Report], Awaitable[None]]
    needs: str


async def add_is_live(engine: Engine, program: Program, report: Report) -> None:
    """``POST /add`` and the direct call, and neither once the program has ended."""

    async def over_http() -> None:
        async def live() -> bool:
            reply = await web.request(PORTS.http, "POST", "/add", json_body={"a": 5, "b": 3})
            return (reply.status, reply.json) == (200, {"sum": 8})

        await eventually(live, "POST /add answers 8")

    async def called() -> None:
        raw = await RawWorker.open(engine.url)
        same(await raw.call("math.add", {"a": 40, "b": 2}), {"sum": 42})
        await raw.close()

    async def gone() -> None:
        await program.stop()

        async def unknown() -> bool:
            reply = await web.request(PORTS.http, "POST", "/add", json_body={"a": 5, "b": 3})
            return reply.status == 404

        await eventually(unknown, "POST /add answers 404 after the program has ended")

    await report.hold("POST /add answers", over_http)
    await report.hold("math.add can be called", called)
    await report.hold("nothing stays behind", gone)


async def complete_example(engine: Engine, program: Program, report: Report) -> None:
    """The requests its own output lists, in an order that shows what they do."""

    async def ready() -> bool:
        reply = await web.request(PORTS.http, "GET", "/greetings")
        return reply.status == 200 and reply.json == {"greetings": {}}

    async def starts() -> None:
        await eventually(ready, "GET /greetings answers")

    await report.hold("it starts with no greetings", starts)
    for method, path, expected in COMPLETE_EXAMPLE:

        async def exchange(
            method: str = method, path: str = path, expected: object = expected
        ) -> None:
            reply = await web.request(PORTS.http, method, path)
            same((reply.status, reply.json), (200, expected))

        await report.hold(f"{method} {path}", exchange)


async def ends_well(engine: Engine, program: Program, report: Report) -> None:
    """The Rust text registers and returns, so all there is to see is that it went well."""

    async def ended() -> None:
        same(await program.ends(QUICKSTART_LIMIT_S), 0)

    await report.hold("it runs to its end without an error", ended)


async def ticks(engine: Engine, program: Program, report: Report) -> None:
    """It runs until it is ended, and prints a line for each second."""

    async def printed() -> None:
        line = r"\+00:00 [0-9a-f-]{36}\n"
        await program.says(f"{line}(.*{line})", QUICKSTART_LIMIT_S)

    await report.hold("it prints the runs of its schedule", printed)


DOCUMENTED = "npm:0.22.1"
"""The SDK that the Node programs of our pages are run with."""


def documented(page: str) -> str:
    """The Node program of ``docs/<page>.md``."""
    text = (CHECKOUT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(
        r"<!-- file: \S+\.mjs -->\n```js\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 1, f"docs/{page}.md has {len(blocks)} Node programs"
    program: str = blocks[0]
    return program


PAGES = {
    "state": ends_well,
    "streams": ends_well,
    "queues": ends_well,
    "pubsub": ends_well,
    "cron": ticks,
}

QUICKSTARTS = [
    *(
        QuickStart(f"docs:{page}", 1, f"docs/{page}.md, npm iii-sdk", run, DOCUMENTED)
        for page, run in PAGES.items()
    ),
    QuickStart("quickstart:node", 3, "README, npm iii-sdk 0.2.1", add_is_live, "npm:0.2.1"),
    QuickStart("quickstart:python", 3, "README, our client", add_is_live, ""),
    QuickStart("quickstart:python-docs", 3, "documentation, our client", add_is_live, ""),
    QuickStart("quickstart:python-example", 6, "complete example", complete_example, ""),
    QuickStart("quickstart:rust", 1, "README, crate 0.2.1", ends_well, "rust"),
    QuickStart("quickstart:rust-kept", 3, "the same, kept running", add_is_live, "rust"),
]


def command(case: QuickStart, installed: dict[str, Installed]) -> tuple[tuple[str, ...], Path]:
    """How to start it, and where."""
    if case.needs == "rust":
        binaries = installed["rust"].folder
        return (str(binaries / ("kept" if case.name.endswith("kept") else "plain")),), binaries
    if case.needs:
        environment = installed[case.needs]
        if case.name.startswith("docs:"):
            page = case.name.removeprefix("docs:")
            program = environment.folder / f"docs-{page}.mjs"
            program.write_text(documented(page))
            return (environment.worker[0], program.name), environment.folder
        return (environment.worker[0], "quickstart.mjs"), environment.folder
    # Our client is imported from the checkout: the folder the program runs in.
    python = (sys.executable, "-B")
    files = {
        "quickstart:python": ("keep_running.py", "readme-python/quickstart.py"),
        "quickstart:python-docs": ("docs-python/quickstart.py",),
        "quickstart:python-example": ("docs-python/complete_example.py",),
    }
    return (*python, *(str(TEXTS / name) for name in files[case.name])), CHECKOUT


def busy_ports() -> list[int]:
    return [port for port in (PORTS.worker, PORTS.http) if not is_free(port)]


async def ports_settle() -> None:
    """Give another suite on this machine a moment to leave the ports."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + PORTS_WAIT_S
    while busy_ports() and clock() < deadline:  # noqa: ASYNC110 -- other processes
        await asyncio.sleep(0.5)


def unchanged() -> None:
    """Every text is byte for byte the published one."""
    for line in (TEXTS / "SHA256SUMS").read_text().splitlines():
        wanted, name = line.split()
        found = hashlib.sha256((TEXTS / name).read_bytes()).hexdigest()
        assert found == wanted, f"quickstarts/{name} is not the published text any more"


async def run_quickstart(case: QuickStart, installed: dict[str, Installed], folder: Path) -> Report:
    """Minimal configuration, one program, its checks."""
    report = Report(case.name, case.checks)
    began = time.monotonic()
    config = (TEXTS / "minimal-config.yaml").read_text()
    if case.name.startswith("docs:"):
        config = (CHECKOUT / "config.yaml").read_text()
    engine = Engine(folder, ports=PORTS, config=config)
    started, place = command(case, installed)
    ours = {} if case.needs else {"PYTHONPATH": str(CHECKOUT)}
    program = Program(case.name, started, place, folder / "program.log", ours)
    await ports_settle()
    busy = busy_ports()
    try:
        unchanged()
        assert not busy, f"the quick starts name fixed ports, and these are taken: {busy}"
        async with asyncio.timeout(2 * QUICKSTART_LIMIT_S):
            await engine.start()
            await program.start(engine.url)
            await case.run(engine, program, report)
    except TimeoutError:
        report.failures.append(("the quick start", "not over in time"))
    except (AssertionError, EngineFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        if report.failed or report.surplus:
            report.evidence = quoted(engine, (program,), ())
        await program.stop()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report
