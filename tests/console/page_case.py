"""A case with open pages: what they watch, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.console.cases import ConsoleCase
from tests.support.rawsocket import TEXT, RawSocket, dial, upgrade

WAIT_S = 5.0


class OpenPage:
    """A page, as the wire sees it.

    :ivar told: messages that nobody took yet, oldest first
    """

    def __init__(self, socket: RawSocket) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    def send(self, **message: Any) -> None:
        """Say something."""
        self.socket.text(json.dumps(message))

    async def watch(self, topic: str, id: str = "s", **more: Any) -> None:
        """Subscribe, and wait until that is done."""
        self.send(op="subscribe", id=id, topic=topic, **more)
        await self.settled()

    async def settled(self) -> None:
        """Wait until everything said so far was handled."""
        self.send(op="ping")
        await self.next(event="pong")

    async def next(self, **fields: Any) -> dict[str, Any]:
        """The next message with these fields; others stay."""
        while True:
            self.collect()
            for message in self.told:
                if fields.items() <= message.items():
                    self.told.remove(message)
                    return message
            await self.socket.until(
                lambda: any(frame.opcode == TEXT for frame in self.socket.frames),
                f"{fields} (told: {str(self.told)[:2000]})",
                WAIT_S,
            )

    def collect(self) -> None:
        """Read what has arrived."""
        rest = []
        for frame in self.socket.frames:
            if frame.opcode == TEXT:
                self.told.append(json.loads(frame.payload))
            else:
                rest.append(frame)
        self.socket.frames[:] = rest

    async def item(
        self, wanted: Callable[[dict[str, Any]], bool], event: str = "add", id: str = "s"
    ) -> dict[str, Any]:
        """The first item that is wanted, in messages of this kind."""
        while True:
            message = await self.next(id=id, event=event)
            for item in message["items"]:
                if wanted(item):
                    found: dict[str, Any] = item
                    return found


class PageCase(ConsoleCase):
    """Pages of a console."""

    async def page(self) -> OpenPage:
        """Open one."""
        socket = await dial(self.port)
        self.addCleanup(socket.drop)
        socket.raw(upgrade("/ws/console", self.port))
        await socket.until(lambda: bool(socket.head), "answer")
        self.assertEqual(socket.status, 101, socket.head)
        return OpenPage(socket)

    @property
    def core(self) -> Any:
        """The engine inside."""
        return self.engine.engine

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something inside the engine."""

        async def attempt() -> bool:
            return reached()

        waits: Awaitable[Any] = self.eventually(attempt)
        await waits
