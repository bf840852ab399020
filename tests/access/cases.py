"""An engine with two worker ports: an open one, and one with a gate."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from iii.access.doors import Doors
from iii.access.settings import Auth, Rbac
from iii.entries import WorkerListener as Settings
from iii.wire.listener import WorkerListener
from tests.support.engine_case import EngineCase, Message, RawWorker
from tests.support.rawsocket import CLOSE, TEXT, RawSocket, dial, upgrade

REFUSED = 1008
LATER = 1013
TOKEN = "a-token-that-nobody-would-guess"
OTHER = "another-token-nobody-would-guess"


class AccessCase(EngineCase):
    """The port of ``EngineCase`` is open; ``gated`` is the other one.

    :cvar auth: its top-level ``auth:``
    :cvar own_auth: ``auth:`` of its entry
    :cvar rbac: ``rbac:`` of its entry
    :cvar middleware: ``middleware_function_id:`` of its entry
    :cvar per_minute: ``auth_failures_per_minute:``
    :cvar trusted: ``trusted_proxies:``
    """

    auth: ClassVar[dict[str, Any] | None] = None
    own_auth: ClassVar[dict[str, Any] | None] = None
    rbac: ClassVar[dict[str, Any] | None] = None
    middleware: ClassVar[str | None] = None
    per_minute: ClassVar[int] = 10
    trusted: ClassVar[tuple[str, ...]] = ()

    async def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        await super().setUp()
        self._gates: list[WorkerListener] = []
        self.doors = Doors(self.engine, self.per_minute, self.trusted)
        self.gated = self.open_gate(
            rbac=self.rbac, auth=self.own_auth, middleware_function_id=self.middleware
        )

    def open_gate(self, **said: Any) -> WorkerListener:
        """One more port, with what an entry says about access."""
        for key, type_ in (("rbac", Rbac), ("auth", Auth)):
            if said.get(key) is not None:
                said[key] = msgspec.convert(said[key], type_)
        top = None if self.auth is None else msgspec.convert(self.auth, Auth)
        gate = self.doors.gate(Settings(**said), top)
        listener = WorkerListener(self.engine, host="127.0.0.1", port=0, gate=gate)
        listener.listen()
        self._gates.append(listener)
        return listener

    async def tearDown(self) -> None:
        for socket in self._sockets:
            socket.drop()
        for listener in self._gates:
            await listener.stop_listening()
            await self.eventually(lambda open=listener.factory.connections: not open)
            listener.factory.stop()
        await super().tearDown()

    async def knock(self, path: str = "/", port: int = 0, **headers: str | None) -> RawSocket:
        """Ask for an upgrade at the gated port; the answer may still be on its way."""
        socket = await dial(port or self.gated.port)
        self._sockets.append(socket)
        socket.raw(upgrade(path, port or self.gated.port, **headers))
        return socket

    async def enter(self, path: str = "/", port: int = 0, **headers: str | None) -> RawWorker:
        """A worker that is let in."""
        socket = await self.knock(path, port, **headers)
        return RawWorker(socket, await socket.next_message())

    async def refused(self, path: str = "/", port: int = 0, **headers: str | None) -> Message:
        """The error of a client that is not let in, with its close code as ``closed``."""
        return await self.turned_away(await self.knock(path, port, **headers))

    async def turned_away(self, socket: RawSocket) -> Message:
        """The error of a connection that is ended, with its close code as ``closed``."""
        message = await socket.next_message()
        self.assertEqual(message["type"], "error")
        frame = await socket.next_frame()
        self.assertEqual(frame.opcode, CLOSE)
        error: Message = message["error"]
        return {**error, "closed": frame.close_code}

    async def grants(self, worker: RawWorker, auth_function: str, **result: Any) -> Message:
        """Answer the auth function; what it was asked."""
        call = await worker.answer(auth_function, result=result)
        asked: Message = call["data"]
        return asked

    def log_text(self, *levels: LogLevel) -> str:
        """Everything in the log so far, one line each."""
        return "\n".join(
            formatEvent(event)
            for event in self.events
            if not levels or event.get("log_level") in levels
        )

    async def assert_lost(self, socket: RawSocket) -> None:
        """The engine says nothing more, but ends the connection."""
        socket.close_frame(REFUSED)
        await socket.ended()
        self.assertEqual([frame for frame in socket.frames if frame.opcode == TEXT], [])
