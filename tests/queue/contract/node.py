"""One engine with the queue module on some adapter, as ``EngineCase`` has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet import reactor

from iii.engine import corefunctions
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.modules.queue.config import QueueConfig
from iii.modules.queue.module import QueueModule
from iii.wire.listener import WorkerListener
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import open_socket


class Node:
    """One engine.

    :param adapter: a name of ``QueueModule.adapters``
    :param settings: its ``config:``
    :param queues: ``queue_configs``
    :ivar caller: a worker that only calls
    """

    caller: RawWorker

    def __init__(
        self, adapter: str, settings: dict[str, Any], queues: dict[str, dict[str, Any]]
    ) -> None:
        self.engine = Engine(reactor)
        corefunctions.install(self.engine)
        self.module = QueueModule(msgspec.convert({"queue_configs": queues}, QueueConfig))
        factory: Any = QueueModule.adapters[adapter]
        self.module.adapter = factory(msgspec.convert(settings, factory.config))
        self._listener = WorkerListener(self.engine, host="127.0.0.1", port=0)
        self._workers: list[RawWorker] = []

    async def start(self) -> None:
        """Start it, and connect the caller.

        :raises StartError: the adapter can't be used
        """
        try:
            await self.module.start(ModuleApi(self.engine, "iii-queue"))
        except BaseException:
            await self.module.stop()
            raise
        self.engine.start()
        self._listener.listen()
        self.caller = await self.worker()

    async def worker(self, *functions: str) -> RawWorker:
        """A connected worker that offers ``functions``."""
        socket = await open_socket(self._listener.port)
        worker = RawWorker(socket, await socket.next_message())
        self._workers.append(worker)
        if functions:
            await worker.register(*functions)
        return worker

    async def stop(self, until: Callable[..., Any]) -> None:
        """Stop it in the order of a stop whose time for running calls has passed.

        :param until: ``ContractCase.until``
        """
        self.engine.closing = True
        self.module.closing()
        await self._listener.stop_listening()
        await self.module.stop()
        for worker in self._workers:
            worker.socket.drop()
        for worker in self._workers:
            await worker.socket.ended()

        async def alone() -> bool:
            return not self._listener.factory.connections

        await until(alone, "an end of the connections")
        self._listener.factory.stop()
        self.engine.stop()
