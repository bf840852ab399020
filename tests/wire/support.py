"""Cases of the wire tests: an engine whose log is read and whose time is in the test's hand."""

from __future__ import annotations

import re
import socket
from typing import Any

from twisted.internet.task import Clock as VirtualTime
from twisted.internet.task import LoopingCall
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from iii.engine.clock import Clock
from tests.support.engine_case import EngineCase, RawWorker
from tests.support.rawsocket import RawSocket

NARROW_BYTES = 8192
PROBLEMS = (LogLevel.warn, LogLevel.error, LogLevel.critical)


class WireCase(EngineCase):
    """An engine, and what it said in the log."""

    async def setUp(self) -> None:
        self._events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self._events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self._events.append)
        await super().setUp()

    def problems(self, pattern: str = "") -> list[str]:
        """Lines of warning and worse so far, of the engine and of its libraries."""
        lines = [formatEvent(event) for event in self._events if event.get("log_level") in PROBLEMS]
        return [line for line in lines if re.search(pattern, line)]

    def log_lines(self, pattern: str) -> list[str]:
        """Lines of any level."""
        lines = [formatEvent(event) for event in self._events]
        return [line for line in lines if re.search(pattern, line)]

    def connection_of(self, client: RawSocket) -> Any:
        """The engine's side of a client's connection."""
        ours = client.transport.getHost().port
        for connection in self.listener.factory.connections:
            if connection.transport.getPeer().port == ours:
                return connection
        raise LookupError(f"nothing is connected to port {ours}")

    def narrow(self, worker: RawWorker) -> None:
        """Let the kernel hold little between the engine and this worker."""
        theirs = self.connection_of(worker.socket).transport.socket
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW_BYTES)
        ours = worker.socket.transport.socket
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)

    def is_gone(self, worker: RawWorker) -> bool:
        """Whether the engine has forgotten this worker."""
        return self.engine.workers.get(worker.id) is None


class TimelessCase(WireCase):
    """The engine's clock stands still until ``advance``; only what is due now runs."""

    def make_clock(self) -> Clock:
        """EngineCase: a clock that only the test moves."""
        self.time = VirtualTime()
        return Clock.virtual(self.time)

    async def setUp(self) -> None:
        await super().setUp()
        self._due_now = LoopingCall(self.time.advance, 0)
        self._due_now.start(0.005)

    async def tearDown(self) -> None:
        try:
            await super().tearDown()
        finally:
            self._due_now.stop()

    async def advance(self, seconds: float) -> None:
        """Let time pass, second by second, and the sockets work in between."""
        while seconds > 0:
            step = min(1.0, seconds)
            self.time.advance(step)
            seconds -= step
            await self.pause(0)
        await self.pause(0.01)
