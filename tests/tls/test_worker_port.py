"""Workers over TLS."""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone

from iii.websocket.outbox import MAX_QUEUED_BYTES, WINDOW_BYTES
from tests.support.certificates import Authority
from tests.support.rawsocket import PING, PONG, dial, frame, open_socket, upgrade
from tests.tls.cases import TlsCase, dial_tls

MIB = 1024 * 1024


class Calls(TlsCase):
    """A worker port with TLS does all that a plain one does."""

    async def test_a_call_between_two_workers(self) -> None:
        worker, caller = await self.worker("echo"), await self.worker()
        call = caller.invoke("echo", {"n": 1})
        await worker.answer("echo", result={"n": 2})
        answer = await caller.result_of(call)
        self.assertEqual(answer["result"], {"n": 2})

    async def test_messages_of_every_size_arrive_whole(self) -> None:
        worker, caller = await self.worker("echo"), await self.worker()
        for size in (0, 1, 125, 126, 16_384, 65_536, MIB + 1, 4 * MIB):
            text = os.urandom(size // 2).hex()
            call = caller.invoke("echo", text)
            called = await worker.expect("invokefunction", 10)
            self.assertEqual(called["data"], text)
            worker.reply(called, result=text)
            self.assertEqual((await caller.result_of(call, 10))["result"], text)

    async def test_many_calls_at_once_come_in_order(self) -> None:
        worker, caller = await self.worker("echo"), await self.worker()
        calls = [caller.invoke("echo", n) for n in range(500)]
        for n in range(500):
            called = await worker.invoked("echo")
            self.assertEqual(called["data"], n)
            worker.reply(called, result=n)
        for n, call in enumerate(calls):
            self.assertEqual((await caller.result_of(call))["result"], n)

    async def test_a_channel(self) -> None:
        worker = await self.worker()
        made = await worker.call("engine::channels::create", {})
        path = "/ws/channels/{channel_id}?key={access_key}&dir={direction}"
        writer = await self.socket(path.format(**made["writer"]))
        reader = await self.socket(path.format(**made["reader"]))
        writer.binary(b"x" * 300_000)
        writer.close_frame()
        self.assertEqual((await reader.next_frame()).payload, b"x" * 300_000)
        self.assertEqual((await reader.next_frame()).close_code, 1000)

    async def test_a_worker_that_vanishes_is_noticed(self) -> None:
        worker = await self.worker("echo")
        await self.gone(worker)
        self.assertEqual(self.problems(), [])

    async def test_closing_says_1012(self) -> None:
        worker = await self.worker()
        closing = self.listener.close_all(1012, "the engine is restarting")
        self.assertEqual((await worker.socket.next_frame()).close_code, 1012)
        worker.socket.close_frame(1012)
        await worker.socket.ended()
        await closing

    async def test_both_hang_up_at_once(self) -> None:
        worker = await self.worker()
        connection = self.connection_of(worker.socket)
        connection.drop()
        connection.drop()
        await worker.socket.ended()
        connection.transport.abortConnection()
        connection.transport.loseConnection()
        connection.transport.loseWriteConnection()
        self.assertEqual(self.problems(), [])


class BackPressure(TlsCase):
    """What a worker does not read waits here, bounded, and nowhere else."""

    async def stopped(self) -> Any:
        """A worker that does not read, and its connection."""
        worker = await self.worker("sink")
        self.narrow(worker)
        worker.socket.pause()
        return worker, self.connection_of(worker.socket)

    async def test_the_transport_holds_no_more_than_a_window_or_two(self) -> None:
        worker, connection = await self.stopped()
        caller = await self.worker()
        for _ in range(64):
            caller.send("invokefunction", function_id="sink", data="x" * 100_000)
        await caller.settled()
        outbox = connection._outbox
        self.assertGreater(outbox.queued, 64 * 100_000 - 4 * WINDOW_BYTES)
        self.assertLess(len(connection.transport.dataBuffer), 2 * WINDOW_BYTES + 110_000)
        worker.socket.resume()
        for _ in range(64):
            call = await worker.invoked("sink")
            self.assertEqual(len(call["data"]), 100_000)
        self.assertEqual(outbox.queued, 0)
        await self.eventually(lambda: outbox._queue is None)

    async def test_what_waits_is_known_until_it_is_taken(self) -> None:
        """It is not handed to the encryption and forgotten: it counts, and stalls are seen."""
        worker, connection = await self.stopped()
        caller = await self.worker()
        calls = 0
        while connection._outbox._queue is None:
            self.assertLessEqual(connection._outbox._held(), WINDOW_BYTES)
            caller.send("invokefunction", function_id="sink", data="x" * 100_000)
            await caller.settled()
            calls += 1
        await self.pause(0.05)
        self.assertIsNotNone(connection._outbox._queue)
        self.assertIsNotNone(connection._outbox._stall)
        worker.socket.resume()
        for _ in range(calls):
            await worker.invoked("sink")
        await self.eventually(lambda: connection._outbox._queue is None)
        self.assertIsNone(connection._outbox._stall)

    async def test_a_pong_overtakes_what_waits(self) -> None:
        worker, _ = await self.stopped()
        caller = await self.worker()
        for _ in range(40):
            caller.send("invokefunction", function_id="sink", data="x" * 100_000)
        await caller.settled()
        worker.socket.raw(frame(PING, b"hello"))
        await caller.settled()
        worker.socket.resume()
        bulk = 0
        while (got := await worker.socket.next_frame()).opcode != PONG:
            bulk += len(got.payload)
        self.assertEqual(got.payload, b"hello")
        self.assertLess(bulk, 20 * 100_000)

    async def test_too_much_is_refused(self) -> None:
        worker, connection = await self.stopped()
        caller = await self.worker()
        payload = "x" * (4 * MIB)
        for _ in range(MAX_QUEUED_BYTES // len(payload) + 3):
            caller.send("invokefunction", function_id="sink", data=payload)
        error = await caller.error_of("sink", payload)
        self.assertEqual(error["code"], "overloaded")
        self.assertLess(connection._outbox.queued, MAX_QUEUED_BYTES + 3 * len(payload))
        worker.socket.drop()


class Handshakes(TlsCase):
    """Which clients get a connection."""

    async def connect(self, method: Any = SSL.TLS_CLIENT_METHOD, **limits: Any) -> Handshake:
        handshake = Handshake(limits)
        await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.port), handshake)
        await handshake.settled
        return handshake

    async def test_tls_1_2_and_1_3_are_spoken(self) -> None:
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            handshake = await self.connect(max=version)
            self.assertEqual(handshake.version, name)
            handshake.drop()

    async def test_older_versions_are_not(self) -> None:
        handshake = await self.connect(max=SSL.TLS1_1_VERSION, ciphers=b"ALL:@SECLEVEL=0")
        self.assertEqual(handshake.version, None)
        await self.eventually(lambda: self.log_lines("no TLS with 127.0.0.1"))

    async def test_http_1_1_is_the_protocol(self) -> None:
        handshake = await self.connect(alpn=[b"h2", b"http/1.1"])
        self.assertEqual(handshake.alpn, b"http/1.1")
        handshake.drop()

    async def test_a_client_that_only_speaks_others_is_served_without_a_choice(self) -> None:
        handshake = await self.connect(alpn=[b"h2"])
        self.assertEqual(handshake.version, "TLSv1.3")
        self.assertEqual(handshake.alpn, b"")
        handshake.drop()

    async def test_a_foreign_authority_is_not_trusted_by_the_client(self) -> None:
        other = Authority(self.directory, "other")
        socket = await dial_tls(self.port, other.path)
        socket.raw(upgrade("/", self.port))
        await socket.ended()
        self.assertEqual(socket.head, "")

    async def test_plain_http_is_told_what_is_wrong(self) -> None:
        socket = await dial(self.port)
        socket.raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        status, body = await socket.answer()
        self.assertEqual(status, 400)
        self.assertIn("https://", body)
        self.assertTrue(self.log_lines("speaks plain HTTP to a port with TLS"))

    async def test_a_plain_upgrade_gets_no_http_answer(self) -> None:
        """Some SDKs never try again after one (decision 31)."""
        socket = await dial(self.port)
        socket.raw(upgrade("/", self.port))
        await socket.ended()
        self.assertEqual(socket.head, "")

    async def test_who_never_shakes_hands_is_dropped(self) -> None:
        self.listener.factory.openHandshakeTimeout = 0.05
        socket = await dial(self.port)
        await socket.ended()
        self.assertTrue(self.problems("no upgrade within"))

    async def test_garbage_ends_the_connection_only(self) -> None:
        socket = await dial(self.port)
        socket.raw(b"\x16\x03\x01\x00\x05hello")
        await socket.ended()
        self.assertEqual(
            await (await self.worker()).call("engine::workers::register", {}), {"success": True}
        )


class Mutual(TlsCase):
    """``client_ca``: who has no certificate of it does not come in."""

    mutual = True

    async def connect(self, client: Any) -> Any:
        return await dial_tls(self.port, self.authority.path, client)

    async def test_with_one(self) -> None:
        socket = await self.connect(self.authority.issue("client"))
        await open_socket(self.port, "/", socket)
        self.assertEqual((await socket.next_message())["type"], "workerregistered")
        socket.drop()

    async def test_without_one(self) -> None:
        socket = await self.connect(None)
        socket.raw(upgrade("/", self.port))
        await socket.ended()
        self.assertEqual(socket.head, "")
        self.assertTrue(self.log_lines("no TLS with 127.0.0.1.*certificate"))

    async def test_with_one_of_somebody_else(self) -> None:
        other = Authority(self.directory, "other")
        socket = await self.connect(other.issue("client"))
        socket.raw(upgrade("/", self.port))
        await socket.ended()
        self.assertEqual(socket.head, "")

    async def test_with_an_expired_one(self) -> None:
        from datetime import timedelta

        old = self.authority.issue("old", begins=timedelta(days=-9), ends=timedelta(days=-1))
        socket = await self.connect(old)
        socket.raw(upgrade("/", self.port))
        await socket.ended()
        self.assertEqual(socket.head, "")


class Handshake(Protocol):
    """A TLS client by hand, over a memory BIO.

    :ivar version: what was agreed on; None: no handshake
    """

    def __init__(self, limits: dict[str, Any]) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if "ciphers" in limits:
            context.set_cipher_list(limits["ciphers"])
        if "max" in limits:
            context.set_min_proto_version(0)
            context.set_max_proto_version(limits["max"])
        if "alpn" in limits:
            context.set_alpn_protos(limits["alpn"])
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        self.version: str | None = None
        self.alpn = b""
        self.settled: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        self._tls.bio_write(data)
        self._go_on()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._settle()

    def drop(self) -> None:
        assert self.transport is not None
        self.transport.abortConnection()

    def _go_on(self) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self._settle()
        else:
            self.version = self._tls.get_protocol_version_name()
            self.alpn = self._tls.get_alpn_proto_negotiated()
            self._settle()
        try:
            self.transport.write(self._tls.bio_read(65536))  # type: ignore[union-attr]
        except SSL.WantReadError:
            pass

    def _settle(self) -> None:
        if not self.settled.called:
            self.settled.callback(None)
