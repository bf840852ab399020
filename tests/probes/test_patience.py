"""How long the engine waits for a peer (01 §4.3, decision 40; 01 §18.8, §18.9)."""

from __future__ import annotations

from twisted.internet.task import Clock as Ticks

from iii.engine.clock import Clock
from iii.websocket.outbox import STALL_S
from iii.websocket.server import HANDSHAKE_S, PING_S, SILENT_S
from tests.support.engine_case import EngineCase
from tests.support.rawsocket import PING, PONG, dial, frame


class Patience(EngineCase):
    """Real sockets, and a clock that the test moves."""

    def make_clock(self) -> Clock:
        """Virtual."""
        self.ticks = Ticks()
        return Clock.virtual(self.ticks)

    async def test_workers_are_pinged(self) -> None:
        """Decision 40: every 20 s."""
        worker = await self.worker()
        for _ in range(3):
            self.ticks.advance(PING_S)
            ping = await worker.socket.next_frame()
            self.assertEqual(ping.opcode, PING)
            worker.socket.raw(frame(PONG, ping.payload))
            await worker.settled()
        self.assertIsNotNone(self.engine.workers.get(worker.id))

    async def test_who_says_nothing_is_dropped(self) -> None:
        """Decision 40: after 60 s without any frame; its calls end."""
        silent, caller = await self.worker("f"), await self.worker()
        id = caller.invoke("f")
        await silent.invoked("f")
        for _ in range(int(SILENT_S / PING_S)):
            self.ticks.advance(PING_S)
            await caller.settled()
        self.assertEqual((await caller.result_of(id))["error"]["code"], "invocation_stopped")
        await silent.socket.ended()

    async def test_channels_are_not_pinged(self) -> None:
        """07 B4.15: some writers never read."""
        worker = await self.worker()
        ref = (await worker.call("engine::channels::create", {}))["writer"]
        path = f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir="
        writer, reader = await self.socket(path + "write"), await self.socket(path + "read")
        for _ in range(6):
            self.ticks.advance(PING_S)
            await worker.settled()
        writer.text("still here")
        self.assertEqual((await reader.next_frame()).payload, b"still here")

    async def test_a_handshake_has_ten_seconds(self) -> None:
        """01 §17.2: an accepted connection that says nothing is closed."""
        silent = await dial(self.port)
        half = await dial(self.port)
        half.raw(b"GET / HTTP/1.1\r\nHost: x\r\n")
        await self.eventually(lambda: len(self.listener.factory.connections) == 2)
        self.ticks.advance(HANDSHAKE_S + 1.5)
        for socket in (silent, half):
            await socket.ended()

    async def test_a_worker_that_never_reads_hurts_itself_only(self) -> None:
        """01 §18.9: its calls are refused, others go on, then it is dropped."""
        deaf, caller, other = await self.worker("deaf"), await self.worker(), await self.worker("f")
        deaf.socket.pause()
        filler = "x" * (8 * 1024 * 1024)
        ids = [caller.invoke("deaf", filler) for _ in range(12)]
        id = caller.invoke("f", 1)
        await other.answer("f", result=2)
        self.assertEqual((await caller.result_of(id, 10))["result"], 2)
        refused = await caller.result_of(ids[-1])
        self.assertEqual(refused["error"]["code"], "overloaded")
        for _ in range(3):
            # A frame that was waiting when the time began counts: nothing was taken since.
            deaf.send("ping")
            await self.pause(0.02)
            self.ticks.advance(STALL_S / 2)
            caller.send("ping")
            await caller.expect("pong")
        stopped = await caller.result_of(ids[0])
        self.assertEqual(stopped["error"]["code"], "invocation_stopped")
        self.assertIsNone(self.engine.workers.get(deaf.id))
