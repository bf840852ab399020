"""``examples/custom_queue_adapter``: an adapter that nobody here knows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import TestCase as PlainCase

from twisted.internet import reactor, task
from twisted.trial.unittest import TestCase

import iii.testing
from iii.catalogue import Catalogue
from iii.testing import InProcessEngine
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import open_socket

FOLDER = Path(__file__).parents[1] / "examples" / "custom_queue_adapter"


def example() -> ModuleType:
    """The example's module, imported as a user would have it."""
    if "spool_queue" not in sys.modules:
        spec = importlib.util.spec_from_file_location("spool_queue", FOLDER / "spool_queue.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["spool_queue"] = module
        spec.loader.exec_module(module)
    return sys.modules["spool_queue"]


class Spool(TestCase):
    """Messages are files; the engine does the rest."""

    timeout = 30

    async def setUp(self) -> None:
        self.directory = Path(self.mktemp())

    async def start(self) -> InProcessEngine:
        """An engine on the adapter."""
        queues = {"mail": {"max_retries": 2, "backoff_ms": 1}}
        adapter = {"class": "my::Spool", "config": {"directory": str(self.directory)}}
        config = {"queue_configs": queues, "adapter": adapter}
        started = await iii.testing.in_process(
            reactor,
            {"port": 0},
            modules=[{"class": "modules::queue::QueueModule", "config": config}],
            adapters={("iii-queue", "my::Spool"): example().SpoolAdapter},
        )
        self.addCleanup(started.stop)
        return started

    async def worker(self, engine: InProcessEngine, *functions: str) -> RawWorker:
        """A worker that offers functions."""
        socket = await open_socket(engine.ready["worker"])
        self.addCleanup(socket.drop)
        worker = RawWorker(socket, await socket.next_message())
        await worker.register(*functions)
        return worker

    def files(self, where: str = "") -> list[Path]:
        """The messages there are."""
        return sorted(path for path in self.directory.glob(f"*/{where}*.json"))

    async def gone(self) -> None:
        """Wait until no message is left."""
        while self.files():
            await task.deferLater(reactor, 0.01)  # type: ignore[arg-type]

    async def enqueue(self, worker: RawWorker, data: Any) -> None:
        """Put a call on the named queue."""
        action = {"type": "enqueue", "queue": "mail"}
        await worker.result_of(worker.invoke("mail::send", data, action=action))

    async def test_a_message_waits_as_a_file_until_it_is_handled(self) -> None:
        engine = await self.start()
        worker = await self.worker(engine)
        await self.enqueue(worker, {"to": "ada"})
        self.assertEqual(len(self.files()), 1)
        await worker.register("mail::send")
        call = await worker.answer("mail::send", result=None)
        self.assertEqual(call["data"], {"to": "ada"})
        await self.gone()

    async def test_it_survives_a_restart(self) -> None:
        engine = await self.start()
        await self.enqueue(await self.worker(engine), {"to": "ada"})
        await engine.stop()

        worker = await self.worker(await self.start(), "mail::send")
        await worker.answer("mail::send", result=None)
        await self.gone()

    async def test_what_fails_too_often_is_dead(self) -> None:
        worker = await self.worker(await self.start(), "mail::send")
        await self.enqueue(worker, {"to": "ada"})
        for _ in range(2):
            await worker.answer("mail::send", error={"code": "boom", "message": "no"})
        await self.gone()
        (dead,) = self.files("dead/")
        self.assertIn(b'"boom"', dead.read_bytes())

    async def test_topics_work_as_well(self) -> None:
        worker = await self.worker(await self.start(), "orders::new")
        await worker.trigger("queue", "orders::new", {"topic": "orders"})
        await worker.call("enqueue", {"topic": "orders", "data": [1, 2]})
        call = await worker.answer("orders::new", result=None)
        self.assertEqual(call["data"], [1, 2])
        await self.gone()

    async def test_what_it_cannot_do_is_said(self) -> None:
        worker = await self.worker(await self.start())
        error = await worker.error_of("engine::queue::purge", {"topic": "mail"})
        self.assertEqual(error["code"], "not_supported")
        self.assertIn("spool", error["message"])


class Registration(PlainCase):
    """docs/modules.md, "Getting in"."""

    def test_the_entry_point_makes_it_known(self) -> None:
        catalogue = Catalogue()
        example().register(catalogue)
        queue = catalogue.find("iii-queue")
        assert queue is not None
        self.assertIn("my::Spool", [adapter.name for adapter in queue.adapters])
