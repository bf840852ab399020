"""One connection, kept open.

``Connection`` connects, replays, reads and writes until the socket is lost, and
does it again, for every cause but its own ``close``: a refused connection, a
503, a close frame of any code, silence.  A socket that fails during the replay
is a failed attempt, not a connection.

The pauses grow (``ReconnectionConfig``) and start over after each success.  What
is written comes from the ``Outbox``; what is read goes to ``receive``; the rest
of the client knows no socket.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from iii.client.errors import UnwelcomeError
from iii.client.failures import explained
from iii.client.options import ReconnectionConfig, shown_address
from iii.client.outbox import Frame, Outbox

if TYPE_CHECKING:
    from iii.client.socket import WorkerSocket
    from iii.client.trust import Trust

logger = logging.getLogger("iii.client")

FLUSH_LIMIT_S = 5.0

#: Above this the outbox asks callers that can wait to wait.
HIGH_WATER_BYTES = 16 * 1024 * 1024

#: After so many frames without a pause the writer lets the reader run.
WRITES_PER_TURN = 100


class IIIConnectionState(StrEnum):
    """Where a client stands with its engine.  ``failed`` is final until ``connect()``."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    FAILED = "failed"


StateCallback = Callable[[IIIConnectionState], object]


@dataclass(slots=True)
class Timing:
    """What passes time, so that tests need not.

    :param pause: between two attempts to connect
    :param tick: between two looks for signs of life
    :param uniform: the jitter of the pauses
    """

    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    tick: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform


class Connection:
    """The link to the engine.

    :param trust: makes the TLS context of each connection
    :param replay: makes the frames every new connection starts with
    :param introduce: makes the frame that says who this is, after them
    :param receive: takes each frame that arrives
    :param failed: told when the client gives up for good
    """

    def __init__(
        self,
        address: str,
        *,
        headers: Callable[[], Mapping[str, str]],
        trust: Trust,
        reconnection: ReconnectionConfig,
        outbox: Outbox,
        replay: Callable[[], Iterable[Frame]],
        introduce: Callable[[], bytes],
        receive: Callable[[bytes], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.address = address
        self._shown = shown_address(address)
        self.timing = Timing()
        self.state = IIIConnectionState.DISCONNECTED
        self._headers = headers
        self._trust = trust
        self._reconnection = reconnection
        self._outbox = outbox
        self._replay = replay
        self._introduce = introduce
        self._receive = receive
        self._failed = failed
        self._listeners: dict[object, StateCallback] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: WorkerSocket | None = None
        self._fatal: BaseException | None = None
        self._refusal: UnwelcomeError | None = None
        self._closing = False

    # -- what the client asks ---------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop the connection lives on, once ``start`` was called."""
        return self._loop

    def start(self) -> None:
        """Connect in the background; a running connection is left alone."""
        loop = asyncio.get_running_loop()
        if self._running():
            if self._loop is not loop:
                raise RuntimeError("this client is connected on another event loop")
            return
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._fatal = None
        self._closing = False
        # A loop that was closed without disconnect() leaves these behind.
        self._socket = None
        self._outbox.close()
        self._settled: asyncio.Future[None] = loop.create_future()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._room = asyncio.Event()
        self._task = loop.create_task(self._run(), name="iii-connection")

    async def wait_connected(self) -> None:
        """Return once connected.

        :raises ConnectionError: when the client gave up
        """
        await asyncio.shield(self._settled)

    async def close(self) -> None:
        """Write what is queued, say goodbye with 1000, stop reconnecting."""
        task = self._task
        if task is None:
            return
        self._closing = True
        if self._running():
            if self._socket is not None:
                await self._flush(self._socket)
            if self._socket is not None:
                await self._socket.close()
            else:
                task.cancel()
            await asyncio.wait([task])
        self._task = None
        self._settle(ConnectionError("disconnect() was called"))
        self._become(IIIConnectionState.DISCONNECTED)

    def give_up(self, error: BaseException) -> None:
        """Stop for good: the engine does not want this worker."""
        self._fatal = error
        if self._socket is not None:
            self._socket.abort()

    def refused(self, error: UnwelcomeError) -> None:
        """The engine says why it is about to end this connection."""
        self._refusal = error

    async def room(self) -> None:
        """Wait while more is queued on this open connection than should be."""
        while (
            self._socket is not None
            and self._outbox.size_bytes > HIGH_WATER_BYTES
            and asyncio.get_running_loop() is self._loop
        ):
            self._room.clear()
            await self._room.wait()

    def listen(self, callback: StateCallback) -> Callable[[], None]:
        """Tell ``callback`` the state now and at each change; call the result to stop."""
        key = object()
        self._listeners[key] = callback
        self._tell(callback)

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    # -- the life of it ---------------------------------------------------------------

    async def _run(self) -> None:
        """Attempt after attempt, until closed or given up."""
        retry = 0
        self._become(IIIConnectionState.CONNECTING)
        while True:
            lost, was_connected = await self._attempt()
            if self._closing:
                return None
            if self._fatal is not None:
                return self._give_up(self._fatal)
            if was_connected:
                retry = 0
                self._become(IIIConnectionState.DISCONNECTED)
                self._settled = asyncio.get_running_loop().create_future()
            if self._reconnection.exhausted(retry):
                attempts = f"{retry + 1} attempt{'s' if retry else ''}"
                kind = UnwelcomeError if isinstance(lost, UnwelcomeError) else ConnectionError
                text = f"no connection to {self._shown} after {attempts}: {_words(lost)}"
                return self._give_up(kind(text))
            if was_connected:
                self._become(IIIConnectionState.RECONNECTING)
            delay_s = self._reconnection.delay_s(retry, self.timing.uniform(-1.0, 1.0))
            logger.warning(
                "%s %s: %s; trying again in %.1f s",
                "lost connection to" if was_connected else "can't connect to",
                self._shown,
                _words(lost),
                delay_s,
            )
            await self.timing.pause(delay_s)
            retry += 1

    async def _attempt(self) -> tuple[Exception, bool]:
        """One connection, from dial to loss: why it ended, and whether it had begun."""
        from iii.client.socket import dial

        self._refusal = None
        headers = self._headers()
        try:
            socket = await dial(self.address, headers, self._trust.renewed())
        except Exception as error:
            has_token = any(name.lower() == "authorization" for name in headers)
            return explained(self.address, error, has_token=has_token), False
        began = asyncio.Event()
        try:
            lost = await self._serve(socket, began)
            return self._refusal or lost, began.is_set()
        finally:
            self._socket = None
            self._outbox.close()
            self._room.set()
            socket.abort()

    async def _serve(self, socket: WorkerSocket, began: asyncio.Event) -> Exception:
        """Replay, then read and write until one of them ends: why it did."""

        def connected() -> None:
            began.set()
            self._become(IIIConnectionState.CONNECTED)
            self._settle(None)
            logger.info("connected to %s", self._shown)

        self._socket = socket
        introduction = Frame(self._introduce(), registration=True, written=connected)
        self._outbox.open(self._awaken, first=self._replay, last=introduction)
        jobs = {
            asyncio.create_task(self._read(socket), name="iii-read"),
            asyncio.create_task(self._write(socket), name="iii-write"),
            asyncio.create_task(socket.silence(self.timing.tick), name="iii-watch"),
        }
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        for job in done:
            error = job.exception()
            if isinstance(error, Exception):
                return explained(self.address, error, has_token=True)
        return ConnectionError("no frame from the engine for 60 s")

    async def _read(self, socket: WorkerSocket) -> None:
        while True:
            data = await socket.recv(decode=False)
            try:
                self._receive(data)
            except Exception:
                # One bad frame must not end the reading of all others.
                logger.exception("a frame from the engine could not be handled")

    async def _write(self, socket: WorkerSocket) -> None:
        written = 0
        while True:
            frame = self._outbox.take()
            if frame is None:
                self._idle.set()
                await self._wake.wait()
                self._wake.clear()
                continue
            self._idle.clear()
            if not socket.is_open:
                # It was queued after the loss: it waits for the next connection.
                self._outbox.untake(frame)
                await socket.wait_closed()
                raise ConnectionError("closed by the engine")
            await socket.write(frame.data)
            if frame.written is not None:
                frame.written()
            if self._outbox.size_bytes <= HIGH_WATER_BYTES // 2:
                self._room.set()
            written += 1
            if written % WRITES_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _flush(self, socket: WorkerSocket) -> None:
        """Wait until everything queued is written, for a while."""
        try:
            async with asyncio.timeout(FLUSH_LIMIT_S):
                while self._socket is socket and (self._outbox or not self._idle.is_set()):
                    await self._idle.wait()
                    await asyncio.sleep(0)
        except TimeoutError:
            logger.warning("%d messages could not be written in time", len(self._outbox))

    # -- small things -----------------------------------------------------------------

    def _running(self) -> bool:
        return (
            self._task is not None
            and not self._task.done()
            and self._loop is not None
            and not self._loop.is_closed()
        )

    def _awaken(self) -> None:
        """Wake the writer, from any thread."""
        if self._loop is None or self._loop.is_closed():
            return
        if threading.get_ident() == self._thread_id:
            self._wake.set()
        else:
            self._loop.call_soon_threadsafe(self._wake.set)

    def _give_up(self, error: BaseException) -> None:
        logger.error("gave up: %s", error)
        self._become(IIIConnectionState.FAILED)
        self._settle(error)
        self._failed(error)

    def _settle(self, error: BaseException | None) -> None:
        if self._settled.done():
            return
        if error is None:
            self._settled.set_result(None)
        else:
            self._settled.set_exception(error)
            # Marks it as seen: nobody has to be waiting.
            self._settled.exception()

    def _become(self, state: IIIConnectionState) -> None:
        if state is self.state:
            return
        self.state = state
        for callback in list(self._listeners.values()):
            self._tell(callback)

    def _tell(self, callback: StateCallback) -> None:
        try:
            callback(self.state)
        except Exception:
            logger.exception("a connection state callback failed")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
