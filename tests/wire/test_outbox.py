"""The way out of one connection, over a real TCP connection with tiny buffers."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock as VirtualTime
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.turn import Turn
from iii.websocket import outbox as module
from iii.websocket.outbox import Outbox
from tests.support.rawsocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

TINY_BYTES = 4096
MIB = 1024 * 1024
BULK = b"b" * 64 * 1024


def server_frame(opcode: int, payload: bytes) -> bytes:
    """A small frame as the engine sends it."""
    return bytes((0x80 | opcode, len(payload))) + payload


class CountingSocket:
    """A socket that counts how often it is written to."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.sends = 0

    def send(self, data: bytes) -> int:
        """socket.send"""
        self.sends += 1
        return self._real.send(data)


class Peer:
    """The other end: reads when told to."""

    def __init__(self, port: int, buffer_bytes: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.data = bytearray()
        self.ended = False
        self._frames: list[Frame] = []
        self._parsed = 0

    def read(self, limit: int = 1 << 20) -> int:
        """Take up to ``limit`` bytes of what is there; how many it was."""
        try:
            part = self.socket.recv(limit)
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            self.ended = True
            return 0
        self.ended = not part
        self.data += part
        return len(part)

    def frames(self) -> list[Frame]:
        """What has arrived, whole frames only."""
        data, at = self.data, self._parsed
        while at + 2 <= len(data):
            length, start = data[at + 1] & 0x7F, at + 2
            if length == 126:
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start + length > len(data):
                break
            payload = bytes(data[start : start + length])
            self._frames.append(Frame(data[at] & 0x0F, payload, bool(data[at] & 0x80)))
            self._parsed = at = start + length
        return self._frames


class OutboxCase(TestCase):
    """An outbox on a TCP connection whose kernel buffers hold next to nothing.

    :cvar buffer_bytes: what the kernel may hold on either side, about
    """

    timeout = 20
    buffer_bytes = TINY_BYTES

    async def setUp(self) -> None:
        accepted: Deferred[Any] = Deferred()

        class Server(Protocol):
            def connectionMade(self) -> None:
                accepted.callback(self.transport)

        factory = Factory.forProtocol(Server)
        factory.noisy = False
        listening: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(listening.stopListening)
        self.peer = Peer(listening.getHost().port, self.buffer_bytes)
        self.transport = await accepted
        self.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_bytes)
        self.time = VirtualTime()
        self.turn = Turn(Clock.virtual(self.time))
        self.stalls = 0
        self.outbox = Outbox(self.transport, self.turn, Clock.virtual(self.time), self._note_stall)

    async def tearDown(self) -> None:
        self.outbox.close()
        self.transport.abortConnection()
        self.peer.socket.close()
        await self.pause(0.01)

    def _note_stall(self) -> None:
        self.stalls += 1

    async def pause(self, seconds: float = 0) -> None:
        """Let the reactor run."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    async def read_until(self, there: Callable[[], bool], limit: int = 1 << 20) -> None:
        """Read on until ``there()``."""
        give_up_at = reactor.seconds() + 10  # type: ignore[attr-defined]
        while reactor.seconds() < give_up_at:  # type: ignore[attr-defined]
            if there() or self.peer.ended:
                return
            self.peer.read(limit)
            await self.pause()
        self.fail("it did not arrive")

    def fill(self, count: int = 40) -> None:
        """Queue more than the kernel takes."""
        for _ in range(count):
            self.outbox.send_text(BULK)


class Order(OutboxCase):
    """What goes out arrives once, whole and in order."""

    async def test_messages_arrive_in_order_through_partial_sends(self) -> None:
        """Sizes around every form of length, in and outside turns, read in odd pieces."""
        chance = random.Random(11)
        sent: list[tuple[int, bytes]] = []

        def send_some(count: int) -> None:
            for _ in range(count):
                size = chance.choice((0, 1, 125, 126, 127, 4000, 65_535, 65_536, 70_000))
                payload = b"%06d" % len(sent) + b"." * size
                binary = chance.random() < 0.3
                sent.append((BINARY if binary else TEXT, payload))
                if binary:
                    self.outbox.send_message(payload, binary=True)
                else:
                    self.outbox.send_text(payload)

        for _ in range(60):
            send_some(3)
            self.turn.run(send_some, 5)
            self.peer.read(chance.randrange(1, 90_000))
            await self.pause()
        await self.read_until(lambda: len(self.peer.frames()) == len(sent))
        got = [(frame.opcode, frame.payload) for frame in self.peer.frames()]
        self.assertEqual(got, sent)
        self.assertEqual(self.outbox.queued, 0)

    async def test_a_turn_is_few_writes(self) -> None:
        """Fifty messages of one turn: a system call per 32 parts; without a turn one each.

        A text frame is two parts, so that is 3 · 25 parts in three writes.
        """
        counting = CountingSocket(self.transport.socket)
        self.outbox._socket = counting

        def send(count: int) -> None:
            for number in range(count):
                self.outbox.send_text(b"%d" % number)
                self.outbox.send(server_frame(PING, b"x"))

        self.turn.run(send, 25)
        self.assertEqual(counting.sends, 3)
        send(2)
        self.assertEqual(counting.sends, 7)
        await self.read_until(lambda: len(self.peer.frames()) == 54)

    async def test_what_waits_is_counted(self) -> None:
        """``queued`` is what neither the kernel nor the window has."""
        self.fill(40)
        frame_size = len(BULK) + 10
        self.assertEqual(self.outbox.queued % frame_size, 0)
        waiting = self.outbox.queued
        self.assertGreater(waiting, 20 * frame_size)
        self.outbox.send_text(b"1234")
        self.assertEqual(self.outbox.queued, waiting + 6)
        await self.read_until(lambda: len(self.peer.frames()) == 41)
        self.assertEqual(self.outbox.queued, 0)

    async def test_who_waits_for_room_is_told(self) -> None:
        """``on_drained`` runs when nothing waits any more, and each time anew."""
        drained: list[int] = []
        self.outbox.on_drained(lambda: drained.append(self.outbox.queued))
        for round in (1, 2):
            self.fill(10)
            self.assertEqual(len(drained), round - 1)
            await self.read_until(lambda round=round: len(drained) == round)  # type: ignore[misc]
        self.assertEqual(drained, [0, 0])

    async def test_the_transport_gets_a_window_only(self) -> None:
        """What the kernel refuses waits here."""
        self.fill(200)
        held = len(self.transport.dataBuffer) + self.transport._tempDataLen
        self.assertLess(held, module.WINDOW_BYTES + 2 * len(BULK))


class ControlFrames(OutboxCase):
    """01 §1.3: a pong does not wait behind bulk."""

    async def test_a_pong_overtakes_what_is_queued(self) -> None:
        """01.49: it is behind a window at most, and between whole frames."""
        self.fill(100)
        self.outbox.send_ahead(server_frame(PONG, b"now"))
        await self.read_until(lambda: len(self.peer.frames()) == 101)
        kinds = [frame.opcode for frame in self.peer.frames()]
        # In the kernel, in the transport, and the frame that was being sent.
        self.assertLess(kinds.index(PONG), 2 * module.WINDOW_BYTES // len(BULK))

    async def test_a_pong_stays_in_order_while_nothing_waits(self) -> None:
        """No queue, no overtaking: it goes out with its turn."""

        def work(_: None) -> None:
            self.outbox.send_text(b"first")
            self.outbox.send_ahead(server_frame(PONG, b"second"))

        self.turn.run(work, None)
        await self.read_until(lambda: len(self.peer.frames()) == 2)
        self.assertEqual([frame.opcode for frame in self.peer.frames()], [TEXT, PONG])

    async def test_a_pong_fits_between_the_fragments_of_one_message(self) -> None:
        """01 §16.4: a message of 20 MiB does not hold it up."""
        self.outbox.send_text(b"f" * (20 * MIB))
        self.outbox.send_ahead(server_frame(PONG, b"now"))
        await self.read_until(lambda: len(self.peer.frames()) == 21)
        kinds = [frame.opcode for frame in self.peer.frames()]
        self.assertLess(kinds.index(PONG), 4)

    async def test_the_close_frame_is_the_last(self) -> None:
        """It follows what is queued, and nothing follows it."""
        self.fill(20)
        self.outbox.send_last(server_frame(CLOSE, b"\x03\xf4"))
        self.outbox.send_text(b"late")
        self.outbox.send_message(b"late" * 10)
        self.outbox.send_ahead(server_frame(PONG, b"late"))
        await self.read_until(lambda: len(self.peer.frames()) == 21)
        await self.pause(0.01)
        self.peer.read()
        self.assertEqual(self.peer.frames()[-1], Frame(CLOSE, b"\x03\xf4"))

    async def test_the_close_frame_does_not_wait_for_the_end_of_the_turn(self) -> None:
        """What its turn gathered goes first."""

        def work(_: None) -> None:
            self.outbox.send_text(b"gathered")
            self.outbox.send_last(server_frame(CLOSE, b""))
            self.transport.loseConnection()

        self.turn.run(work, None)
        await self.read_until(lambda: self.peer.ended)
        self.assertEqual([frame.opcode for frame in self.peer.frames()], [TEXT, CLOSE])

    async def test_discarded_bulk_makes_way_for_the_close_frame(self) -> None:
        """What was begun is finished, so the stream stays a stream of frames."""
        self.fill(100)
        self.outbox.discard()
        self.assertEqual(self.outbox.queued, 0)
        self.outbox.send_last(server_frame(CLOSE, b"\x03\xf5"))
        await self.read_until(lambda: self.peer.data.endswith(server_frame(CLOSE, b"\x03\xf5")))
        frames = self.peer.frames()
        self.assertEqual(frames[-1].opcode, CLOSE)
        self.assertEqual({len(frame.payload) for frame in frames[:-1]}, {len(BULK)})
        self.assertLess(len(frames), 20)

    async def test_everything_is_handed_over_before_a_polite_end(self) -> None:
        """The transport ends the connection behind the last byte."""
        self.fill(30)
        self.outbox.send_last(server_frame(CLOSE, b"\x03\xe8"))
        self.outbox.hand_over()
        self.transport.loseConnection()
        await self.read_until(lambda: self.peer.ended)
        self.assertEqual(len(self.peer.frames()), 31)
        self.assertEqual(self.peer.frames()[-1].opcode, CLOSE)


class Fragments(OutboxCase):
    """01 §16.4: above 16 MiB a message goes out in frames of at most 1 MiB."""

    buffer_bytes = MIB

    async def test_a_large_message_is_fragmented(self) -> None:
        """Kind in the first frame, the end in the last, text and binary."""
        payload = random.Random(3).randbytes(16 * MIB + 1)
        for binary in (False, True):
            self.peer.frames().clear()
            self.outbox.send_message(payload, binary=binary)
            await self.read_until(lambda: len(self.peer.frames()) == 17)
            frames = self.peer.frames()
            kinds = [frame.opcode for frame in frames]
            self.assertEqual(kinds, [BINARY if binary else TEXT] + [CONTINUATION] * 16)
            self.assertEqual([frame.final for frame in frames], [False] * 16 + [True])
            self.assertLessEqual(max(len(frame.payload) for frame in frames), MIB)
            self.assertEqual(b"".join(frame.payload for frame in frames), payload)

    async def test_sixteen_mib_are_one_frame(self) -> None:
        """The limit itself is not above it."""
        self.outbox.send_text(b"=" * (16 * MIB))
        await self.read_until(lambda: len(self.peer.frames()) == 1)
        self.assertTrue(self.peer.frames()[0].final)

    async def test_what_was_gathered_before_goes_first(self) -> None:
        """Fragments skip the gathering, not the order."""
        self.patch(module, "FRAGMENT_ABOVE_BYTES", 70_000)
        self.patch(module, "FRAGMENT_BYTES", 30_000)

        def work(_: None) -> None:
            self.outbox.send_text(b"before")
            self.outbox.send_text(b"x" * 80_000)
            self.outbox.send_text(b"behind")

        self.turn.run(work, None)
        await self.read_until(lambda: len(self.peer.frames()) == 5)
        sizes = [len(frame.payload) for frame in self.peer.frames()]
        self.assertEqual(sizes, [6, 30_000, 30_000, 20_000, 6])


class Stalls(OutboxCase):
    """01 §18.9: a peer that takes nothing for 60 s is given up; a slow one is not."""

    async def test_who_takes_nothing_is_given_up(self) -> None:
        """Not before 60 s, not long after, and once."""
        self.fill()
        await self.pause(0.05)
        self.time.pump([1] * 59)
        self.assertEqual(self.stalls, 0)
        self.time.pump([1] * 17)
        self.assertEqual(self.stalls, 1)
        self.time.advance(200)
        self.assertEqual(self.stalls, 1)

    async def test_who_is_slow_is_not_given_up(self) -> None:
        """A little of one window in every minute is enough."""
        self.fill(8)
        for _ in range(6):
            enough = len(self.peer.data) + 12_000
            await self.read_until(lambda enough=enough: len(self.peer.data) > enough, 6000)  # type: ignore[misc]
            self.time.pump([1] * 50)
            self.assertEqual(self.stalls, 0)
        await self.read_until(lambda: len(self.peer.frames()) == 8)
        self.time.advance(1000)
        self.assertEqual(self.stalls, 0)

    async def test_nobody_is_given_up_while_nothing_waits(self) -> None:
        """The timer exists only while there is a queue."""
        self.outbox.send_text(b"small")
        self.time.advance(1000)
        self.assertEqual((self.stalls, self.time.getDelayedCalls()), (0, []))

    async def test_a_closed_outbox_keeps_nothing(self) -> None:
        """No timer, no bytes, and sending is harmless."""
        self.fill()
        self.outbox.close()
        self.outbox.send_text(b"late")
        self.turn.run(self.outbox.send_text, b"late")
        self.assertEqual((self.outbox.queued, self.time.getDelayedCalls()), (0, []))
