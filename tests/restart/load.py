"""Constant load: HTTP requests and messages for a queue, and what became of each.

A client tries again when it was refused: by a closed port, by 503, or because its
connection was closed before the engine had done anything.  Whether it had, the workers'
diary says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from iii import III, InitOptions, InvocationError, ReconnectionConfig, TriggerAction

PAUSE_S = 0.01
ENQUEUE_LIMIT_MS = 1500


class Broken(Exception):
    """The connection ended before the answer did.

    :ivar begun: a part of the answer was there
    """

    def __init__(self, begun: bool) -> None:
        super().__init__(f"begun: {begun}")
        self.begun = begun


@dataclass
class Outcome:
    """What clients saw.

    :ivar pages: numbers of the requests that were answered as they should
    :ivar refused: how often a client was told to come again
    :ivar broken: numbers of the requests that got no answer
    :ivar wrong: everything that must not happen
    :ivar jobs: numbers of the messages whose enqueue was acknowledged
    """

    pages: set[int] = field(default_factory=set)
    refused: int = 0
    broken: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    jobs: set[int] = field(default_factory=set)


class Load:
    """Clients of one engine, until ``stop``.

    :param http: the HTTP port
    :param worker: the worker port
    """

    def __init__(self, http: int, worker: int, *, browsers: int = 6, producers: int = 4) -> None:
        self.outcome = Outcome()
        self._http = http
        self._url = f"ws://127.0.0.1:{worker}"
        self._numbers = count(1)
        self._running = True
        self._tasks = [asyncio.create_task(self._browse()) for _ in range(browsers)]
        self._tasks.append(asyncio.create_task(self._produce(producers)))

    async def progress(self, seconds: float, pages: int = 20, jobs: int = 10) -> None:
        """Go on for a while, and until something was done meanwhile."""
        outcome = self.outcome
        wanted_pages, wanted_jobs = len(outcome.pages) + pages, len(outcome.jobs) + jobs
        await asyncio.sleep(seconds)
        async with asyncio.timeout(30):
            while True:
                await asyncio.sleep(0.02)
                if len(outcome.pages) >= wanted_pages and len(outcome.jobs) >= wanted_jobs:
                    return

    async def stop(self) -> Outcome:
        """End, when every client has got its last answer."""
        self._running = False
        await asyncio.gather(*self._tasks)
        return self.outcome

    # HTTP ------------------------------------------------------------------------------

    async def _browse(self) -> None:
        client = Browser(self._http)
        outcome = self.outcome
        number = next(self._numbers)
        while self._running:
            try:
                status, body = await client.get(f"/pages/{number}")
            except ConnectionRefusedError:
                outcome.refused += 1
                await asyncio.sleep(PAUSE_S)
                continue
            except Broken as error:
                outcome.broken.add(number)
                if error.begun:
                    outcome.wrong.append(f"page {number}: half an answer")
            else:
                if status == 503:
                    outcome.refused += 1
                    await asyncio.sleep(PAUSE_S)
                    continue
                if (status, body) == (200, b'{"number":"%d"}' % number):
                    outcome.pages.add(number)
                else:
                    outcome.wrong.append(f"page {number}: {status} {body!r}")
            number = next(self._numbers)
        client.close()

    # Queue -----------------------------------------------------------------------------

    async def _produce(self, producers: int) -> None:
        soon = ReconnectionConfig(initial_delay_ms=20, max_delay_ms=100)
        options = InitOptions(reconnection_config=soon, invocation_timeout_ms=ENQUEUE_LIMIT_MS)
        iii = III(self._url, options)
        await iii.connect()
        await asyncio.gather(*(self._enqueue(iii) for _ in range(producers)))
        await iii.disconnect()

    async def _enqueue(self, iii: III) -> None:
        while self._running:
            number = next(self._numbers)
            action: Any = TriggerAction.Enqueue(queue="work")
            try:
                await iii.invoke("work::job", number, action=action)
            except InvocationError:
                continue  # nobody promised anything
            self.outcome.jobs.add(number)
            await asyncio.sleep(PAUSE_S)


class Browser:
    """One HTTP client that keeps its connection as long as it may."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body.

        :raises ConnectionRefusedError: nobody listens
        :raises Broken: there was no answer, or only a part of one
        """
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionResetError as error:
                # The port was closed before the engine had taken the connection.
                raise ConnectionRefusedError from error
        reader, writer = self._streams
        head = b""
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.lower().split(b"\r\n")
            lengths = [line[15:] for line in fields if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(lengths[0]))
        except asyncio.IncompleteReadError as error:
            self.close()
            raise Broken(bool(head or error.partial)) from error
        except ConnectionError as error:
            self.close()
            raise Broken(bool(head)) from error
        if b"connection: close" in fields:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None
