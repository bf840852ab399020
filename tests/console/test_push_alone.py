"""The push channel of a console in a process of its own: over the worker port, through restarts."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from iii.bridge import parse_url
from iii.builder import EngineBuilder
from iii.modules.console.alone import ConsoleAlone
from iii.modules.console.config import ConsoleConfig
from iii.testing import in_process
from tests.console.cases import console
from tests.console.page_case import PageCase
from tests.observability.module_case import otel


class Alone(PageCase):
    """Pages of a console that is not part of the engine."""

    alone: ConsoleAlone

    @property
    def port(self) -> int:
        """That of the console alone."""
        assert self.alone.server.port is not None
        return self.alone.server.port

    async def connected(self) -> None:
        """A console of ``self.engine``."""
        settings = ConsoleConfig(host="127.0.0.1", port=0)
        self.alone = ConsoleAlone(reactor, settings, parse_url(self.engine.url))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.alone.stop()))
        self.alone.start()
        await self.until(lambda: self.alone.link.connected)

    async def test_it_pushes_what_happens_over_there(self) -> None:
        self.engine = await self.start(otel(), console())
        await self.connected()
        page = await self.page()
        await page.watch("logs", "l")
        await page.watch("invocations", "i")
        await self.until(lambda: self.core.watched.topics == ["invocations", "logs"])
        worker = await self.here("f")

        await worker.call("engine::log::info", {"message": "hello"})
        id = worker.invoke("f", {"n": 1})
        await worker.answer("f", result=1)
        await worker.result_of(id)

        await page.item(lambda row: row["body"] == "hello", id="l")
        row = await page.item(lambda row: True, id="i")
        self.assertEqual(row["function_id"], "f")

    async def test_its_watching_is_in_no_trace_and_no_history(self) -> None:
        self.engine = await self.start(otel(), console())
        await self.connected()
        page = await self.page()
        await page.watch("invocations")
        await page.watch("traces", "t")
        await self.until(lambda: len(self.core.watched.topics) == 2)
        worker = await self.here()

        listed = await worker.call("engine::traces::list", {"include_internal": True})
        names = [span["name"] for span in listed["spans"]]
        self.assertEqual([name for name in names if "watch" in name], [])
        kept = await worker.call("engine::invocations::list")
        self.assertEqual(kept["invocations"], [])

    async def test_a_closed_page_is_forgotten_over_there(self) -> None:
        self.engine = await self.start(otel())
        await self.connected()
        page = await self.page()
        await page.watch("workers")
        await page.next(id="s", event="snapshot")
        self.assertEqual(len(self.core.watched), 1)

        page.socket.drop()

        await self.until(lambda: not len(self.core.watched))

    async def test_what_it_watches_ends_with_its_connection(self) -> None:
        self.engine = await self.start(otel())
        await self.connected()
        page = await self.page()
        await page.watch("workers")
        await page.next(id="s", event="snapshot")

        await self.alone.link.stop()

        await self.until(lambda: not len(self.core.watched))
        await page.next(event="engine", connected=False)

    async def test_it_goes_on_when_the_engine_is_back(self) -> None:
        first = await in_process(reactor, {"port": 0}, modules=[otel()])
        self.engine = first
        await self.connected()
        page = await self.page()
        await page.watch("workers")
        await page.next(id="s", event="snapshot")

        await first.stop()
        await page.next(event="engine", connected=False)
        config = {"port": first.ready["worker"], "modules": [otel(prometheus_port=0)]}
        second = EngineBuilder(reactor, environ={"III_IN_MEMORY": "1"}).with_config(config).build()
        self.addCleanup(second.destroy)
        await second.start()

        await page.next(event="engine", connected=True)
        told = await page.next(id="s", event="snapshot")
        self.assertEqual([row["name"] for row in told["items"]], ["iii-console"])
