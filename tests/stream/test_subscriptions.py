"""Delivery: one frame for everybody, and clients that do not take it (04 §6.4, §6.5)."""

from __future__ import annotations

import socket as sockets_of_the_system
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock as VirtualTime
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.engine.turn import Turn
from iii.modules.stream import sockets, subscriptions
from iii.modules.stream.events import Event
from iii.modules.stream.subscriptions import Subscriber, Subscriptions
from tests.stream.sockets_case import Client, StreamCase
from tests.support.rawsocket import TEXT

BULK = "b" * 4096
LIMIT_BYTES = 256 * 1024


class FakeOut:
    """An outbox that keeps what it gets.

    :ivar stuck: frames wait until ``drain``
    """

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.queued = 0
        self.queued_frames = 0
        self.stuck = False
        self._drained: Callable[[], None] | None = None

    def send(self, frame: bytes) -> None:
        """Out: one frame."""
        self.frames.append(frame)
        if self.stuck:
            self.queued += len(frame)
            self.queued_frames += 1

    def flush(self) -> None:
        """Out: nothing is gathered."""

    def on_drained(self, drained: Callable[[], None]) -> None:
        """Out: who is told."""
        self._drained = drained

    def drain(self) -> None:
        """The peer has read everything."""
        self.queued = self.queued_frames = 0
        assert self._drained is not None
        self._drained()


class Delivery(SynchronousTestCase):
    """Subscriptions without sockets."""

    def setUp(self) -> None:
        self.subscriptions = Subscriptions(Turn(Clock.virtual(VirtualTime())))
        self.cut: list[FakeOut] = []

    def subscriber(self) -> tuple[Subscriber, FakeOut]:
        """One that is cut off when it overflows."""
        out = FakeOut()
        return Subscriber(out, lambda: self.cut.append(out)), out

    def listening(self, group: str = "g", item: str | None = None) -> tuple[Subscriber, FakeOut]:
        """One that has had its sync."""
        subscriber, out = self.subscriber()
        self.subscriptions.add(subscriber, "s", group, item)
        self.subscriptions.synced(subscriber, "s", group, None)
        return subscriber, out

    def publish(self, payload: bytes = b"{}", item: str | None = "1", group: str = "g") -> None:
        """One event."""
        self.subscriptions.publish(Event("s", group, item, payload))

    def test_the_frame_is_made_once(self) -> None:
        """The same bytes object goes to everybody."""
        outs = [self.listening()[1] for _ in range(3)] + [self.listening(item="1")[1]]
        self.publish()
        first = outs[0].frames[0]
        self.assertEqual(first, b"\x81\x02{}")
        for out in outs:
            self.assertEqual(len(out.frames), 1)
            self.assertIs(out.frames[0], first)

    def test_whether_anybody_listens(self) -> None:
        """An event nobody wants need not be made."""
        self.listening("g", "1")
        self.listening("all")
        rows = (("g", "1", True), ("g", "2", False), ("g", None, False), ("h", "1", False))
        for group, item, wanted in (*rows, ("all", None, True), ("all", "x", True)):
            self.assertIs(self.subscriptions.wants("s", group, item), wanted, (group, item))
        self.assertFalse(self.subscriptions.wants("t", "g", "1"))

    def test_large_events_are_fragmented(self) -> None:
        """No client is sent a frame of more than 16 MiB."""
        _, out = self.listening()
        self.publish(b"x" * (17 * 1024 * 1024))
        self.assertEqual(out.frames[0][:1], b"\x01")
        self.assertEqual(self.cut, [])

    def test_nothing_is_left_of_who_is_gone(self) -> None:
        """Groups nobody listens to take no room."""
        one, out = self.listening()
        self.subscriptions.add(one, "s", "g", None)
        self.subscriptions.add(one, "s", "g", "1")
        self.subscriptions.remove(one, "s", "g", None)
        self.subscriptions.synced(one, "s", "g", None)
        self.publish()
        self.assertEqual(len(out.frames), 1)
        self.subscriptions.remove(one, "s", "g", None)
        self.publish(item="2")
        self.assertEqual(len(out.frames), 1)
        self.subscriptions.remove(one, "s", "g", "1")
        self.assertEqual(len(self.subscriptions), 0)

    def test_who_reads_nothing_is_cut_off_alone(self) -> None:
        """04.45: bytes, and frames; once; the others go on."""
        self.patch(subscriptions, "MAX_QUEUED_FRAMES", 10)
        (_, healthy), (_, stuck) = self.listening(), self.listening()
        stuck.stuck = True
        for _ in range(20):
            self.publish()
        self.assertEqual(self.cut, [stuck])
        self.assertEqual((len(healthy.frames), len(stuck.frames)), (20, 11))

    def test_bytes_count(self) -> None:
        """04 §6.5: but one frame alone is not too much, whatever its size."""
        self.patch(subscriptions, "MAX_QUEUED_BYTES", 100)
        _, stuck = self.listening()
        stuck.stuck = True
        self.publish(b"x" * 500)
        self.assertEqual(self.cut, [])
        self.publish(b"x")
        self.assertEqual(self.cut, [stuck])

    def test_a_large_sync_is_no_sign_of_a_slow_client(self) -> None:
        """It does not count, until it has been read."""
        self.patch(subscriptions, "MAX_QUEUED_BYTES", 100)
        subscriber, out = self.subscriber()
        out.stuck = True
        self.subscriptions.add(subscriber, "s", "g", None)
        self.subscriptions.synced(subscriber, "s", "g", b"x" * 100_000)
        for _ in range(5):
            self.publish(b"x" * 10)
        self.assertEqual(self.cut, [])
        out.drain()
        for _ in range(10):
            self.publish(b"x" * 10)
        self.assertEqual(self.cut, [out])

    def test_what_is_held_back_is_bounded_as_well(self) -> None:
        """04 §6.3: never dropped, so the connection is."""
        self.patch(subscriptions, "MAX_QUEUED_BYTES", 100)
        subscriber, out = self.subscriber()
        self.subscriptions.add(subscriber, "s", "g", None)
        for _ in range(20):
            self.publish(b"x" * 10)
        self.assertEqual(self.cut, [out])
        self.subscriptions.synced(subscriber, "s", "g", b"sync")
        self.publish()
        self.assertEqual(out.frames, [])

    def test_only_what_belongs_behind_a_sync_is_held_back(self) -> None:
        """Another item passes; from the first that matches on, all waits."""
        subscriber, out = self.listening("h")
        self.subscriptions.add(subscriber, "s", "g", "1")
        self.publish(b"a", "2")
        self.publish(b"b", "1", "h")
        self.publish(b"c", None)
        self.publish(b"d", "1")
        self.publish(b"e", "1", "h")
        self.assertEqual([frame[2:] for frame in out.frames], [b"b"])
        self.subscriptions.synced(subscriber, "s", "g", b"..sync")
        self.assertEqual([frame[2:] for frame in out.frames], [b"b", b"sync", b"d", b"e"])

    def test_who_left_before_its_sync_holds_nothing_back(self) -> None:
        """Others still listen to the group, so it is not forgotten as a whole."""
        self.listening()
        subscriber, out = self.listening("h")
        self.subscriptions.add(subscriber, "s", "g", None)
        self.subscriptions.remove(subscriber, "s", "g", None)
        self.publish(b"a")
        self.publish(b"b", "1", "h")
        self.assertEqual([frame[2:] for frame in out.frames], [b"b"])


class Slow(StreamCase):
    """04 §6.5: real sockets."""

    async def setUp(self) -> None:
        self.patch(subscriptions, "MAX_QUEUED_BYTES", LIMIT_BYTES)
        await super().setUp()

    async def stuck(self) -> Client:
        """A client that has joined and reads nothing from now on."""
        client = await self.client()
        await client.joined()
        ours = client.socket.transport.getHost().port
        for connection in self.streams.factory.connections:
            transport: Any = connection.transport
            if transport.getPeer().port == ours:
                transport.socket.setsockopt(
                    sockets_of_the_system.SOL_SOCKET, sockets_of_the_system.SO_SNDBUF, 8192
                )
        client.socket.pause()
        return client

    async def test_a_client_that_does_not_read(self) -> None:
        """04.45: it is closed with 1013; a healthy one gets all, in order; its leave fires."""
        worker = await self.guard("stream:leave")
        stuck = await self.stuck()
        healthy = await self.client()
        await healthy.joined()
        count = 10_000
        got: list[int] = []
        for n in range(count):
            self.shelf.put("1", [n, BULK[: n % 1024]])
            if n % 100 == 0:
                got += [envelope["event"]["data"][0] for envelope in await healthy.pending()]
        got += [envelope["event"]["data"][0] for envelope in await healthy.pending()]
        self.assertEqual(got, list(range(count)))
        await worker.answer("stream:leave")
        self.assertEqual(len(self.problems("closed, it does not read")), 1)
        stuck.socket.resume()
        self.assertEqual(await stuck.close_code(), 1013)
        events = [frame for frame in stuck.socket.frames if frame.opcode == TEXT]
        self.assertLess(len(events), count)

    async def test_frames_that_wait_are_bounded(self) -> None:
        """04 §14: who sends joins faster than handlers answer is cut off, alone."""
        self.patch(sockets, "MAX_WAITING_FRAMES", 50)
        worker = await self.guard()
        client, other = await self.client(), await self.client()
        for n in range(60):
            client.join(subscriptionId=str(n))
        self.assertEqual(await client.close_code(), 1013)
        await worker.answer("stream:join")
        await self.quiet(worker)
        other.join()
        await worker.answer("stream:join")
        self.assertEqual((await other.event())["type"], "sync")

    async def test_and_their_bytes(self) -> None:
        """The same, by size."""
        self.patch(sockets, "MAX_WAITING_BYTES", 4000)
        worker = await self.guard()
        client = await self.client()
        for n in range(8):
            client.join(subscriptionId=str(n), more="x" * 800)
        self.assertEqual(await client.close_code(), 1013)
        await worker.answer("stream:join")
        await self.quiet(worker)

    async def test_what_was_handled_does_not_count(self) -> None:
        """A client may send any number of frames in its life."""
        self.patch(sockets, "MAX_WAITING_BYTES", 4000)
        client = await self.client()
        for n in range(8):
            await client.joined(subscriptionId=str(n), more="x" * 800)

    async def test_syncs_nobody_reads_are_not_read_either(self) -> None:
        """The next join waits until the client has taken the last one's data."""
        self.patch(sockets, "HIGH_WATER_BYTES", 100_000)
        for group in "abcdef":
            self.shelf.put("1", BULK * 200, group=group)
        client = await self.stuck()
        reads: list[str] = []
        read = self.shelf.read_group

        def counted(stream: str, group: str) -> Any:
            reads.append(group)
            return read(stream, group)

        self.patch(self.shelf, "read_group", counted)
        for group in "abcdef":
            client.join(group, subscriptionId=group)
        await self.pause(0.05)
        self.assertLess(len(reads), 6)
        client.socket.resume()
        for group in "abcdef":
            self.assertEqual((await client.next())["groupId"], group)
        self.assertEqual(self.problems(), [])
