"""Published SDKs at worker ports that not everybody may enter.

One engine has three ports: an open one for this runner, one with a token, and one with
``rbac``, whose auth function, hook and middleware the runner is.  The program
(``restricted.py``, ``restricted.mjs``) is started at one port after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from tests.sdks.engine import Engine, EngineFailed, Ports, free_port
from tests.sdks.install import Installed
from tests.sdks.program import Program
from tests.sdks.raw import RawWorker
from tests.sdks.releases import BY_NAME, Release
from tests.sdks.report import Report, close_engine, describe, quoted
from tests.sdks.stage import eventually, same

LIMIT_S = 60.0
READY_LIMIT_S = 15.0
CHECKS = 9
TOKEN = "a-token-for-published-sdks"

CONFIG = """\
workers:
  - name: iii-worker-manager
    config: {{ port: {worker} }}
  - name: iii-worker-manager#1
    config: {{ port: {tokens}, auth: {{ tokens: [{token}] }} }}
  - name: iii-worker-manager#2
    config:
      port: {rbac}
      middleware_function_id: probe::middleware
      rbac:
        auth_function_id: probe::auth
        expose_functions: ['match("probe::open*")']
        on_function_registration_function_id: probe::hook
  - name: iii-http
    config: {{ port: {http} }}
"""


@dataclass(frozen=True)
class Restricted:
    """One published release.

    :ivar takes_variable: it sends ``III_TOKEN`` by itself
    """

    release: Release
    takes_variable: bool = False

    @property
    def name(self) -> str:
        return f"restricted:{self.release.registry}-{self.release.version}"

    @property
    def checks(self) -> int:
        return CHECKS


RESTRICTED = [
    Restricted(BY_NAME["npm:0.11.6"]),
    Restricted(BY_NAME["npm:0.22.1"]),
    Restricted(BY_NAME["pypi:0.11.6"]),
    Restricted(BY_NAME["pypi:0.25.0"], takes_variable=True),
]


@dataclass
class Visit:
    """One release at the gates, and the checks."""

    tested: Restricted
    engine: Engine
    tokens_port: int
    rbac_port: int
    make: Callable[..., Program]
    raw: RawWorker
    programs: list[Program] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    hooked: list[Any] = field(default_factory=list)
    through: list[Any] = field(default_factory=list)
    lets_in: bool = False

    @property
    def prefix(self) -> str:
        return self.tested.release.prefix

    async def serve(self) -> None:
        """Be the auth function, the hook, the middleware and two other functions."""

        def auth(data: Any) -> Any:
            self.asked.append(data)
            if not self.lets_in:
                return None
            return {
                "allowed_functions": [],
                "forbidden_functions": ["probe::open::no"],
                "allow_trigger_type_registration": False,
                "function_registration_prefix": "tenant",
                "context": {"user": "ada"},
            }

        def hook(data: Any) -> Any:
            self.hooked.append(data)
            if data["function_id"].endswith("::produce"):
                return None
            return {"description": "by the hook"}

        def middleware(data: Any) -> Any:
            self.through.append(data)
            return {"middleware says": data["payload"]}

        await self.raw.register("probe::auth", auth)
        await self.raw.register("probe::hook", hook)
        await self.raw.register("probe::middleware", middleware)
        await self.raw.register("probe::open", lambda data: {"open": True})
        await self.raw.register("probe::open::no", lambda data: {"open": True})
        await self.raw.register("probe::private", lambda data: {"private": True})

    async def start(self, port: int, *token: str, **env: str) -> Program:
        url = f"ws://127.0.0.1:{port}"
        program = self.make(f"program-{len(self.programs)}", (url, self.prefix, *token), env)
        self.programs.append(program)
        await program.start(url)
        return program

    async def hello(self, function_id: str) -> bool:
        answer = await self.raw.ask(function_id, {})
        assert answer.code is None, answer.frame
        same(answer.result, {"from": self.prefix})
        return True

    async def relay(self, function_id: str, data: Any) -> Any:
        relay = f"tenant::{self.prefix}::relay"
        return await self.raw.call(relay, {"function_id": function_id, "data": data})

    async def listed(self) -> list[str]:
        rows = (await self.raw.call("engine::workers::list", {}))["workers"]
        return [row["name"] for row in rows if row["name"]]

    # The checks, in their order.

    async def without_token(self) -> None:
        """It goes on trying, and is nobody's worker."""
        program = await self.start(self.tokens_port)

        async def tried() -> bool:
            shown = await self.raw.call("engine::workers::list", {})
            same([row["name"] for row in shown["workers"] if row["name"]], [])
            return self.engine.log.count("a token is needed") > 0

        await eventually(tried, "the engine told that a token is needed")
        await asyncio.sleep(1.5)
        same(await self.listed(), [])
        same((await self.raw.ask(f"{self.prefix}::hello", {})).code, "function_not_found")
        await program.stop()

    async def with_token(self) -> None:
        if self.tested.takes_variable:
            await self.start(self.tokens_port, III_TOKEN=TOKEN)
        else:
            await self.start(self.tokens_port, TOKEN)
        await eventually(lambda: self.hello(f"{self.prefix}::hello"), "its function is there")
        same(await self.listed(), [self.prefix])

    async def channel(self) -> None:
        """Old SDKs send no token with it; the key is enough."""
        reference = (await self.raw.call(f"{self.prefix}::produce", {}))["reader"]
        id, key = reference["channel_id"], reference["access_key"]
        url = f"ws://127.0.0.1:{self.tokens_port}/ws/channels/{id}?key={key}&dir=read"
        async with connect(url) as reader:
            same(await reader.recv(), f"from {self.prefix}")
        await self.programs[-1].stop()

    async def refused_at_first(self) -> None:
        """The auth function says no, later yes: the SDK has gone on trying."""
        await self.start(self.rbac_port, TOKEN)

        async def was_asked() -> bool:
            return len(self.asked) >= 2

        await eventually(was_asked, "the auth function was asked", READY_LIMIT_S)
        same(await self.listed(), [])
        self.lets_in = True
        function_id = f"tenant::{self.prefix}::hello"
        await eventually(lambda: self.hello(function_id), "it is let in", READY_LIMIT_S)

    async def what_was_asked(self) -> None:
        main = [each for each in self.asked if "authorization" in each["headers"]]
        assert main, self.asked
        same(main[0]["headers"]["authorization"], f"Bearer {TOKEN}")
        same((main[0]["ip_address"], main[0]["query_params"]), ("127.0.0.1", {}))

    async def hooks(self) -> None:
        """One function is described by the hook, another one denied."""
        row = await self.raw.call(
            "engine::functions::info", {"function_id": f"tenant::{self.prefix}::hello"}
        )
        same(row["description"], "by the hook")
        same(self.hooked[0]["context"], {"user": "ada"})
        denied = await self.raw.ask(f"tenant::{self.prefix}::produce", {})
        same(denied.code, "function_not_found")

    async def forbidden(self) -> None:
        """Its SDK makes an error of it that has the code."""
        for function_id in ("probe::private", "probe::open::no"):
            answer = await self.relay(function_id, {})
            assert "error" in answer, answer
            shown = str(answer["error"])
            assert "FORBIDDEN" in shown and f"function '{function_id}' not allowed" in shown, shown

    async def middleware(self) -> None:
        answer = await self.relay("probe::open", {"n": 5})
        same(answer, {"value": {"middleware says": {"n": 5}}})
        (call,) = self.through
        same((call["function_id"], call["context"]), ("probe::open", {"user": "ada"}))

    async def filtered(self) -> None:
        """Lists are none of what it may call, but its metadata arrived."""
        answer = await self.relay("engine::functions::list", {})
        assert "FORBIDDEN" in str(answer["error"]), answer
        same(await self.listed(), [self.prefix])

    async def run(self, report: Report) -> None:
        for name, check in (
            ("without a token it is not let in", self.without_token),
            ("with the token it is", self.with_token),
            ("its channels work there", self.channel),
            ("refused by the auth function it tries again, and is let in", self.refused_at_first),
            ("the auth function gets its headers", self.what_was_asked),
            ("the hook changes and denies registrations, the prefix holds", self.hooks),
            ("what it may not call is FORBIDDEN", self.forbidden),
            ("what it may call goes through the middleware", self.middleware),
            ("its metadata is taken, lists are not", self.filtered),
        ):
            await report.hold(name, check)


async def run_restricted(
    tested: Restricted, installed: dict[str, Installed], folder: Path
) -> Report:
    """Start an engine with three ports, the program, and hold every check."""
    report = Report(tested.name, tested.checks)
    began = time.monotonic()
    ports, tokens, rbac = Ports(free_port(), free_port()), free_port(), free_port()
    config = CONFIG.format(**ports.ready, tokens=tokens, rbac=rbac, token=TOKEN)
    engine = Engine(folder, ports=ports, config=config)
    environment = installed[tested.release.name]

    def make(name: str, arguments: tuple[str, ...], env: dict[str, str]) -> Program:
        *before, worker = environment.worker
        script = str(Path(worker).with_stem("restricted"))
        command = (*before, script, *arguments)
        return Program(name, command, environment.folder, folder / f"{name}.log", env)

    visit: Visit | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            await engine.start()
            raw = await RawWorker.open(engine.url)
            visit = Visit(tested, engine, tokens, rbac, make, raw)
            await visit.serve()
            await visit.run(report)
    except TimeoutError:
        report.failures.append(("the whole scenario", f"not over within {LIMIT_S:.0f} s"))
    except (AssertionError, EngineFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        programs = visit.programs if visit else []
        if TOKEN in engine.log:
            report.failures.append(("the log", "has the token in it"))
        if report.failed or report.surplus:
            report.evidence = quoted(engine, programs, list(visit.raw.frames) if visit else [])
        for program in programs:
            await program.stop()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report
