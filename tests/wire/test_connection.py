"""A connection's life: the upgrade, keep-alive, and the many ways to end (01 §1.2, §1.3)."""

from __future__ import annotations

from tests.support.probes import probe
from tests.support.rawsocket import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    RawSocket,
    dial,
    frame,
    request,
    upgrade,
)
from tests.wire.support import TimelessCase, WireCase

NO_UPGRADE = "Connection header did not include 'upgrade'"
NOT_13 = "`Sec-WebSocket-Version` header did not include '13'"
NO_KEY = "`Sec-WebSocket-Key` header missing"
NO_QUERY = "Failed to deserialize query string: "
CHANNEL = "/ws/channels/0b4b8f0e-6f7a-4c5e-9d8f-0123456789ab"


def http(line: str, *headers: str) -> bytes:
    """A request without an upgrade."""
    return "\r\n".join((line, "Host: localhost", *headers, "", "")).encode()


class Refusals(WireCase):
    """01 §1.2: every refusal has the status and the words clients of the original know."""

    async def test_the_table_of_endpoints(self) -> None:
        """01.2: status, body, and that the connection ends."""
        port = 1
        rows: tuple[tuple[bytes, int, str], ...] = (
            (http("GET / HTTP/1.1"), 400, NO_UPGRADE),
            (http("GET /?token=x HTTP/1.1"), 400, NO_UPGRADE),
            (http("GET /otel HTTP/1.1"), 400, NO_UPGRADE),
            (http(f"GET {CHANNEL}?key=k&dir=read HTTP/1.1"), 400, NO_UPGRADE),
            (http("GET / HTTP/1.1", "Upgrade: websocket"), 400, NO_UPGRADE),
            (http("GET / HTTP/1.1", "Upgrade: websocket", "Connection: close"), 400, NO_UPGRADE),
            (upgrade("/", port, upgrade="h2c"), 400, NO_UPGRADE),
            (upgrade("/", port, sec_websocket_version=None), 400, NOT_13),
            (upgrade("/", port, sec_websocket_version="7"), 400, NOT_13),
            (upgrade("/", port, sec_websocket_version="x"), 400, NOT_13),
            (upgrade("/", port, sec_websocket_key=None), 400, NO_KEY),
            (upgrade("/otel", port, sec_websocket_key=None), 400, NO_KEY),
            (http("POST / HTTP/1.1", "Content-Length: 0"), 405, ""),
            (http("HEAD / HTTP/1.1"), 405, ""),
            (http("OPTIONS /otel HTTP/1.1"), 405, ""),
            (http(f"DELETE {CHANNEL} HTTP/1.1"), 405, ""),
            (http("GET /nope HTTP/1.1"), 404, ""),
            (http("POST /nope HTTP/1.1", "Content-Length: 0"), 404, ""),
            (http("GET /nope/../ HTTP/1.1"), 404, ""),
            (upgrade("/nope", port), 404, ""),
            (upgrade("//", port), 404, ""),
            (upgrade("/ws", port), 404, ""),
            (upgrade("/ws/channels", port), 404, ""),
            (upgrade("/otel/", port), 404, ""),
            (upgrade("/OTEL", port), 404, ""),
            (upgrade(CHANNEL, port), 400, NO_QUERY + "missing field `key`"),
            (upgrade(f"{CHANNEL}?dir=read", port), 400, NO_QUERY + "missing field `key`"),
            (upgrade(f"{CHANNEL}?key=k", port), 400, NO_QUERY + "missing field `dir`"),
            (
                upgrade(f"{CHANNEL}?key=k&dir=x", port),
                400,
                NO_QUERY + "unknown variant `x`, expected `read` or `write`",
            ),
            (upgrade(f"{CHANNEL}?key=k&dir=read", port), 404, "Channel not found"),
            (upgrade("/ws/channels/?key=k&dir=write", port), 404, "Channel not found"),
        )
        for data, status, body in rows:
            with self.subTest(data[:60]):
                got_status, head, got_body = await request(self.port, data)
                self.assertEqual((got_status, got_body), (status, body))
                self.assertEqual("allow: get" in head, status == 405)
                self.assertIn(f"content-length: {len(body)}", head)
        self.assertEqual(self.problems(), [])
        self.assertEqual(len(self.log_lines("refused '")), len(rows))
        self.assertEqual(self.log_lines("key=k"), [])

    async def test_what_is_no_http_is_refused(self) -> None:
        """Broken heads get an answer or an end, and nobody else notices."""
        worker = await self.worker()
        rows = (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/9\r\nHost: x\r\n\r\n",
            b"\r\n\r\n\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /#part HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        for data in rows:
            with self.subTest(data):
                status, _, _ = await request(self.port, data)
                self.assertIn(status, (400, 404, 405, 505))
        await worker.settled()
        self.assertEqual(self.problems(), [])

    async def test_a_query_and_other_headers_do_not_matter(self) -> None:
        """01 §1.2: on ``/`` and ``/otel``."""
        for path in ("/?token=abc&x=%20", "/?", "/otel?x=1"):
            socket = await self.socket(path)
            socket.raw(frame(PING, b"x"))
            await socket.until(
                lambda socket=socket: any(got.opcode == PONG for got in socket.frames), "pong"
            )

    @probe("01.2")
    async def test_what_an_upgrade_offers_is_not_taken_up(self) -> None:
        """01 §1.3: sub-protocols and compression; a compressed frame is then an error."""
        socket = await dial(self.port)
        self._sockets.append(socket)
        offers = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
        socket.raw(
            upgrade(
                "/",
                self.port,
                sec_websocket_protocol="chat, superchat",
                sec_websocket_extensions=offers,
            )
        )
        await socket.next_message()
        self.assertNotIn("sec-websocket-protocol", socket.head.lower())
        self.assertNotIn("sec-websocket-extensions", socket.head.lower())
        socket.raw(frame(0x41, b"\xab\x56\x4a\x05\x00"))
        self.assertEqual((await socket.next_frame()).close_code, 1002)


class SlowUpgrades(TimelessCase):
    """Decision 40: 10 s and 64 KiB for the request."""

    async def test_a_connection_that_says_nothing_is_dropped(self) -> None:
        """A half-open socket: after 10 s, with one line."""
        silent, dripping = await dial(self.port), await dial(self.port)
        self._sockets += (silent, dripping)
        dripping.raw(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(9):
            dripping.raw(b"X-Drip: 1\r\n")
            await self.advance(1)
        self.assertEqual((silent.lost, dripping.lost), (False, False))
        await self.advance(1.5)
        await silent.ended()
        await dripping.ended()
        lines = self.problems()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertRegex(line, r"^tcp4:127\.0\.0\.1:\d+: dropped, no upgrade within 10 s$")

    async def test_an_endless_request_is_refused(self) -> None:
        """431 beyond 64 KiB, without waiting for its end."""
        for start in (b"GET /" + b"a" * 80_000, b"GET / HTTP/1.1\r\nX: " + b"b" * 80_000):
            socket = await dial(self.port)
            self._sockets.append(socket)
            socket.raw(start)
            await self.pause(0.02)
            socket.raw(b"c" * 1000)
            await socket.until(lambda socket=socket: bool(socket.head), "answer")
            self.assertEqual(socket.status, 431)
            await socket.ended()

    async def test_the_limit_ends_with_the_upgrade(self) -> None:
        """An idle worker that answers pings stays."""
        worker = await self.worker()
        await self.advance(15)
        await worker.settled()


class Sockets(WireCase):
    """docs/performance.md: small answers don't wait for an acknowledgement."""

    async def test_nagle_is_off(self) -> None:
        await self.worker()
        for connection in self.listener.factory.connections:
            self.assertTrue(connection.transport.getTcpNoDelay())


class KeepAlive(TimelessCase):
    """Decision 40: a ping every 20 s, dropped after 60 s without a byte."""

    def pings(self, socket: RawSocket) -> int:
        """How many have come."""
        return sum(got.opcode == PING for got in socket.frames)

    async def test_a_worker_is_pinged(self) -> None:
        """Every 20 s; whoever answers stays."""
        worker = await self.worker()
        for round in range(1, 10):
            await self.advance(19)
            self.assertEqual(self.pings(worker.socket), round - 1)
            await self.advance(1)
            self.assertEqual(self.pings(worker.socket), round)
            worker.socket.raw(frame(PONG, b""))
        await worker.settled()
        self.assertEqual(self.problems(), [])

    async def test_a_silent_worker_is_dropped(self) -> None:
        """After 60 s, not before; its calls are stopped; one line."""
        silent, caller = await self.worker("f"), await self.worker()
        invocation = caller.invoke("f")
        await silent.invoked("f")
        for _ in range(59):
            caller.socket.raw(frame(PONG, b""))
            await self.advance(1)
        self.assertFalse(self.is_gone(silent))
        await self.advance(2)
        await silent.socket.ended()
        answer = await caller.result_of(invocation)
        self.assertEqual(answer["error"]["code"], "invocation_stopped")
        self.assertEqual(len(self.problems()), 1)
        self.assertRegex(self.problems()[0], r": dropped, silent for 6[01] s$")

    async def test_anything_said_counts(self) -> None:
        """Also half a frame, and without answering a single ping."""
        worker = await self.worker()
        whole = frame(TEXT, b'{"type":"ping"}' + b" " * 120)
        for byte in whole[:110]:
            worker.socket.raw(bytes((byte,)))
            await self.advance(2)
        self.assertFalse(self.is_gone(worker))

    async def test_telemetry_sockets_are_looked_after_too(self) -> None:
        """``/otel`` is no channel."""
        socket = await self.socket("/otel")
        await self.advance(20)
        self.assertEqual(self.pings(socket), 1)
        await self.advance(41)
        await socket.ended()

    async def test_channel_sockets_are_left_alone(self) -> None:
        """Some writers never read, and a reader may wait for long."""
        worker = await self.worker()
        refs = await worker.call("engine::channels::create", {})
        ref = refs["writer"]
        path = f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}"
        ends = [await self.socket(f"{path}&dir={end}") for end in ("write", "read")]
        await self.advance(400)
        for end in ends:
            self.assertEqual((end.lost, end.frames), (False, []))
        ends[0].binary(b"still")
        self.assertEqual((await ends[1].next_frame()).payload, b"still")


class Endings(WireCase):
    """01 §1.3, decision 31: how connections end and what is said about it."""

    async def close_code(self, socket: RawSocket) -> int | None:
        """The code of the next close frame."""
        await socket.until(lambda: any(got.opcode == CLOSE for got in socket.frames), "close", 5)
        return next(got for got in socket.frames if got.opcode == CLOSE).close_code

    async def test_what_the_engine_closes_with(self) -> None:
        """Decision 31: never 1000, 1001 or no code on a live worker connection."""
        replaced = await self.worker()
        newer = await self.worker()
        newer.send(
            "reattach",
            previous_worker_id=replaced.id,
            reattach_token=replaced.hello["reattach_token"],
        )
        self.assertEqual(await self.close_code(replaced.socket), 1012)
        rows = (
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, b"{}", masked=False), 1002),
            (bytes((0x81, 0xFF)) + (1 << 40).to_bytes(8, "big") + b"mask", 1009),
        )
        for data, code in rows:
            worker = await self.worker()
            worker.socket.raw(data)
            self.assertEqual(await self.close_code(worker.socket), code)
        stopped = self.listener.close_all(1012, "engine shutting down")
        self.assertEqual(await self.close_code(newer.socket), 1012)
        newer.socket.drop()
        await stopped

    async def test_a_clean_end_is_not_worth_a_line(self) -> None:
        """Goodbyes, resets, refused upgrades: Autobahn would warn of each."""
        for code in (1000, 1001, None, 4000):
            worker = await self.worker()
            worker.socket.close_frame(code)
            self.assertEqual(await self.close_code(worker.socket), code)
            await worker.socket.ended()
        reset = await self.worker()
        reset.socket.drop()
        half_closed = await self.worker()
        half_closed.socket.transport.loseWriteConnection()
        await half_closed.socket.ended()
        await self.eventually(lambda: not self.listener.factory.connections)
        self.assertEqual(self.problems(), [])

    async def test_a_protocol_error_is_one_line_that_says_whose(self) -> None:
        """Worker, code and reason."""
        worker = await self.worker()
        await worker.describe(name="billing", runtime="python", version="0.22.1")
        worker.socket.raw(frame(TEXT, b"{}", masked=False))
        self.assertEqual(await self.close_code(worker.socket), 1002)
        worker.socket.drop()
        await self.eventually(lambda: not self.listener.factory.connections)
        expected = rf"^worker {worker.id[:8]}… \(billing, python 0.22.1\): closed with 1002: unmask"
        self.assertEqual(len(self.problems()), 1)
        self.assertRegex(self.problems()[0], expected)

    async def test_calls_of_a_worker_that_is_being_closed_go_elsewhere(self) -> None:
        """08 §2: from the close frame on, not from the end of TCP two seconds later."""
        broken, healthy, caller = (
            await self.worker("f"),
            await self.worker("f"),
            await self.worker(),
        )
        running = [caller.invoke("f"), caller.invoke("f")]
        await broken.invoked("f")
        broken.socket.raw(frame(TEXT, b"{}", masked=False))
        await self.close_code(broken.socket)
        await healthy.answer("f", result=0)
        outcomes = [await caller.result_of(id) for id in running]
        codes = sorted(answer.get("error", {}).get("code", "") for answer in outcomes)
        self.assertEqual(codes, ["", "invocation_stopped"])
        self.assertFalse(broken.socket.lost)
        for _ in range(10):
            invocation = caller.invoke("f")
            await healthy.answer("f", result=1)
            self.assertEqual((await caller.result_of(invocation))["result"], 1)

    async def test_what_a_closed_worker_still_says_is_ignored(self) -> None:
        """It does not come back through the back door."""
        worker = await self.worker("f")
        worker.socket.raw(frame(TEXT, b"{}", masked=False))
        await self.close_code(worker.socket)
        await self.eventually(lambda: self.is_gone(worker))
        worker.send("registerfunction", id="late")
        worker.socket.close_frame(1002)
        await worker.socket.ended()
        self.assertIsNone(self.engine.functions.get("late"))
