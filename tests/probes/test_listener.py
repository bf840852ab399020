"""Endpoints, framing and limits of the worker port (01 §1, §2, §10)."""

from __future__ import annotations

from tests.support.engine_case import EngineCase, RawWorker
from tests.support.probes import probe
from tests.support.rawsocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    dial,
    frame,
    request,
    upgrade,
)

MIB = 1024 * 1024
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

UNDECODABLE = (
    "",
    "   ",
    "not json",
    "[]",
    "{}",
    '{"type":"nosuch"}',
    '{"type":5}',
    '{"type":"registerfunction"}',
    '{"type":"registerfunction","id":5}',
    '{"type":"ping"} trailing',
    '"a string"',
)


class Endpoints(EngineCase):
    """01 §1.2: what is at which path."""

    @probe("01.1")
    async def test_the_engine_speaks_first(self) -> None:
        """01.1: the first frame is ``workerregistered`` with a UUID of its own."""
        first, second = await self.socket(), await self.socket()
        hellos = [await first.next_message(), await second.next_message()]
        for hello in hellos:
            self.assertEqual(hello["type"], "workerregistered")
            self.assertRegex(hello["worker_id"], UUID)
            self.assertRegex(hello["reattach_token"], UUID)
        self.assertNotEqual(hellos[0]["worker_id"], hellos[1]["worker_id"])

    @probe("01.2")
    async def test_plain_http_is_refused_with_the_words_clients_know(self) -> None:
        """01.2: 400, 404 and 405 where no upgrade is asked for."""
        host = f"Host: 127.0.0.1:{self.port}\r\n\r\n"
        rows = (
            (f"GET / HTTP/1.1\r\n{host}", 400, "Connection header did not include 'upgrade'"),
            (f"GET /otel HTTP/1.1\r\n{host}", 400, "Connection header did not include 'upgrade'"),
            (f"GET /nope HTTP/1.1\r\n{host}", 404, ""),
            (f"GET // HTTP/1.1\r\n{host}", 404, ""),
            (f"GET /ws HTTP/1.1\r\n{host}", 404, ""),
            (f"POST / HTTP/1.1\r\nContent-Length: 0\r\n{host}", 405, ""),
        )
        for data, status, body in rows:
            got_status, head, got_body = await request(self.port, data.encode())
            with self.subTest(data.partition("\r\n")[0]):
                self.assertEqual((got_status, got_body), (status, body))
                self.assertEqual("allow: get" in head, status == 405)

    @probe("01.2")
    async def test_a_bad_upgrade_is_refused_with_the_words_clients_know(self) -> None:
        """01.2: version, key and unknown paths."""
        rows = (
            (
                upgrade("/", self.port, sec_websocket_version="8"),
                400,
                "`Sec-WebSocket-Version` header did not include '13'",
            ),
            (
                upgrade("/", self.port, sec_websocket_key=None),
                400,
                "`Sec-WebSocket-Key` header missing",
            ),
            (upgrade("/otel/", self.port), 404, ""),
            (upgrade("/ws", self.port), 404, ""),
        )
        for data, status, body in rows:
            got_status, _, got_body = await request(self.port, data)
            self.assertEqual((got_status, got_body), (status, body))

    @probe("01.2", "07.55")
    async def test_otel_is_no_worker(self) -> None:
        """01.2, 07.55: /otel says nothing, ignores text and is in no list."""
        telemetry = await self.socket("/otel")
        telemetry.text('{"type":"ping"}')
        telemetry.binary(b"nonsense")
        telemetry.binary(b"OTLP{}")
        telemetry.raw(frame(PING, b"there"))
        pong = await telemetry.next_frame()
        self.assertEqual((pong.opcode, pong.payload), (PONG, b"there"))
        await self.pause(0.5)
        self.assertEqual(telemetry.frames, [])
        worker = await self.worker()
        listed = await worker.call("engine::workers::list", {})
        self.assertEqual([row["id"] for row in listed["workers"]], [worker.id])
        self.assertEqual(self.engine.telemetry_dropped, 1)

    async def test_extras_of_an_upgrade_are_ignored(self) -> None:
        """01 §1.2, §1.3: a query, headers, a sub-protocol and compression are not taken up."""
        socket = await dial(self.port)
        self._sockets.append(socket)
        socket.raw(
            upgrade(
                "/?token=abc",
                self.port,
                authorization="Bearer x",
                sec_websocket_protocol="chat",
                sec_websocket_extensions="permessage-deflate; client_max_window_bits",
                origin="http://localhost:5173",
            )
        )
        hello = await socket.next_message()
        self.assertEqual(hello["type"], "workerregistered")
        self.assertNotIn("sec-websocket-protocol", socket.head.lower())
        self.assertNotIn("sec-websocket-extensions", socket.head.lower())


class Frames(EngineCase):
    """01 §1.3, §2: what a connection survives and what ends it."""

    @probe("01.3")
    async def test_pings_of_both_kinds_are_answered(self) -> None:
        """01.3: ``ping`` with ``pong``, a WebSocket ping with its own payload."""
        worker = await self.worker()
        worker.send("ping")
        self.assertEqual(await worker.expect("pong"), {"type": "pong"})
        worker.socket.raw(frame(PING, b"abc"))
        pong = await worker.socket.next_frame()
        self.assertEqual((pong.opcode, pong.payload), (PONG, b"abc"))

    @probe("01.4")
    async def test_what_can_not_be_decoded_is_ignored(self) -> None:
        """01.4: nothing is sent back and the connection stays."""
        worker = await self.worker()
        for text in UNDECODABLE:
            worker.socket.text(text)
        worker.socket.binary(b"\x00\x01")
        await self.quiet(worker)
        self.assertEqual(worker.socket.frames, [])

    @probe("01.5")
    async def test_a_binary_frame_may_be_a_message(self) -> None:
        """01.5: JSON in a binary frame is read like text."""
        worker = await self.worker()
        worker.socket.binary(b'{"type":"ping"}')
        await worker.expect("pong")

    @probe("01.6")
    async def test_broken_telemetry_is_dropped(self) -> None:
        """01.6: no reply, the connection stays."""
        worker = await self.worker()
        for payload in (b"OTLP{bad", b"MTRC\xff", b"LOGS"):
            worker.socket.binary(payload)
        await self.quiet(worker)

    async def test_telemetry_reaches_the_hook(self) -> None:
        """01 §10: kind and payload, from both kinds of socket."""
        heard: list[tuple[str, bytes]] = []
        self.engine.on_telemetry = lambda kind, data: heard.append((kind, data))
        worker = await self.worker()
        otel = await self.socket("/otel")
        worker.socket.binary(b'MTRC{"a":1}')
        await worker.settled()
        otel.binary(b'LOGS{"b":2}')
        await self.eventually(lambda: len(heard) == 2)
        self.assertEqual(heard, [("MTRC", b'{"a":1}'), ("LOGS", b'{"b":2}')])
        self.assertEqual(self.engine.telemetry_dropped, 0)

    async def test_a_telemetry_socket_on_the_worker_path_is_no_worker(self) -> None:
        """01 §4.2: a connection that only ever sent telemetry is in no list."""
        ghost, worker = await self.worker(), await self.worker()
        ghost.socket.binary(b"OTLP{}")
        ghost.socket.raw(frame(PING, b"x"))
        await ghost.socket.until(lambda: bool(ghost.socket.frames), "pong")
        listed = await worker.call("engine::workers::list", {})
        self.assertEqual([row["id"] for row in listed["workers"]], [worker.id])

    @probe("01.47")
    async def test_a_large_message_may_come_in_fragments(self) -> None:
        """01.47: 20 MiB in frames of 1 MiB are one message."""
        worker = await self.worker("big")
        caller = await self.worker()
        filler = b"x" * (20 * MIB)
        message = (
            b'{"type":"invokefunction","invocation_id":"i","function_id":"big","data":"'
            + filler
            + b'"}'
        )
        pieces = [message[at : at + MIB] for at in range(0, len(message), MIB)]
        for number, piece in enumerate(pieces):
            caller.socket.raw(
                frame(TEXT if number == 0 else CONTINUATION, piece, final=number == len(pieces) - 1)
            )
        await worker.socket.until(
            lambda: any(got.final for got in worker.socket.frames), "the call", 15
        )
        # 01 §16.4: what is above 16 MiB leaves in frames of 1 MiB too.
        self.assertGreater(len(worker.socket.frames), 20)
        whole = b"".join(got.payload for got in worker.socket.frames)
        worker.socket.frames.clear()
        self.assertTrue(all(len(got.payload) <= MIB for got in worker.socket.frames))
        self.assertEqual(whole.count(b"x"), 20 * MIB)

    @probe("01.47")
    async def test_an_oversize_frame_ends_its_connection_only(self) -> None:
        """01.47: 17 MiB in one frame; others are served on."""
        big, other = await self.worker("big"), await self.worker()
        big.socket.raw(frame(TEXT, b"y" * (17 * MIB)))
        closed = await big.socket.next_frame(10)
        self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1009))
        # This client does not answer the close frame: it is given 2 s.
        await self.eventually(lambda: self.engine.workers.get(big.id) is None, 5)
        error = await other.error_of("big")
        self.assertEqual(error["code"], "function_not_found")

    async def test_protocol_errors_end_the_connection_with_their_own_code(self) -> None:
        """01 §1.3: bad UTF-8 is 1007, unmasked and reserved bits are 1002; cleaned up."""
        rows = (
            (frame(TEXT, b'{"a":"\xff"}'), 1007),
            (frame(TEXT, b"{}", masked=False), 1002),
            (bytes((0xC1,)) + frame(TEXT, b"{}")[1:], 1002),
            (frame(3, b""), 1002),
            (frame(CONTINUATION, b"{}"), 1002),
        )
        for data, code in rows:
            worker = await self.worker("f")
            worker.socket.raw(data)
            closed = await worker.socket.next_frame()
            with self.subTest(data[:4]):
                self.assertEqual((closed.opcode, closed.close_code), (CLOSE, code))
            worker.socket.drop()
            await self.eventually(lambda id=worker.id: self.engine.workers.get(id) is None)
        self.assertIsNone(self.engine.functions.get("f"))

    async def test_the_peers_close_is_answered(self) -> None:
        """01 §1.3: the answer echoes the code and the worker is gone."""
        worker = await self.worker("f")
        worker.socket.close_frame(1000, "bye")
        closed = await worker.socket.next_frame()
        self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1000))
        await worker.socket.ended()
        self.assertIsNone(self.engine.functions.get("f"))

    @probe("07.52")
    async def test_a_stop_closes_with_1012(self) -> None:
        """07.52: every client sees 1012, never 1000, 1001 or a close without code."""
        workers = [await self.worker() for _ in range(3)]
        done = self.listener.close_all(1012, "engine shutting down")
        for worker in workers:
            closed = await worker.socket.next_frame()
            self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1012))
            worker.socket.close_frame(1012)
        await done
        self.assertEqual(self.engine.workers.connections(), [])

    @probe("07.50")
    async def test_a_call_without_data_is_answered(self) -> None:
        """07.50: no ``data`` is null."""
        worker, caller = await self.worker("f"), await self.worker()
        caller.send("invokefunction", invocation_id="i1", function_id="f")
        call = await worker.invoked("f")
        self.assertIsNone(call["data"])
        worker.reply(call, result=1)
        self.assertEqual((await caller.result_of("i1"))["result"], 1)

    async def test_the_first_bytes_may_come_with_the_upgrade(self) -> None:
        """A frame in the segment of the handshake is not lost."""
        socket = await dial(self.port)
        self._sockets.append(socket)
        socket.raw(upgrade("/", self.port) + frame(TEXT, b'{"type":"ping"}'))
        hello = await socket.next_message()
        worker = RawWorker(socket, hello)
        await worker.expect("pong")

    async def test_a_frame_may_come_byte_by_byte(self) -> None:
        """Cuts don't matter."""
        worker = await self.worker()
        for byte in frame(BINARY, b'{"type":"ping"}'):
            worker.socket.raw(bytes((byte,)))
            await self.pause(0.001)
        await worker.expect("pong")

    @probe("01.49")
    async def test_pongs_overtake_bulk(self) -> None:
        """01.49 shortened: pings are answered while 64 MiB go through a channel."""
        worker = await self.worker()
        refs = await worker.call("engine::channels::create", {})
        ref = refs["writer"]
        path = f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}"
        writer = await self.socket(f"{path}&dir=write")
        reader = await self.socket(f"{path}&dir=read")
        chunk = frame(BINARY, b"z" * 65536)
        got = 0
        for sent in range(1, 65):
            for _ in range(16):
                writer.raw(chunk)
            worker.socket.raw(frame(PING, b"%d" % sent))
            pong = await worker.socket.next_frame(1)
            self.assertEqual(pong.payload, b"%d" % sent)
            while got < 16 * sent:
                await reader.next_frame(5)
                got += 1
        self.assertEqual(got, 1024)

    @probe("01.64")
    async def test_many_connections_leave_nothing_behind(self) -> None:
        """01.64 shortened: 100 connections with 10 functions each come and go."""
        workers = []
        for number in range(100):
            workers.append(await self.worker())
            for index in range(10):
                workers[-1].send("registerfunction", id=f"f{number}.{index}")
        for worker in workers:
            await worker.settled()
        asking = await self.worker()
        listed = await asking.call("engine::functions::list", {})
        self.assertEqual(len(listed["functions"]), 1000)
        for worker in workers:
            worker.socket.drop()
        await self.eventually(lambda: len(self.engine.workers.connections()) == 1, 5)
        self.assertEqual((await asking.call("engine::functions::list", {}))["functions"], [])
        self.assertEqual(len((await asking.call("engine::workers::list", {}))["workers"]), 1)
        self.assertEqual(len(self.listener.factory.connections), 1)
