"""A TCP proxy between the tested program and the engine, to cut the line with.

``cut`` ends the program's side of every connection and keeps the engine's side open
and silent, as a vanished network does: the engine still believes in the old worker
while the new one is already there.  ``release`` ends those, too.

While the engine is away the proxy has to be away as well (``pause``, ``resume``): to
accept and hang up is not what a stopped engine does, and Python SDKs from 0.9 to 0.21
never try again after it.
"""

from __future__ import annotations

import asyncio

READ_BYTES = 65536


class Proxy:
    """Forwards to one port; listens on a free one."""

    def __init__(self, port: int) -> None:
        self._upstream_port = port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._lines: set[Line] = set()
        self._held: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def resume(self) -> None:
        """Listen; always on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def pause(self) -> None:
        """Refuse new connections as a stopped engine does."""
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            # The engine went in between.
            writer.transport.abort()
            return
        line = Line((reader, writer), upstream)
        self._lines.add(line)
        try:
            await line.forward()
        finally:
            self._lines.discard(line)

    def cut(self) -> int:
        """Lose the program's side of every connection; returns how many."""
        lines = list(self._lines)
        for line in lines:
            self._held.append(line.cut())
        return len(lines)

    def release(self) -> None:
        """Let the engine notice."""
        for writer in self._held:
            writer.transport.abort()
        self._held.clear()

    def stop(self) -> None:
        self.pause()
        self.release()
        for line in list(self._lines):
            line.end()


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Line:
    """One connection through the proxy."""

    def __init__(self, program: Side, engine: Side) -> None:
        self._program = program
        self._engine = engine
        self._pumps: list[asyncio.Task[None]] = []
        self._cut = False

    async def forward(self) -> None:
        """Until one side ends; then the other one is ended as well."""
        self._pumps = [
            asyncio.create_task(pump(self._program[0], self._engine[1])),
            asyncio.create_task(pump(self._engine[0], self._program[1])),
        ]
        await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        if not self._cut:
            await asyncio.gather(self._drain(self._program[1]), self._drain(self._engine[1]))
        self._cancel()

    @staticmethod
    async def _drain(writer: asyncio.StreamWriter) -> None:
        writer.close()
        await asyncio.wait([asyncio.ensure_future(closed(writer))], timeout=2.0)

    def _cancel(self) -> None:
        for each in self._pumps:
            each.cancel()

    def cut(self) -> asyncio.StreamWriter:
        self._cut = True
        self._cancel()
        self._program[1].transport.abort()
        return self._engine[1]

    def end(self) -> None:
        self._cancel()
        self._program[1].transport.abort()
        self._engine[1].transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(READ_BYTES):
            writer.write(content)
            await writer.drain()
    except ConnectionError:
        # The end of the line; ``forward`` tells the other side.
        return


async def closed(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.wait_closed()
    except ConnectionError:
        return
