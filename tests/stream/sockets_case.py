"""Cases of the stream sockets: a real engine, a real stream port, and a shelf for a store.

``Shelf`` stands in for the stream functions: it holds values, publishes events, and a read
of it can be made to wait or to fail.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, succeed

from iii.engine.module import ModuleApi
from iii.modules.stream.admission import Admission
from iii.modules.stream.events import Event, Timestamps
from iii.modules.stream.port import StreamPort
from iii.modules.stream.subscriptions import Subscriptions
from iii.tlsport import Certificates
from tests.support.engine_case import RawWorker
from tests.support.rawsocket import CLOSE, PING, PONG, TEXT, RawSocket, dial, frame, upgrade
from tests.wire.support import TimelessCase, WireCase

Envelope = dict[str, Any]


class Shelf:
    """Values by stream and group, and events about them.

    :ivar waiting: when a list, reads wait in there for the test to answer them
    :ivar fault: what reads fail with
    """

    def __init__(self, api: ModuleApi, subscriptions: Subscriptions) -> None:
        self.timestamps = Timestamps(api.clock)
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.waiting: list[Deferred[Raw | None]] | None = None
        self.fault: Exception | None = None
        self._subscriptions = subscriptions

    def put(self, item: str, data: Any, stream: str = "chat", group: str = "g") -> None:
        """``stream::set``."""
        values = self.groups.setdefault((stream, group), {})
        kind = "update" if item in values else "create"
        values[item] = data
        self.publish({"type": kind, "data": data}, item, stream, group)

    def say(self, type: str, item: str | None = None, group: str = "g") -> None:
        """``stream::send``."""
        event = {"type": "event", "event": {"type": type, "data": None}}
        self.publish(event, item, "chat", group)

    def publish(self, event: Any, item: str | None, stream: str, group: str) -> None:
        """Any event."""
        envelope = {
            "type": "stream",
            "timestamp": self.timestamps.next(stream, group, item),
            "streamName": stream,
            "groupId": group,
            "id": item,
            "event": event,
        }
        payload = msgspec.json.encode(envelope)
        self._subscriptions.publish(Event(stream, group, item, payload))

    def read_item(self, stream: str, group: str, item: str) -> Deferred[Raw | None]:
        """``stream::get``."""
        values = self.groups.get((stream, group), {})
        return self._read(values.get(item), item in values)

    def read_group(self, stream: str, group: str) -> Deferred[Raw | None]:
        """``stream::list``."""
        values = self.groups.get((stream, group))
        return self._read(values and list(values.values()), values is not None)

    def _read(self, value: Any, found: bool) -> Deferred[Raw | None]:
        if self.fault is not None:
            raise self.fault
        if self.waiting is not None:
            answer: Deferred[Raw | None] = Deferred()
            self.waiting.append(answer)
            return answer
        return succeed(Raw(msgspec.json.encode(value)) if found else None)


class Client:
    """A stream client."""

    def __init__(self, socket: RawSocket) -> None:
        self.socket = socket

    def say(self, type: str, group: str, item: str | None, **changes: Any) -> None:
        """Send a ``join`` or ``leave``."""
        data = {"subscriptionId": "x", "streamName": "chat", "groupId": group, "id": item}
        data.update(changes)
        self.socket.text(msgspec.json.encode({"type": type, "data": data}))

    def join(self, group: str = "g", item: str | None = None, **changes: Any) -> None:
        """Send a ``join``."""
        self.say("join", group, item, **changes)

    def leave(self, group: str = "g", item: str | None = None, **changes: Any) -> None:
        """Send a ``leave``."""
        self.say("leave", group, item, **changes)

    async def next(self) -> Envelope:
        """The next frame."""
        return await self.socket.next_message()

    async def event(self) -> Any:
        """The ``event`` of the next frame."""
        return (await self.next())["event"]

    async def joined(self, group: str = "g", item: str | None = None, **changes: Any) -> Envelope:
        """``join``, and its sync."""
        self.join(group, item, **changes)
        envelope = await self.next()
        if envelope["event"]["type"] != "sync":
            raise AssertionError(f"expected a sync, got {envelope}")
        return envelope

    async def pending(self) -> list[Envelope]:
        """What has come once everything sent so far was handled."""
        self.socket.raw(frame(PING, b"?"))
        await self.socket.until(
            lambda: any(got.opcode == PONG for got in self.socket.frames), "pong"
        )
        frames, self.socket.frames[:] = list(self.socket.frames), []
        return [msgspec.json.decode(got.payload) for got in frames if got.opcode == TEXT]

    async def close_code(self) -> int | None:
        """The code of the close frame that comes next, whatever is before it."""
        await self.socket.until(
            lambda: any(got.opcode == CLOSE for got in self.socket.frames), "close"
        )
        return next(got for got in self.socket.frames if got.opcode == CLOSE).close_code


class _Streams:
    """The stream port beside the worker port.

    :cvar auth_function: as configured
    :cvar fail_open: as configured
    :cvar allowed_origins: as configured
    """

    auth_function: str | None = None
    fail_open = False
    allowed_origins: tuple[str, ...] = ()

    def prepare(self) -> None:
        """EngineCase: offer the trigger types, listen."""
        case: Any = self
        self.api = ModuleApi(case.engine, "iii-stream")
        self.admission = Admission(self.api, fail_open=self.fail_open)
        for name in ("stream", "streams"):
            self.api.trigger_type(f"{name}:join", self.admission.joins)
            self.api.trigger_type(f"{name}:leave", self.admission.leaves)
        self.subscriptions = Subscriptions(self.api.turn)
        self.shelf = Shelf(self.api, self.subscriptions)
        self.streams = StreamPort(
            self.api,
            self.shelf,
            self.subscriptions,
            self.admission,
            host="127.0.0.1",
            port=0,
            auth_function=self.auth_function,
            fail_open=self.fail_open,
            certificates=self.stream_certificates(),
            allowed_origins=self.allowed_origins,
        )
        self.streams.listen()

    def stream_certificates(self) -> Certificates | None:
        """For a stream port with TLS."""
        return None

    async def dial_streams(self) -> RawSocket:
        """A connection to the stream port that has sent nothing yet."""
        return await dial(self.streams.port)

    async def asked(self, path: str = "/", **headers: str | None) -> RawSocket:
        """A connection whose upgrade was asked for."""
        case: Any = self
        socket = await self.dial_streams()
        case._sockets.append(socket)
        socket.raw(upgrade(path, self.streams.port, **headers))
        return socket

    async def client(self, path: str = "/", **headers: str | None) -> Client:
        """A client whose upgrade was accepted."""
        socket = await self.asked(path, **headers)
        await socket.until(lambda: bool(socket.head), "answer to the upgrade")
        if socket.status != 101:
            raise AssertionError(socket.head)
        return Client(socket)

    async def guard(self, type: str = "stream:join", config: Any = None) -> RawWorker:
        """A worker with a handler, its function named like the type."""
        case: Any = self
        worker: RawWorker = await case.worker(type)
        await worker.trigger(type, type, config)
        return worker

    async def stop_streams(self) -> None:
        """The end of the stream port, whoever is still connected."""
        case: Any = self
        for socket in case._sockets:
            socket.drop()
        await case.eventually(lambda: not self.streams.factory.connections)
        await self.streams.stop()


class StreamCase(_Streams, WireCase):
    """The engine's clock is the reactor's."""

    async def tearDown(self) -> None:
        await self.stop_streams()
        await super().tearDown()


class TimelessStreamCase(_Streams, TimelessCase):
    """The engine's clock is in the test's hand."""

    async def tearDown(self) -> None:
        await self.stop_streams()
        await super().tearDown()
