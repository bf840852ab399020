"""A case with a real engine behind a real worker port, and workers of flesh and blood.

``RawWorker`` is a worker as the wire sees it.  ``RawWorker.settled`` is how a test
waits without sleeping: messages of one connection are handled in order, so when a
ping is answered everything before it has been done.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine import corefunctions
from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.functions import Routing
from iii.engine.ids import uuid4_text
from iii.wire.listener import WorkerListener
from tests.support.rawsocket import TEXT, WAIT_S, RawSocket, dial, open_socket

Message = dict[str, Any]


class RawWorker:
    """A worker connection.

    :ivar id: what the engine calls it
    :ivar hello: its ``workerregistered``
    :ivar inbox: messages that nobody took yet, oldest first
    """

    def __init__(self, socket: RawSocket, hello: Message) -> None:
        self.socket = socket
        self.hello = hello
        self.id: str = hello["worker_id"]
        self.inbox: list[Message] = []

    def send(self, type: str, **fields: Any) -> None:
        """Send one message."""
        self.socket.text(msgspec.json.encode({"type": type, **fields}))

    async def expect(self, type: str, wait_s: float = WAIT_S, **fields: Any) -> Message:
        """The next message of ``type`` with these fields; others stay in the inbox."""
        while True:
            self._collect()
            for message in self.inbox:
                if message["type"] == type and fields.items() <= message.items():
                    self.inbox.remove(message)
                    return message
            await self.socket.until(
                lambda: any(frame.opcode == TEXT for frame in self.socket.frames),
                f"{type} {fields} (inbox: {self.inbox})",
                wait_s,
            )

    def _collect(self) -> None:
        rest = []
        for frame in self.socket.frames:
            if frame.opcode == TEXT:
                self.inbox.append(msgspec.json.decode(frame.payload))
            else:
                rest.append(frame)
        self.socket.frames[:] = rest

    async def settled(self) -> None:
        """Wait until the engine has handled everything sent so far."""
        self.send("ping")
        await self.expect("pong")

    async def register(self, *ids: str, **fields: Any) -> None:
        """Register functions and wait until they are there."""
        for id in ids:
            self.send("registerfunction", id=id, **fields)
        await self.settled()

    async def trigger(self, type: str, function_id: str, config: Any = None, **fields: Any) -> str:
        """Register a trigger and wait until the engine has seen it; its id."""
        id: str = fields.pop("id", None) or uuid4_text()
        self.send(
            "registertrigger",
            id=id,
            trigger_type=type,
            function_id=function_id,
            config={} if config is None else config,
            **fields,
        )
        await self.settled()
        return id

    def invoke(self, function_id: str, data: Any = None, **fields: Any) -> str:
        """Send a call that is to be answered; its invocation id."""
        id: str = fields.pop("invocation_id", None) or uuid4_text()
        self.send("invokefunction", invocation_id=id, function_id=function_id, data=data, **fields)
        return id

    async def result_of(self, invocation_id: str, wait_s: float = WAIT_S) -> Message:
        """The answer to a call."""
        return await self.expect("invocationresult", wait_s, invocation_id=invocation_id)

    async def call(self, function_id: str, data: Any = None, **fields: Any) -> Any:
        """Call a function; its result, None when it has none.

        :raises AssertionError: it failed
        """
        answer = await self.result_of(self.invoke(function_id, data, **fields))
        if "error" in answer:
            raise AssertionError(f"{function_id}: {answer['error']}")
        return answer.get("result")

    async def error_of(self, function_id: str, data: Any = None, **fields: Any) -> Message:
        """Call a function that is to fail; its error."""
        answer = await self.result_of(self.invoke(function_id, data, **fields))
        error: Message = answer["error"]
        return error

    async def invoked(self, function_id: str) -> Message:
        """The next call this worker is to run."""
        return await self.expect("invokefunction", function_id=function_id)

    def reply(self, call: Message, **outcome: Any) -> None:
        """Answer ``call`` with ``result=`` or ``error=`` or nothing."""
        self.send(
            "invocationresult",
            invocation_id=call["invocation_id"],
            function_id=call["function_id"],
            **outcome,
        )

    async def answer(self, function_id: str, **outcome: Any) -> Message:
        """Wait for a call and answer it."""
        call = await self.invoked(function_id)
        self.reply(call, **outcome)
        return call

    async def describe(self, **said: Any) -> None:
        """``engine::workers::register``."""
        await self.call("engine::workers::register", said)

    async def leave(self) -> None:
        """End the connection without a goodbye and wait for our side of it."""
        self.socket.drop()
        await self.socket.ended()


class EngineCase(TestCase):
    """A real engine with its core functions, listening on a free port.

    :cvar routing: how calls are spread
    """

    routing: Routing = "balance"
    timeout = 20

    async def setUp(self) -> None:
        self.engine = Engine(reactor, clock=self.make_clock(), routing=self.routing)
        corefunctions.install(self.engine)
        self.prepare()
        self.engine.start()
        self.listener = self.make_listener()
        self.listener.listen()
        self.port = self.listener.port
        self._sockets: list[RawSocket] = []

    def make_clock(self) -> Clock | None:
        """The engine's clock; None for the reactor's."""
        return None

    def make_listener(self) -> WorkerListener:
        """The worker port."""
        return WorkerListener(self.engine, host="127.0.0.1", port=0)

    async def dial(self) -> RawSocket:
        """A connection to the worker port that has sent nothing yet."""
        return await dial(self.port)

    def prepare(self) -> None:
        """Add modules' functions and trigger types, before anybody connects."""

    async def tearDown(self) -> None:
        for socket in self._sockets:
            socket.drop()
        for socket in self._sockets:
            await socket.ended()
        await self.listener.stop_listening()
        await self.eventually(lambda: not self.listener.factory.connections)
        self.listener.factory.stop()
        self.engine.stop()
        _cancel_batched_timers()

    async def socket(self, path: str = "/") -> RawSocket:
        """A WebSocket."""
        socket = await open_socket(self.port, path, await self.dial())
        self._sockets.append(socket)
        return socket

    async def worker(self, *functions: str) -> RawWorker:
        """A connected worker that offers ``functions``."""
        socket = await self.socket()
        worker = RawWorker(socket, await socket.next_message())
        if functions:
            await worker.register(*functions)
        return worker

    async def gone(self, worker: RawWorker) -> None:
        """Cut ``worker`` and wait until the engine has cleaned up."""
        await worker.leave()
        await self.eventually(lambda: self.engine.workers.get(worker.id) is None)

    async def eventually(self, there: Any, wait_s: float = WAIT_S) -> None:
        """Wait until ``there()``, polling: for what no message announces."""
        for _ in range(int(wait_s / 0.005)):
            if there():
                return
            await self.pause(0.005)
        self.fail("it did not happen")

    async def pause(self, seconds: float) -> None:
        """Let the reactor run."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    async def quiet(self, *workers: RawWorker) -> None:
        """Nothing is on its way to these workers."""
        for worker in workers:
            await worker.settled()
        for worker in workers:
            self.assertEqual(worker.inbox, [])


def _cancel_batched_timers() -> None:
    """Autobahn's close time-outs stay in the reactor after their connection is gone."""
    for call in reactor.getDelayedCalls():  # type: ignore[attr-defined]
        if getattr(call.func, "__name__", "") == "_notify_bucket":
            call.cancel()
