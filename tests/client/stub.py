"""A WebSocket server that records what a client sends and says what it is told.

``ClientCase`` starts one per test on a free port and takes its clients down.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from http import HTTPStatus
from ssl import SSLContext
from typing import Any
from unittest import IsolatedAsyncioTestCase
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from iii import III, InitOptions

LIMIT_S = 5.0
INTRODUCTION = "engine::workers::register"

Json = dict[str, Any]


def is_introduction(frame: Json) -> bool:
    return frame.get("function_id") == INTRODUCTION


class Link:
    """One connection of a client."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = urlsplit(socket.request.path).path
        self.query = parse_qs(urlsplit(socket.request.path).query)
        self.headers = socket.request.headers
        self.frames: list[Json] = []
        self.raw: list[str | bytes] = []
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]

    async def until(self, done: Callable[[list[Json]], Any]) -> Any:
        """Wait until the frames so far satisfy ``done``; its value."""
        async with asyncio.timeout(LIMIT_S):
            while not (value := done(self.frames)):
                self._news.clear()
                await self._news.wait()
        return value

    async def frame(self, type: str, number: int = 0) -> Json:
        """The ``number``-th frame of a type, the introduction not counted."""

        def find(frames: list[Json]) -> Json | None:
            found = [f for f in frames if f["type"] == type and not is_introduction(f)]
            return found[number] if len(found) > number else None

        return await self.until(find)

    async def introduced(self) -> None:
        await self.until(lambda frames: any(map(is_introduction, frames)))

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def invoke(self, function_id: str, data: Any = None, **more: Any) -> Json:
        """Call a function of the client and wait for its answer."""
        invocation_id = str(uuid.uuid4())
        await self.say(
            type="invokefunction",
            invocation_id=invocation_id,
            function_id=function_id,
            data=data,
            **more,
        )
        return await self.until(
            lambda frames: next(
                (
                    f
                    for f in frames
                    if f["type"] == "invocationresult" and f["invocation_id"] == invocation_id
                ),
                None,
            )
        )

    def drop(self) -> None:
        """End the TCP connection without a close frame."""
        self.socket.transport.abort()

    async def read(self) -> None:
        try:
            async for data in self.socket:
                self.raw.append(data)
                if isinstance(data, str) and data.startswith("{"):
                    self.frames.append(json.loads(data))
                self._news.set()
        except ConnectionClosed:
            pass  # how it ended stands in ``closed``
        self.closed.set_result(self.socket.close_code)


class Stub:
    """The engine's place."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.channels: list[Link] = []
        self.refusals: list[HTTPStatus] = []
        self.greeting: Json | None = {"type": "workerregistered", "worker_id": "w-1"}
        self.on_connect: Callable[[Link], Any] | None = None
        self.attempts = 0
        self._server: Server | None = None
        self._news = asyncio.Event()

    async def start(self, port: int = 0, tls: SSLContext | None = None) -> None:
        self._scheme = "ws" if tls is None else "wss"
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            port,
            process_request=self._upgrade,
            compression=None,
            max_size=2**27,
            ssl=tls,
        )

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self._server.close(close_connections=False)
        for link in [*self.links, *self.channels]:
            link.drop()
        await self._server.wait_closed()

    async def link(self, number: int = 0) -> Link:
        """The ``number``-th worker connection, once its client has introduced itself."""
        link = await self._nth(self.links, number)
        await link.introduced()
        return link

    async def channel(self, number: int = 0) -> Link:
        return await self._nth(self.channels, number)

    async def _nth(self, links: list[Link], number: int) -> Link:
        async with asyncio.timeout(LIMIT_S):
            while len(links) <= number:
                self._news.clear()
                await self._news.wait()
        return links[number]

    def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts += 1
        if self.refusals:
            return connection.respond(self.refusals.pop(0), "not now")
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        link = Link(socket)
        is_channel = link.path.startswith("/ws/channels/")
        (self.channels if is_channel else self.links).append(link)
        if not is_channel and self.greeting:
            await link.say(**self.greeting)
        if self.on_connect is not None:
            await self.on_connect(link)
        self._news.set()
        await link.read()


class Pauses:
    """Stands in for the pauses between attempts: records them and takes no time."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


class ClientCase(IsolatedAsyncioTestCase):
    """A stub, and clients that are disconnected at the end."""

    async def asyncSetUp(self) -> None:
        self.stub = Stub()
        await self.stub.start()
        self.addAsyncCleanup(self.stub.stop)

    def client(
        self, url: str | None = None, *, pauses: Pauses | None = None, **options: Any
    ) -> III:
        client = III(url or self.stub.address, InitOptions(**options))
        client._connection.timing.pause = pauses or Pauses()
        self.addAsyncCleanup(client.disconnect)
        return client

    async def connected(self, **options: Any) -> tuple[III, Link]:
        client = self.client(**options)
        await client.connect(timeout=LIMIT_S)
        return client, await self.stub.link()
