"""From a socket of the worker port to the stores."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.hub import Hub
from iii.modules.observability.ingest import Ingest
from tests.observability.ingest.cases import FRAMES, Heard, frame, span
from tests.support.engine_case import EngineCase
from tests.support.probes import probe

KINDS = {"traces": b"OTLP", "metrics": b"MTRC", "logs": b"LOGS"}


def golden(name: str) -> bytes:
    """A binary message as an SDK sends it: ``node-traces``."""
    return KINDS[name.split("-")[1]] + (FRAMES / f"{name}.json").read_bytes()


class SocketCase(EngineCase):
    """A real engine, listeners in place of the stores."""

    def prepare(self) -> None:
        """Add the ingest."""
        api = ModuleApi(self.engine, "iii-observability")
        self.hub = Hub(api, settings_of(ObservabilityConfig(), {}))
        self.heard = Heard(self.hub)
        self.ingest = Ingest(self.hub)
        self.ingest.start()

    async def tearDown(self) -> None:
        stopped = self.ingest.stop()
        if isinstance(stopped, Deferred):
            await stopped
        await super().tearDown()

    async def listed(self) -> list[str]:
        """The ids of the workers, as a worker is told."""
        asking = await self.worker()
        rows = (await asking.call("engine::workers::list", {}))["workers"]
        await self.gone(asking)
        return [row["id"] for row in rows if row["id"] != asking.id]


class Worker(SocketCase):
    """On ``/``."""

    @probe("05.7")
    async def test_a_frame_is_not_answered(self) -> None:
        """Its spans are there when the next message is handled."""
        worker = await self.worker()
        worker.socket.binary(b"OTLP" + frame("OTLP", span(status={"code": 1})))
        await self.quiet(worker)
        self.assertEqual([s.status for s in self.heard.spans], ["ok"])

    @probe("05.8")
    async def test_no_frame_ends_the_connection(self) -> None:
        """Nor does a prefix alone."""
        worker = await self.worker("f")
        for payload in (b"OTLPnot json", b"OTLP", b"MTRC\xff", b"LOGS{}", b"OTLP" + b"[" * 100_000):
            worker.socket.binary(payload)
        call = worker.invoke("f")
        await worker.answer("f", result=1)
        self.assertEqual((await worker.result_of(call))["result"], 1)
        self.assertEqual(self.hub.dropped, {"frames.unreadable": 5})
        self.assertEqual(self.flushLoggedErrors(), [])

    @probe("05.9", "05.10", "05.11", "05.12", "05.13")
    async def test_frames_of_every_sdk(self) -> None:
        """All that can be kept of them is."""
        worker = await self.worker()
        for sdk in ("node", "python", "rust"):
            for signal in KINDS:
                worker.socket.binary(golden(f"{sdk}-{signal}"))
        await self.quiet(worker)
        await self.eventually(lambda: not self.ingest.waiting_bytes)
        self.assertEqual(len(self.heard.spans), 5)
        self.assertEqual(
            [(m.name, m.type) for m in self.heard.metrics],
            [
                ("iii.worker.memory.rss", "gauge"),
                ("orders", "counter"),
                ("jobs.open", "updowncounter"),
                ("load", "gauge"),
                ("resize.duration", "histogram"),
            ],
        )
        self.assertEqual([r.severity_text for r in self.heard.logs], ["ERROR", "WARN", "INFO"])

    @probe("05.15")
    async def test_a_severity_without_text(self) -> None:
        """It is kept with the text of its number."""
        worker = await self.worker()
        worker.socket.binary(b"LOGS" + frame("LOGS", {"severityNumber": 17}))
        await worker.settled()
        self.assertEqual([r.severity_text for r in self.heard.logs], ["ERROR"])

    @probe("05.18")
    async def test_a_connection_for_telemetry_alone_is_no_worker(self) -> None:
        """It was greeted, and is in no list from its first frame on."""
        ghost = await self.worker()
        self.assertEqual(await self.listed(), [ghost.id])
        ghost.socket.binary(golden("node-traces"))
        await self.eventually(lambda: self.heard.spans)
        self.assertEqual(await self.listed(), [])


class Otel(SocketCase):
    """On ``/otel``."""

    @probe("05.16")
    async def test_it_is_no_worker(self) -> None:
        """No greeting, no row, and its frames count."""
        before = await self.listed()
        socket = await self.socket("/otel")
        socket.binary(golden("rust-logs"))
        await self.eventually(lambda: self.heard.logs)
        self.assertEqual(socket.frames, [])
        self.assertEqual(await self.listed(), before)

    @probe("05.17")
    async def test_text_is_ignored(self) -> None:
        """The frames after it are read."""
        socket = await self.socket("/otel")
        socket.text('{"type":"ping"}')
        socket.binary(golden("node-logs"))
        await self.eventually(lambda: self.heard.logs)
        self.assertEqual(socket.frames, [])
        self.assertFalse(socket.lost)

    async def test_frames_of_a_connection_keep_their_order(self) -> None:
        """A small one behind a large one, too."""
        socket = await self.socket("/otel")
        sizes = [1, 900, 1, 2_000, 1]
        for n, size in enumerate(sizes):
            socket.binary(b"OTLP" + frame("OTLP", *[span(name=str(n))] * size))
        await self.eventually(lambda: len(self.heard.spans) == sum(sizes))
        names = [s.name for s in self.heard.spans]
        self.assertEqual(names, sorted(names))
        self.assertLess(max(self.heard.batches), 2_000)
