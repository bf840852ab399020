"""Published SDKs that leave while there is work: ``engine::workers::drain`` and rolling restarts.

Two workers of one release (``leaving.py``, ``leaving.mjs``) share a route and a named queue,
both under constant load.  On SIGTERM each drains itself and leaves.  No request may fail, no
message may be lost or handled twice, whoever leaves and comes meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sdks import web
from tests.sdks.engine import Engine, EngineFailed, Ports, free_port
from tests.sdks.install import Installed
from tests.sdks.program import Program
from tests.sdks.raw import RawWorker
from tests.sdks.releases import BY_NAME, Release
from tests.sdks.report import Report, close_engine, describe, quoted
from tests.sdks.stage import eventually, same

LIMIT_S = 120.0
READY_LIMIT_S = 20.0
LEAVE_LIMIT_S = 12.0
CHECKS = 5
ROUNDS = 2
CLIENTS = 6
ENQUEUE_EVERY_S = 0.02
DRAINED = "program drained: True, in flight: 0"

CONFIG = """\
port: {worker}
modules:
  - class: modules::api::RestApiModule
    config: {{ port: {http} }}
  - class: modules::queue::QueueModule
    config:
      queue_configs:
        parcels: {{ type: standard, concurrency: 8, max_retries: 1 }}
"""


@dataclass(frozen=True)
class Draining:
    """One published release."""

    release: Release

    @property
    def name(self) -> str:
        return f"draining:{self.release.registry}-{self.release.version}"

    @property
    def checks(self) -> int:
        return CHECKS


DRAINING = [Draining(BY_NAME[name]) for name in ("npm:0.22.1", "pypi:0.25.0")]


@dataclass
class Load:
    """Requests and messages, as long as it runs.

    :ivar served: worker → requests that it answered
    :ivar failed: what became of those that nobody answered as they should be
    :ivar accepted: numbers of messages that the engine took
    :ivar packed: number of a message → how often it was handled
    """

    engine: Engine
    raw: RawWorker
    served: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    packed: Counter[int] = field(default_factory=Counter)
    running: bool = True
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        clients = [self._client() for _ in range(CLIENTS)]
        self._tasks = [asyncio.create_task(each) for each in (*clients, self._producer())]

    async def stop(self) -> None:
        """End; what was begun is finished."""
        self.running = False
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.failed += [repr(each) for each in outcomes if isinstance(each, BaseException)]
        self._tasks.clear()

    def take(self, data: Any) -> Any:
        """``probe::packed``."""
        self.packed[data["n"]] += 1
        return {"packed": data["n"]}

    async def _client(self) -> None:
        """One request after the other."""
        while self.running:
            try:
                reply = await web.request(self.engine.ports.http, "GET", "/price")
            except OSError as error:
                self.failed.append(repr(error))
                continue
            if reply.status == 200:
                self.served[reply.json["by"]] += 1
            else:
                self.failed.append(reply.shown)

    async def _producer(self) -> None:
        """One message after the other."""
        action = {"type": "enqueue", "queue": "parcels"}
        number = 0
        while self.running:
            number += 1
            answer = await self.raw.ask("shop::pack", {"n": number}, action=action)
            assert answer.code is None, f"message {number} was refused: {answer.frame['error']}"
            self.accepted.append(number)
            await asyncio.sleep(ENQUEUE_EVERY_S)


@dataclass
class Visit:
    """The workers, and the checks."""

    load: Load
    make: Callable[[str], Program]
    programs: list[Program] = field(default_factory=list)
    up: list[Program] = field(default_factory=list)

    async def come(self) -> Program:
        """Another worker, which has answered a request."""
        program = self.make(f"shop-{len(self.programs) + 1}")
        self.programs.append(program)
        self.up.append(program)
        await program.start(self.load.engine.url)
        await program.says("program ready", READY_LIMIT_S)
        return program

    async def serves(self, program: Program) -> None:
        async def has_served() -> bool:
            return self.load.served[program.name] > 0

        await eventually(has_served, f"{program.name} serves")

    async def leave(self, program: Program) -> None:
        """SIGTERM, and everything that follows."""
        self.up.remove(program)
        program.terminate()
        same(await program.ends(LEAVE_LIMIT_S), 0)
        assert DRAINED in program.output, program.output

    def nothing_failed(self) -> None:
        same(self.load.failed[:3], [])

    # The checks, in their order.

    async def share(self) -> None:
        for _ in range(2):
            await self.come()
        self.load.start()
        for program in self.up:
            await self.serves(program)
        self.nothing_failed()

    async def drains_itself(self) -> None:
        """The other one takes over at once; what is under way is finished."""
        program = self.up[0]
        before = self.load.served[self.up[1].name]
        await self.leave(program)
        served = self.load.served[program.name]

        async def goes_on() -> bool:
            return self.load.served[self.up[0].name] > before + CLIENTS

        await eventually(goes_on, "the other one goes on")
        same(self.load.served[program.name], served)
        await self.serves(await self.come())
        self.nothing_failed()

    async def rolls(self) -> None:
        """Each of the two, and its successor, is replaced by a new one."""
        for _ in range(ROUNDS):
            for program in list(self.up):
                await self.leave(program)
                await self.serves(await self.come())
        self.nothing_failed()

    async def every_message(self) -> None:
        """All of them, once."""
        load = self.load
        await load.stop()
        self.nothing_failed()

        async def is_handled() -> bool:
            return len(load.packed) >= len(load.accepted) > 50

        await eventually(is_handled, "every message is handled")
        same(sorted(load.packed), load.accepted)
        same({n: times for n, times in load.packed.items() if times > 1}, {})
        stats = await load.raw.call("engine::queue::topic_stats", {"topic": "__fn_queue::parcels"})
        same((stats["depth"], stats["dlq_depth"]), (0, 0))

    async def last(self) -> None:
        """With nobody to take over it still ends well."""
        for program in list(self.up):
            await self.leave(program)

    async def run(self, report: Report) -> None:
        await self.load.raw.register("probe::packed", self.load.take)
        for name, check in (
            ("two workers share the load", self.share),
            ("one drains itself under load", self.drains_itself),
            ("a rolling restart", self.rolls),
            ("every message was handled once", self.every_message),
            ("the last ones leave", self.last),
        ):
            await report.hold(name, check)


async def run_draining(tested: Draining, installed: dict[str, Installed], folder: Path) -> Report:
    """Start an engine, the workers and the load, and hold every check."""
    report = Report(tested.name, tested.checks)
    began = time.monotonic()
    ports = Ports(free_port(), free_port())
    engine = Engine(folder, ports=ports, config=CONFIG.format(**ports.ready))
    environment = installed[tested.release.name]

    def make(name: str) -> Program:
        *before, worker = environment.worker
        command = (*before, str(Path(worker).with_stem("leaving")), engine.url, name)
        return Program(name, command, environment.folder, folder / f"{name}.log")

    visit: Visit | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            await engine.start()
            raw = await RawWorker.open(engine.url)
            visit = Visit(Load(engine, raw), make)
            await visit.run(report)
    except TimeoutError:
        report.failures.append(("the whole case", f"not over within {LIMIT_S:.0f} s"))
    except (AssertionError, EngineFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        if visit is not None:
            await visit.load.stop()
        programs = visit.programs if visit else []
        if report.failed or report.surplus:
            report.evidence = quoted(engine, programs, list(visit.load.raw.frames) if visit else [])
        for program in programs:
            await program.stop()
        if visit is not None:
            await visit.load.raw.close()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report
