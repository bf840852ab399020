"""Channels: bytes beside the worker socket.

A channel has a writing and a reading end; a reference to an end is plain JSON
and may stand anywhere in a payload, where the receiving client puts the end
itself.  An end connects when it is first used, also if its first use is
``close()``: the other side is waiting for the end of the stream.

Everything written to one end leaves in the order of the calls, whichever methods
were used.  The socket lives on the client's loop; the methods may be called from
other loops and threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from msgspec import Struct

from iii.client.errors import ChannelError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger("iii.client")

MAX_FRAME_SIZE = 64 * 1024

T = TypeVar("T")


class StreamChannelRef(Struct, frozen=True):
    """One end of a channel, as it stands in a payload."""

    channel_id: str
    access_key: str
    direction: Literal["read", "write"]


Dial = Callable[[StreamChannelRef], Awaitable["ClientConnection"]]


def build_channel_url(address: str, ref: StreamChannelRef) -> str:
    """Where an end connects; a query string of the address stays in front."""
    parts = urlsplit(address)
    path = f"{parts.path.rstrip('/')}/ws/channels/{quote(ref.channel_id, safe='')}"
    query = f"key={quote(ref.access_key, safe='')}&dir={ref.direction}"
    query = f"{parts.query}&{query}" if parts.query else query
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def as_channel_ref(value: Any) -> StreamChannelRef | None:
    """The reference a value of a payload is, or None."""
    if not isinstance(value, dict):
        return None
    channel_id, access_key = value.get("channel_id"), value.get("access_key")
    direction = value.get("direction")
    if isinstance(channel_id, str) and isinstance(access_key, str):
        if direction == "read":
            return StreamChannelRef(channel_id, access_key, "read")
        if direction == "write":
            return StreamChannelRef(channel_id, access_key, "write")
    return None


def is_channel_ref(value: Any) -> bool:
    """Whether a value of a payload is a reference to an end of a channel."""
    return as_channel_ref(value) is not None


class _End:
    """What both ends share: the reference, and the loop the socket lives on."""

    def __init__(self, ref: StreamChannelRef, dial: Dial, loop: asyncio.AbstractEventLoop) -> None:
        self.channel_ref = ref
        self._dial = dial
        self._loop = loop

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the client's loop, from whatever loop."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _connect(self) -> ClientConnection:
        from websockets.exceptions import InvalidStatus, WebSocketException

        try:
            return await self._dial(self.channel_ref)
        except InvalidStatus as error:
            status = error.response.status_code
            why = f"HTTP {status}" + (": unknown, or finished" if status == 404 else "")
            raise ChannelError(f"channel {self.channel_ref.channel_id} refused: {why}") from error
        except (OSError, WebSocketException) as error:
            raise ChannelError(
                f"channel {self.channel_ref.channel_id} can't be opened: {error}"
            ) from error


class _Item:
    """Something to write; ``data`` None is the end."""

    __slots__ = ("data", "done")

    def __init__(self, data: bytes | str | None, done: asyncio.Future[None] | None) -> None:
        self.data = data
        self.done = done


class ChannelWriter(_End):
    """The writing end of a channel."""

    def __init__(self, ref: StreamChannelRef, dial: Dial, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(ref, dial, loop)
        self._items: deque[_Item] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._error: ChannelError | None = None
        self._ended = False

    @property
    def stream(self) -> WritableStream:
        """The same end with ``write``/``end`` that do not wait."""
        return WritableStream(self)

    @property
    def used(self) -> bool:
        """Whether anything was ever written or closed."""
        return self._ended or self._pump is not None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes, in frames of at most 64 KiB, and wait until they are out.

        :raises ChannelError: when the channel can't be opened or is closed
        """
        await self._there(self._put(bytes(data)))

    async def send_message_async(self, text: str) -> None:
        """Send one text frame and wait until it is out."""
        await self._there(self._put(text))

    async def close_async(self) -> None:
        """End the stream, after everything written before, and wait for it."""
        await self._there(self._put(None))

    def send_message(self, text: str) -> None:
        """Send one text frame, without waiting."""
        self._put_soon(text)

    def close(self) -> None:
        """End the stream, without waiting."""
        self._put_soon(None)

    def write_soon(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes without waiting.  Nothing limits how much is kept: prefer ``write``."""
        self._put_soon(bytes(data))

    async def _put(self, data: bytes | str | None) -> None:
        if data is None and self._ended:
            if self._pump is not None:
                await asyncio.wait([self._pump])
            return
        done = self._loop.create_future()
        self._add(_Item(data, done))
        await done

    def _put_soon(self, data: bytes | str | None) -> None:
        item = _Item(data, None)
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self._add(item)
        else:
            self._loop.call_soon_threadsafe(self._add_or_log, item)

    def _add_or_log(self, item: _Item) -> None:
        try:
            self._add(item)
        except ChannelError as error:
            logger.warning("%s", error)

    def _add(self, item: _Item) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            if item.data is None:
                return
            raise ChannelError(f"channel {self.channel_ref.channel_id} is closed")
        self._ended = item.data is None
        self._items.append(item)
        if self._pump is None or self._pump.done():
            self._pump = self._loop.create_task(self._run(), name="iii-channel-write")

    async def _run(self) -> None:
        """Write what is queued, one after the other; a failure ends the channel."""
        from websockets.exceptions import ConnectionClosed

        try:
            while self._items:
                item = self._items[0]
                if self._socket is None:
                    self._socket = await self._connect()
                await self._write(self._socket, item.data)
                self._items.popleft()
                if item.done is not None and not item.done.done():
                    item.done.set_result(None)
        except ConnectionClosed as closed:
            self._fail(ChannelError(f"channel {self.channel_ref.channel_id} is closed: {closed}"))
        except ChannelError as error:
            self._fail(error)

    async def _write(self, socket: ClientConnection, data: bytes | str | None) -> None:
        if data is None:
            await socket.close(1000, "stream_complete")
        elif isinstance(data, str):
            await socket.send(data)
        else:
            view = memoryview(data)
            for start in range(0, len(view), MAX_FRAME_SIZE):
                await socket.send(view[start : start + MAX_FRAME_SIZE])

    def _fail(self, error: ChannelError) -> None:
        self._error = error
        items, self._items = self._items, deque()
        nobody_waits = True
        for item in items:
            if item.done is not None and not item.done.done():
                nobody_waits = False
                item.done.set_exception(error)
        if nobody_waits:
            logger.warning("%s", error)


class WritableStream:
    """The writing end, for code that does not wait."""

    def __init__(self, writer: ChannelWriter) -> None:
        self._writer = writer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes."""
        self._writer.write_soon(data)

    def end(self, data: bytes | bytearray | memoryview | None = None) -> None:
        """Write the last bytes, if any, and end the stream."""
        if data is not None:
            self._writer.write_soon(data)
        self._writer.close()


class ChannelReader(_End):
    """The reading end of a channel: ``async for chunk in reader``.

    Binary frames are the chunks; text frames go to the callbacks of ``on_message``
    while somebody reads.
    """

    def __init__(self, ref: StreamChannelRef, dial: Dial, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(ref, dial, loop)
        self._socket: ClientConnection | None = None
        self._callbacks: list[Callable[[str], object]] = []
        self._ended = False

    @property
    def stream(self) -> AsyncIterator[bytes]:
        """The chunks."""
        return self

    def on_message(self, callback: Callable[[str], object]) -> None:
        """Call ``callback`` with each text frame."""
        self._callbacks.append(callback)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._there(self._next())
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read_all(self) -> bytes:
        """Everything up to the end.

        :raises ChannelError: when the stream breaks off
        """
        return b"".join([chunk async for chunk in self])

    async def close_async(self) -> None:
        """Stop reading."""
        await self._there(self._close())

    async def _next(self) -> bytes | None:
        from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

        if self._ended:
            return None
        try:
            if self._socket is None:
                self._socket = await self._connect()
            while True:
                data = await self._socket.recv()
                if isinstance(data, bytes):
                    return data
                self._tell(data)
        except ConnectionClosedOK:
            self._ended = True
            return None
        except ConnectionClosed as closed:
            self._ended = True
            # What broke off must not look like what ended.
            ref = self.channel_ref
            raise ChannelError(f"channel {ref.channel_id} broke off: {closed}") from closed

    async def _close(self) -> None:
        self._ended = True
        if self._socket is not None:
            await self._socket.close()

    def _tell(self, text: str) -> None:
        for callback in self._callbacks:
            try:
                callback(text)
            except Exception:
                logger.exception("an on_message callback failed")


class Channel:
    """Both ends of a new channel, and the references to hand out."""

    def __init__(self, writer: ChannelWriter, reader: ChannelReader) -> None:
        self.writer = writer
        self.reader = reader
        self.writer_ref = writer.channel_ref
        self.reader_ref = reader.channel_ref


def end_of(
    ref: StreamChannelRef, dial: Dial, loop: asyncio.AbstractEventLoop
) -> ChannelReader | ChannelWriter:
    """The end a reference means."""
    end = ChannelReader if ref.direction == "read" else ChannelWriter
    return end(ref, dial, loop)


def revive(value: Any, end: Callable[[StreamChannelRef], Any]) -> Any:
    """The payload with every reference, however deep, replaced by its end."""
    if isinstance(value, dict):
        ref = as_channel_ref(value)
        if ref is not None:
            return end(ref)
        return {key: revive(item, end) for key, item in value.items()}
    if isinstance(value, list):
        return [revive(item, end) for item in value]
    return value
