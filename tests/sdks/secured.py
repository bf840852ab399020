"""Published SDKs at an engine with TLS, whose authority only this test knows.

The engine has a plain worker port for the runner and one with TLS for the program
(``worker.py``, ``worker.mjs``), which learns of the authority the way its runtime offers:
``NODE_EXTRA_CA_CERTS``, ``SSL_CERT_FILE``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from tests.sdks import web
from tests.sdks.engine import Engine, EngineFailed, Ports, free_port
from tests.sdks.install import Installed
from tests.sdks.program import Program
from tests.sdks.proxy import Proxy
from tests.sdks.raw import RawWorker
from tests.sdks.releases import BY_NAME, Release
from tests.sdks.report import Report, close_engine, describe, quoted
from tests.sdks.stage import RECONNECT_LIMIT_S, eventually, same
from tests.support.certificates import Authority

LIMIT_S = 90.0
READY_LIMIT_S = 20.0
CHECKS = 7
CHUNK = 300_000

CONFIG = """\
workers:
  - name: iii-worker-manager
    config: {{ port: {worker} }}
  - name: iii-worker-manager#1
    config: {{ port: {secured}, tls: {{ cert: {cert}, key: {key} }} }}
  - name: iii-http
    config: {{ port: {http} }}
"""


@dataclass(frozen=True)
class Secured:
    """One published release."""

    release: Release

    @property
    def name(self) -> str:
        return f"secured:{self.release.registry}-{self.release.version}"

    @property
    def checks(self) -> int:
        return CHECKS

    @property
    def variable(self) -> str:
        """How its runtime is told of an authority."""
        return "NODE_EXTRA_CA_CERTS" if self.release.registry == "npm" else "SSL_CERT_FILE"


SECURED = [Secured(BY_NAME[name]) for name in ("npm:0.11.6", "npm:0.22.1")] + [
    Secured(BY_NAME[name]) for name in ("pypi:0.11.6", "pypi:0.25.0")
]


@dataclass
class Visit:
    """One release, the engine, and the checks."""

    tested: Secured
    engine: Engine
    authority: Authority
    proxy: Proxy
    url: str
    stranger: Program
    program: Program
    raw: RawWorker

    def id(self, name: str) -> str:
        return f"{self.tested.release.prefix}::{name}"

    async def names(self) -> list[str]:
        rows = (await self.raw.call("engine::workers::list", {}))["workers"]
        return [row["runtime"] for row in rows if row["runtime"]]

    # The checks, in their order.

    async def without_the_authority(self) -> None:
        """It says why, and nothing of it arrives."""
        await self.stranger.start(self.url)
        await self.stranger.says("(?i)certificate", READY_LIMIT_S)
        same(await self.names(), [])
        await self.stranger.stop()

    async def connects(self) -> None:
        await self.program.start(self.url)
        await self.program.says("program ready", READY_LIMIT_S)
        await eventually(self._adds, "a call from outside is answered")

    async def _adds(self) -> bool:
        same((await self.raw.call(self.id("add"), {"a": 2, "b": 3}))["sum"], 5)
        return True

    async def calls(self) -> None:
        """Its own calls, out and back."""
        asked = {"function_id": self.id("echo"), "data": {"text": "grüße"}}
        answer = await self.raw.call(self.id("relay"), asked)
        same(answer["value"]["text"], "grüße")

    async def large(self) -> None:
        text = "x" * 900_000
        same((await self.raw.call(self.id("echo"), {"text": text}))["text"], text)

    async def channels(self) -> None:
        """Both ends are its own sockets, with TLS."""
        made = await self.raw.call(self.id("produce"), {"size": CHUNK})
        read = await self.raw.call(self.id("consume"), {"reader": made["reader"]})
        same(read, {"size": CHUNK, "messages": [f"from {self.tested.release.prefix}"]})

    async def http(self) -> None:
        """A streamed answer: request and response are channels."""
        path = f"/{self.tested.release.prefix}/stream"
        reply = await web.request(
            self.engine.ports.http,
            "POST",
            path,
            body=b"one two",
            headers={"content-type": "text/plain"},
        )
        assert (reply.status, reply.body) == (207, b"ONE\nTWO\n"), reply.shown

    async def renewal(self) -> None:
        """A new certificate changes nothing for who is connected; who comes back gets it."""
        self.authority.issue()
        self.engine.hang_up()

        async def renewed() -> bool:
            return "renewed, certificate for" in self.engine.log

        await eventually(renewed, "the engine has taken the new certificate")
        await self._adds()
        self.proxy.cut()
        await eventually(self._adds, "it is back", RECONNECT_LIMIT_S)

    async def run(self, report: Report) -> None:
        for name, check in (
            ("without the authority it does not connect", self.without_the_authority),
            ("with it it does, and serves calls", self.connects),
            ("it calls", self.calls),
            ("large messages", self.large),
            ("channels", self.channels),
            ("HTTP: streamed request and response", self.http),
            ("a renewed certificate, then a cut line", self.renewal),
        ):
            await report.hold(name, check)


async def run_secured(tested: Secured, installed: dict[str, Installed], folder: Path) -> Report:
    """Start an engine with a TLS port and the program, and hold every check."""
    report = Report(tested.name, tested.checks)
    began = time.monotonic()
    authority = _authority(folder)
    cert, key = authority.issue()
    ports, secured = Ports(free_port(), free_port()), free_port()
    config = CONFIG.format(**ports.ready, secured=secured, cert=cert, key=key)
    engine = Engine(folder, ports=ports, config=config)
    proxy = Proxy(secured)
    await proxy.resume()
    environment = installed[tested.release.name]
    url = proxy.url.replace("ws://", "wss://")
    command = environment.command(url, tested.release.prefix)

    def make(name: str, **env: str) -> Program:
        return Program(name, command, environment.folder, folder / f"{name}.log", env)

    stranger = make("stranger")
    program = make("program", **{tested.variable: str(authority.path)})
    raw: RawWorker | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            await engine.start()
            raw = await RawWorker.open(engine.url)
            visit = Visit(tested, engine, authority, proxy, url, stranger, program, raw)
            await visit.run(report)
    except TimeoutError:
        report.failures.append(("the whole case", f"not over within {LIMIT_S:.0f} s"))
    except (AssertionError, EngineFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        if report.failed or report.surplus:
            frames = list(raw.frames) if raw is not None else []
            report.evidence = quoted(engine, (stranger, program), frames)
        for started in (stranger, program):
            await started.stop()
        if raw is not None:
            await raw.close()
        proxy.stop()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report


def _authority(folder: Path) -> Authority:
    folder.mkdir(parents=True, exist_ok=True)
    return Authority(folder)
