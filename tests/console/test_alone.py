"""A console in a process of its own, and the command that finds or serves one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any
from urllib.request import ProxyHandler, build_opener

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from iii.bridge import parse_url
from iii.errors import StartError
from iii.modules.console.alone import ConsoleAlone
from iii.modules.console.config import ConsoleConfig
from tests.console.cases import STATE, STREAM, ConsoleCase
from tests.observability.module_case import otel
from tests.process_case import LIMIT_S, ROOT, ProcessCase, environment
from tests.support.rawsocket import open_socket


class Alone(ConsoleCase):
    """Another engine's worker port is all it needs."""

    console: ConsoleAlone

    @property
    def port(self) -> int:
        """That of the console alone."""
        assert self.console.server.port is not None
        return self.console.server.port

    async def serve_alone(self, url: str, **config: Any) -> None:
        """Serve a console of the engine at ``url``."""
        settings = ConsoleConfig(host="127.0.0.1", port=0, **config)
        self.console = ConsoleAlone(reactor, settings, parse_url(url))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.console.stop()))
        self.console.start()

    async def connected(self) -> None:
        """Serve one of an engine with state and streams."""
        self.engine = await self.start(otel(), STATE, STREAM)
        await self.serve_alone(self.engine.url)

        async def there() -> bool:
            return self.console.link.connected

        await self.eventually(there)

    async def test_it_shows_the_other_engine(self) -> None:
        await self.connected()
        worker = await self.here("f")

        said = await self.ok("/api/config")
        self.assertEqual(said["wsPort"], self.engine.ready["stream"])
        self.assertEqual((said["features"]["state"], said["features"]["queues"]), (True, False))
        rows = (await self.ok("/_console/functions"))["functions"]
        self.assertIn("f", [row["function_id"] for row in rows])
        await self.ok("/_console/states/g/item", {"key": "k", "value": 1})
        self.assertEqual(await worker.call("state::get", {"scope": "g", "key": "k"}), 1)
        error = await self.refused(502, "/_console/invoke", {"function_id": "nix"})
        self.assertIn("function_not_found", error)

    async def test_its_looks_are_in_no_trace(self) -> None:
        await self.connected()
        worker = await self.here()
        asked = {"include_internal": True}
        before = (await worker.call("engine::traces::list", asked))["total"]
        for path in ("status", "workers", "states/groups", "streams/list", "metrics"):
            await self.ok(f"/_console/{path}")
        after = (await worker.call("engine::traces::list", asked))["total"]
        self.assertEqual(after, before + 1)

    async def test_streams_go_to_the_other_engine(self) -> None:
        await self.connected()
        socket = await open_socket(self.port, "/ws/streams")
        self.addCleanup(socket.drop)

    async def test_without_the_engine(self) -> None:
        """It answers, and says that there is nothing behind it."""
        await self.serve_alone("ws://127.0.0.1:9")
        self.assertEqual(
            await self.refused(503, "/_console/workers", method="GET"), "Bridge is not connected"
        )
        said = await self.ok("/api/config")
        self.assertEqual((said["instance"], said["enginePort"]), (None, None))
        self.assertEqual((await self.get("/readyz")).json["not_ready"], ["the engine"])
        status = await self.ok("/_console/status")
        self.assertEqual((status["workers"], status["metrics_available"]), (0, False))

    async def test_open_to_others_it_needs_a_token(self) -> None:
        console = ConsoleAlone(
            reactor, ConsoleConfig(host="0.0.0.0", port=0), parse_url("ws://localhost:9")
        )
        with self.assertRaises(StartError) as caught:
            console.start()
        self.assertIn("III_CONSOLE_TOKEN", caught.exception.message)


class Command(ProcessCase):
    """``iii console``."""

    def config(self, *modules: str) -> str:
        """A configuration with these modules."""
        entries = "\n".join(f"  - {{class: {name}, config: {{port: 0}}}}" for name in modules)
        otel = "modules::observability::OtelModule, config: {prometheus_port: 0}"
        return f"port: 0\nmodules:\n  - {{class: {otel}}}\n{entries}\n"

    def test_it_prints_where_the_console_is(self) -> None:
        text = self.config("modules::console::ConsoleModule")
        path = self.write("config.yaml", text.replace("{port: 0}}", "{port: 0, base_path: /ops}}"))
        engine = self.start("--config", str(path))
        done = self.iii("console", "--bridge-port", str(engine.ready["worker"]))
        wanted = f"http://127.0.0.1:{engine.ready['console']}/ops/\n"
        self.assertEqual((done.returncode, done.stdout), (0, wanted), done.stderr)

    def test_the_engine_serves_one_when_it_is_told_to(self) -> None:
        path = self.write("config.yaml", self.config())
        engine = self.start("--config", str(path), "--console", "--port", "0")
        self.assertIn("console", engine.ready)

    def test_without_an_engine_it_says_so(self) -> None:
        done = self.iii("console", "--engine-host", "127.0.0.1", "--bridge-port", "9")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no engine at ws://127.0.0.1:9", done.stderr)

    def test_it_serves_one_when_the_engine_has_none(self) -> None:
        """Until it is told to end; every flag of the known program is taken."""
        path = self.write("config.yaml", self.config())
        engine = self.start("--config", str(path))
        flags = ["--bridge-port", str(engine.ready["worker"])]
        flags += ["-p", "0", "--host", "127.0.0.1", "--engine-port", "3111", "--ws-port", "3112"]
        flags += ["--enable-flow", "--no-otel", "--otel-service-name", "x", "--read-only"]
        process = subprocess.Popen(
            [sys.executable, "-m", "iii", "console", *flags],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        url = next(
            line.split()[-1] for line in process.stdout if line.startswith("the console of ")
        )
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{url}api/config", timeout=LIMIT_S) as answer:
            said = msgspec.json.decode(answer.read())
        self.assertEqual((said["readOnly"], said["enableFlow"]), (True, True))
        os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.wait(LIMIT_S), 0)
