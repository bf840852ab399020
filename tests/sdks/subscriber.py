"""A bare client of the stream port, as the protocol describes it: join, leave, frames."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

FRAME_LIMIT_S = 8.0


class Subscriber:
    """One WebSocket to the stream port."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def open(cls, url: str) -> Subscriber:
        return cls(await connect(url, max_size=None))

    async def close(self) -> None:
        await self._socket.close()

    async def __aenter__(self) -> Subscriber:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, kind: str, stream: str, group: str, item: str | None, name: str) -> None:
        data = {"subscriptionId": name, "streamName": stream, "groupId": group}
        if item is not None:
            data["id"] = item
        await self._socket.send(json.dumps({"type": kind, "data": data}))

    async def join(self, stream: str, group: str, item: str | None = None, name: str = "s") -> None:
        await self._send("join", stream, group, item, name)

    async def leave(
        self, stream: str, group: str, item: str | None = None, name: str = "s"
    ) -> None:
        await self._send("leave", stream, group, item, name)

    async def frame(self) -> dict[str, Any]:
        """The next frame; every frame of this port is one envelope."""
        async with asyncio.timeout(FRAME_LIMIT_S):
            frame: dict[str, Any] = json.loads(await self._socket.recv())
        wanted = {"type", "timestamp", "streamName", "groupId", "id", "event"}
        assert set(frame) == wanted and frame["type"] == "stream", frame
        assert isinstance(frame["timestamp"], int), frame
        return frame

    async def event(self) -> Any:
        """What happened, of the next frame."""
        return (await self.frame())["event"]
