"""The published clients of the stream port, following one group and one item.

``programs/stream-clients/watch.mjs`` is the page; the raw worker of this runner writes,
authenticates and watches joins and leaves.  The line goes through the proxy, so that it
can be cut while the engine lives.

What a client shows is compared after everything it was told, not frame by frame: the
last line it printed about a thing is what its user sees.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sdks.engine import CONFIG, Engine, EngineFailed, Ports
from tests.sdks.install import Installed
from tests.sdks.program import Program
from tests.sdks.proxy import Proxy
from tests.sdks.raw import RawWorker
from tests.sdks.report import Report, close_engine, describe, quoted
from tests.sdks.stage import eventually, same

ENVIRONMENT = "stream-clients"
LIMIT_S = 45.0
READY_LIMIT_S = 15.0
BURST = 40
"""Updates of one item within a few milliseconds."""


@dataclass(frozen=True)
class StreamClient:
    """One published release.

    :ivar tokens: it can offer subprotocols, which is how a token is passed
    :ivar patient: it keeps trying while nobody listens; the Node releases die of the first
        refused connection, because nothing listens to their socket's ``error``
    """

    package: str
    version: str
    tokens: bool
    patient: bool

    @property
    def name(self) -> str:
        return f"stream-client:{self.package}-{self.version}"

    @property
    def checks(self) -> int:
        return 10 if self.patient else 9


STREAM_CLIENTS = [
    StreamClient("node", "0.6.4", tokens=False, patient=False),
    StreamClient("node", "0.17.6", tokens=True, patient=False),
    StreamClient("browser", "0.2.2", tokens=False, patient=True),
    StreamClient("browser", "0.17.14", tokens=True, patient=True),
]

PLACE = {"stream_name": "watched", "group_id": "g"}


@dataclass
class Watching:
    """One client at work, and the checks."""

    client: StreamClient
    engine: Engine
    proxy: Proxy
    program: Program
    raw: RawWorker
    asked: list[Any] = field(default_factory=list)
    """What came to the auth function."""
    joins: list[Any] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)

    async def connect_raw(self) -> None:
        """Take the place of the application, also after a restart."""
        self.raw = await RawWorker.open(self.engine.url)

        def admit(data: Any) -> Any:
            self.asked.append(data)
            return {"context": {"visitor": len(self.asked)}}

        await self.raw.register("probe::auth", admit)
        await self.raw.register("probe::join", self.joins.append)
        await self.raw.register("probe::leave", self.leaves.append)
        await self.raw.bind("stream:join", "probe::join", {})
        await self.raw.bind("stream:leave", "probe::leave", {})

    def told(self, what: str) -> list[Any]:
        """Everything the client said about ``what``, in order."""
        lines = [line for line in self.program.output.splitlines() if line.startswith("{")]
        return [row["state"] for row in map(json.loads, lines) if row["what"] == what]

    async def shows(self, what: str, state: Any) -> None:
        async def last() -> bool:
            told = self.told(what)
            assert told and told[-1] == state, f"{what} shows {told[-1:]}"
            return True

        await eventually(last, f"{what} shows {state}")

    async def put(self, item: str, data: Any) -> None:
        await self.raw.call("stream::set", {**PLACE, "item_id": item, "data": data})

    async def delete(self, item: str) -> None:
        await self.raw.call("stream::delete", {**PLACE, "item_id": item})

    async def send(self, kind: str, data: Any, item: str | None = None) -> None:
        event = {**PLACE, "id": item, "type": kind, "data": data}
        await self.raw.call("stream::send", event)

    # The checks, in their order.

    async def synced(self) -> None:
        """The item does not exist yet, the group has another one."""
        await self.shows("group", [{"id": "0", "n": 0}])
        await self.shows("item", None)

    async def admitted(self) -> None:
        (request,) = self.asked
        same(request["query_params"], {"authToken": ["tok"]})
        offered = request["headers"].get("sec-websocket-protocol")
        # Old releases have no way to offer any.
        wanted = ["Authorization", "tok"] if self.client.tokens else None
        same(offered and [each.strip() for each in offered.split(",")], wanted)
        same(sorted(str(each["id"]) for each in self.joins), ["1", "None"])
        same([each["context"] for each in self.joins], [{"visitor": 1}] * 2)

    async def created(self) -> None:
        await self.put("1", {"id": "1", "n": 0})
        await self.shows("item", {"id": "1", "n": 0})
        await self.shows("group", [{"id": "0", "n": 0}, {"id": "1", "n": 0}])

    async def updated(self) -> None:
        """A client drops what has no newer timestamp, also within one millisecond."""
        await asyncio.gather(*(self.put("1", {"id": "1", "n": n}) for n in range(1, BURST + 1)))
        last = {"id": "1", "n": BURST}
        await self.shows("item", last)
        await self.shows("group", [{"id": "0", "n": 0}, last])
        seen = [state["n"] for state in self.told("item") if state]
        same(seen, list(range(BURST + 1)))

    async def custom_events(self) -> None:
        """One for the group goes past the item; one for the item reaches both, once."""
        await self.send("typing", "group only")
        await self.send("typing", "both", "1")

        async def heard() -> bool:
            return "both" in self.told("group heard") and "both" in self.told("item heard")

        await eventually(heard, "both custom events at the client")
        same(self.told("group heard"), ["group only", "both"])
        same(self.told("item heard"), ["both"])

    async def deleted(self) -> None:
        await self.delete("1")
        await self.shows("item", None)
        await self.shows("group", [{"id": "0", "n": 0}])

    async def cut(self) -> None:
        """What happened in between comes with the new sync."""
        self.proxy.cut()
        await self.put("1", {"id": "1", "n": 100})
        await self.delete("0")
        self.proxy.release()
        await self.shows("item", {"id": "1", "n": 100})
        await self.shows("group", [{"id": "1", "n": 100}])

    async def restarted(self) -> None:
        same(await self.engine.stop(), 0)
        await self.engine.start()
        await self.connect_raw()
        await self.put("1", {"id": "1", "n": 200})
        await self.shows("item", {"id": "1", "n": 200})
        await self.shows("group", [{"id": "1", "n": 200}])

    async def unsubscribed(self) -> None:
        self.leaves.clear()
        await self.send("enough", None, "1")

        async def left() -> bool:
            return [each["id"] for each in self.leaves] == ["1"]

        await eventually(left, "the engine heard of the leave")
        before = len(self.told("item"))
        await self.put("1", {"id": "1", "n": 300})
        await self.shows("group", [{"id": "1", "n": 300}])
        same(len(self.told("item")), before)

    async def closed(self) -> None:
        self.leaves.clear()
        await self.send("bye", None)
        same(await self.program.ends(READY_LIMIT_S), 0)

        async def left() -> bool:
            return [each["id"] for each in self.leaves] == [None]

        await eventually(left, "the engine heard that the group's subscriber went")

    async def run(self, report: Report) -> None:
        checks = [
            ("gets a sync of the item and the group", self.synced),
            ("its token is passed on, its joins have the context", self.admitted),
            ("sees what is created", self.created),
            ("sees every one of many quick updates", self.updated),
            ("hears custom events, each once", self.custom_events),
            ("sees what is deleted", self.deleted),
            ("a cut line: it is back and up to date", self.cut),
            ("a restart of the engine: it is back and up to date", self.restarted),
            ("an ended subscription is quiet, the other goes on", self.unsubscribed),
            ("closing ends its subscriptions", self.closed),
        ]
        for name, check in checks:
            if check != self.restarted or self.client.patient:
                await report.hold(name, check)


async def run_stream_client(
    client: StreamClient, installed: dict[str, Installed], folder: Path
) -> Report:
    """Start an engine with streams, the page, and hold every check."""
    report = Report(client.name, client.checks)
    began = time.monotonic()
    ports = Ports.free()
    config = CONFIG.format(**ports.ready).replace(
        f"port: {ports.stream}\n", f"port: {ports.stream}\n      auth_function: probe::auth\n"
    )
    engine = Engine(folder, ports=ports, config=config)
    assert ports.stream is not None
    proxy = Proxy(ports.stream)
    await proxy.resume()
    environment = installed[ENVIRONMENT]
    command = environment.command(
        f"{client.package}-{client.version}", f"{proxy.url}/?authToken=tok"
    )
    program = Program(client.name, command, environment.folder, folder / "program.log")
    watching: Watching | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            await engine.start()
            raw = await RawWorker.open(engine.url)
            watching = Watching(client, engine, proxy, program, raw)
            await raw.close()
            await watching.connect_raw()
            await watching.put("0", {"id": "0", "n": 0})
            await program.start(engine.url)
            await program.says("program ready", READY_LIMIT_S)
            await watching.run(report)
    except TimeoutError:
        report.failures.append(("the whole scenario", f"not over within {LIMIT_S:.0f} s"))
    except (AssertionError, EngineFailed, OSError) as error:
        report.failures.append(("getting started", describe(error)))
    finally:
        if report.failed or report.surplus:
            frames = list(watching.raw.frames) if watching else []
            report.evidence = quoted(engine, (program,), frames)
        await program.stop()
        proxy.stop()
        await close_engine(engine, report)
        report.seconds = time.monotonic() - began
    return report
