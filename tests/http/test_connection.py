"""The connection layer on raw bytes: framing, limits, smuggling (RFC 9112)."""

from __future__ import annotations

from twisted.internet.task import Clock as FakeTime

from tests.http.support import Client, Fast, HalfOpenClient, HttpCase, Response, later

OK = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class RawCase(Fast, HttpCase):
    """Routes ``/x`` (GET and POST), whose POST answers with what its body was."""

    time: FakeTime

    def setUp(self) -> None:
        super().setUp()
        self.echo = self.worker("echo")
        self.echo.route("x", {"body": "ok"})
        self.echo.route(
            "x", lambda w, call: w.answer(call, {"body": w.data.get("body")}), method="POST"
        )

    async def raw(self, data: bytes) -> Client:
        client = await self.connect()
        client.send(data)
        return client

    async def refused(self, data: bytes, status: int = 400) -> Response:
        """``data`` is answered with ``status`` once, and the connection ends."""
        calls = len(self.echo.calls)
        # What follows a refused head must never be served.
        client = await self.raw(data)
        response = await client.response()
        self.assertEqual(response.status, status, data)
        self.assertEqual(response.headers["connection"], "close", data)
        self.assertIn("error", response.json)
        client.send(OK)
        self.assertEqual(await client.end(), b"", data)
        self.assertEqual(len(self.echo.calls), calls, data)
        return response


class Heads(RawCase):
    """Request lines and header lines."""

    async def test_malformed_heads_are_refused(self) -> None:
        """Issue 3.6: what two servers could read differently is 400 and close."""
        for head in (
            b"GET /x HTTP/1.1\nHost: a\n\n",
            b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
            b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: b\r\n\tfolded\r\n\r\n",
            b"GET /x HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\n: nameless\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX\x00Y: b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n",
            b"GET /x HTTP/1.1\r\n\r\n",
            b"GET /x HTTP/1.1\r\nX: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x  HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n",
            b" GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x http/1.1\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/01.1\r\nHost: a\r\n\r\n",
            b"GET /x\r\n\r\n",
            b"G(T /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"\n\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n" * 3 + OK,
            b"\r\n" * 30_000,
        ):
            await self.refused(head)

    async def test_other_versions_are_refused(self) -> None:
        """RFC 9110 §15.6.6: 505 for what isn't HTTP/1.0 or 1.1."""
        for version in (b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/3.0"):
            await self.refused(b"GET /x " + version + b"\r\nHost: a\r\n\r\n", 505)
        await self.refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    async def test_doubtful_frames_are_refused(self) -> None:
        """Issue 3.6: conflicting or repeated Content-Length, with Transfer-Encoding."""
        for lines in (
            b"Content-Length: 1\r\nContent-Length: 2\r\n",
            b"Content-Length: 1\r\nContent-Length: 1\r\n",
            b"Content-Length: 1, 1\r\n",
            b"Content-Length: 1,2\r\n",
            b"Content-Length: +1\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 0x1\r\n",
            b"Content-Length: 1 1\r\n",
            b"Content-Length: \r\n",
            b"Content-Length: 1.0\r\n",
            b"Content-Length: \xb2\r\n",
            b"Content-Length: 99999999999999999999999\r\n",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunkedx\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n",
            b"Transfer_Encoding: x\r\nTransfer-Encoding: \r\n",
        ):
            head = b"POST /x HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"
            await self.refused(head + b"1\r\nZ\r\n0\r\n\r\n")

    async def test_other_codings_are_not_implemented(self) -> None:
        """RFC 9112 §6.1: 501 for codings nobody here undoes."""
        head = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
        await self.refused(head + b"0\r\n\r\n", 501)

    async def test_chunks_need_http_1_1(self) -> None:
        """RFC 9112 §6.1: Transfer-Encoding in HTTP/1.0 is doubtful."""
        await self.refused(b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    async def test_other_expectations_fail(self) -> None:
        """RFC 9110 §10.1.1: 417."""
        await self.refused(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417)

    async def test_long_heads_are_refused(self) -> None:
        """414 for the request line, 431 for the header lines, sent whole or in part."""
        for end in (b"", b"\r\n\r\n"):
            line = b"GET /" + b"x" * 17_000
            await self.refused(line + (b" HTTP/1.1\r\nHost: a" + end if end else b""), 414)
            many = b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 33_000
            await self.refused(many + end, 431)
        fields = b"".join(b"X-%d: 1\r\n" % at for at in range(129))
        await self.refused(b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", 431)

    async def test_unusual_but_good_heads_are_served(self) -> None:
        """RFC 9112: empty lines before, absolute form, white space around values."""
        for head in (
            OK,
            b"\r\n" + OK,
            b"\r\n\r\n" + OK,
            b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET HTTP://a:80/x?q HTTP/1.1\r\nHost: a:80\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost:a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: \t a \t\r\nX:\r\n\r\n",
            b"GET /x HTTP/1.1\r\nhOST: [::1]:3111\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n",
            b"GET /x HTTP/1.0\r\n\r\n",
        ):
            client = await self.raw(head)
            self.assertEqual((await client.response()).json, "ok", head)

    async def test_unknown_methods_are_routed_like_others(self) -> None:
        """02 A7: 405 where the path exists, 404 elsewhere."""
        for method in ("TRACE", "FOO", "get", "PROPFIND"):
            self.assertError(await self.request(method, "/x"), 405, "method_not_allowed")
            self.assertError(await self.request(method, "/none"), 404, "route_not_found")

    async def test_options_of_the_server(self) -> None:
        """RFC 9112 §3.2.4: ``OPTIONS *``."""
        client = await self.raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((await client.response()).status, 200)

    async def test_errors_of_the_connection_have_the_one_form(self) -> None:
        """Decision 4, with CORS headers."""
        response = await self.refused(b"GET /x HTTP/1.1\r\n\r\n")
        self.assertError(response, 400, "bad_request", "Host")
        self.assertEqual(response.headers["access-control-allow-origin"], "*")

    async def test_heads_may_come_byte_by_byte(self) -> None:
        """Cut anywhere, the result is the same."""
        client = await self.connect()
        for at in range(len(OK)):
            client.send(OK[at : at + 1])
            await self.pause()
        self.assertEqual((await client.response()).json, "ok")


class Bodies(RawCase):
    """Content-Length and chunked bodies."""

    HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"

    async def test_a_chunked_body_is_put_together(self) -> None:
        """RFC 9112 §7.1: sizes in any case, extensions and trailers skipped, cut anywhere."""
        body = (
            b'1\r\n[\r\n2;a;b=c;d="e\\"f"\r\n1,\r\n0A \t; x\r\n          \r\n'.replace(
                b" \t;", b";"
            )
            + b"2\r\n2]\r\n0\r\nTrailer: yes\r\nX: \r\n\r\n"
        )
        whole = self.HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + body
        for step in (1, 7, len(whole)):
            client = await self.connect()
            for at in range(0, len(whole), step):
                client.send(whole[at : at + step])
                if step > 1 or at % 5 == 0:
                    await self.pause()
            self.assertEqual((await client.response()).json, [1, 2])
            client.send(OK)
            self.assertEqual((await client.response()).json, "ok")

    async def test_broken_chunks_are_refused(self) -> None:
        """Issue 3.6: bad sizes, missing CRLF, bare LF, odd trailers."""
        for body in (
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\nZ\r\n",
            b"0x1\r\nZ\r\n",
            b" 1\r\nZ\r\n",
            b"1 \r\nZ\r\n",
            b"1\nZ\r\n",
            b"1\r\nZ\n",
            b"1\r\nZZ\r\n",
            b"1\r\nZ0\r\n\r\n",
            b"1\rZ\r\n",
            b"1;\x00\r\nZ\r\n",
            b"1;a=\r\nZ\r\n",
            b"1;a\nb\r\nZ\r\n",
            b"ffffffffffffffffff\r\nZ",
            b"1" * 2000,
            b"0\r\nbad trailer\r\n\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        ):
            await self.refused(self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body)

    async def test_the_next_request_follows_the_body(self) -> None:
        """Pipelined behind Content-Length and behind the last chunk."""
        for body in (
            b"Content-Length: 3\r\n\r\n[1]",
            b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        ):
            client = await self.raw(self.HEAD + body + OK + self.HEAD + body)
            self.assertEqual((await client.response()).json, [1])
            self.assertEqual((await client.response()).json, "ok")
            self.assertEqual((await client.response()).json, [1])

    async def test_a_get_may_have_a_body(self) -> None:
        """RFC 9110 §9.3.1: it is read, so nothing gets out of step."""
        client = await self.raw(
            b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\n"
            b"GET /y HTTP/1.1\r\nHost: a\r\n" + OK
        )
        for _ in range(2):
            self.assertEqual((await client.response()).json, "ok")

    async def test_continue_is_sent_when_the_body_is_wanted(self) -> None:
        """02 A5.1: ``Expect: 100-continue``."""
        client = await self.raw(self.HEAD + b"Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
        await client.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual((await client.response()).status, 100)
        client.send(b"[1]")
        self.assertEqual((await client.response()).json, [1])

    async def test_continue_is_not_sent_for_a_body_nobody_wants(self) -> None:
        """RFC 9110 §10.1.1: the final answer instead, and the connection ends."""
        client = await self.raw(
            b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        response = await client.response()
        self.assertEqual(response.status, 404)
        self.assertEqual(response.headers["connection"], "close")

    async def test_continue_is_not_sent_when_the_body_is_too_large(self) -> None:
        """RFC 9110 §10.1.1: 413 at once."""
        client = await self.raw(
            self.HEAD + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        self.assertError(await client.response(), 413, "payload_too_large")

    async def test_continue_is_not_sent_when_the_body_is_there(self) -> None:
        """RFC 9110 §10.1.1: an impatient client needs no leave."""
        client = await self.raw(self.HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n[1]")
        self.assertEqual((await client.response()).json, [1])

    async def test_continue_is_not_for_http_1_0(self) -> None:
        """RFC 9110 §10.1.1: an HTTP/1.0 expectation is ignored."""
        client = await self.raw(
            b"POST /x HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        await self.pause(0.01)
        self.assertEqual(client.received, b"")
        client.send(b"[1]")
        self.assertEqual((await client.response()).json, [1])

    async def test_a_large_unwanted_body_ends_the_connection_after_the_answer(self) -> None:
        """Not before the client stops sending, so that the answer can be read."""
        client = await self.connect(HalfOpenClient)
        client.send(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        response = await client.response()
        self.assertEqual((response.status, response.headers["connection"]), (404, "close"))
        for _ in range(3):
            client.send(b"x" * 1_000_000)
            await self.pause(0.02)
            self.time.advance(2.1)
            await self.pause()
            self.assertTrue(self.server.connections, "cut while it was still sending")
        self.time.advance(2.1)
        await self.until(lambda: not self.server.connections)
        client.close()

    async def test_an_endless_unwanted_body_ends_the_connection(self) -> None:
        """A reader that goes after the answer leaves nothing to wait for."""
        self.echo.route("up", later, method="POST")
        client = await self.connect()
        client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self.until(lambda: self.echo.calls)
        reader = self.echo.reader(self.echo.last)
        self.echo.answer(self.echo.last, {"body": 1})
        self.assertEqual((await client.response()).status, 200)
        client.send(b"3\r\nabc\r\n")
        await self.until(lambda: reader.frames)
        reader.channel.reader_gone()
        self.time.advance(2.1)
        self.assertEqual(await client.end(), b"")

    async def test_a_small_unwanted_body_is_read_away(self) -> None:
        """The connection goes on with the next request."""
        client = await self.raw(
            b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10
        )
        self.assertEqual((await client.response()).status, 404)
        client.send(b"x" * 99_990 + OK)
        self.assertEqual((await client.response()).json, "ok")

    async def test_nul_bytes_and_line_ends_in_bodies_are_only_bytes(self) -> None:
        """A body isn't looked into."""
        body = b"\r\n\r\n\x00GET /x HTTP/1.1\r\n\r\n"
        self.echo.route("up", later, method="POST")
        client = await self.send("POST", "/up", body)
        await self.until(lambda: self.echo.calls)
        self.assertEqual(await self.echo.reader(self.echo.last).all(), body)
        self.echo.answer(self.echo.last, {"body": 1})
        self.assertEqual((await client.response()).status, 200)


class Connections(RawCase):
    """Keep-alive, pipelining, ends."""

    async def test_a_connection_is_kept(self) -> None:
        """RFC 9112 §9.3: HTTP/1.1 until somebody says close."""
        client = await self.connect()
        for _ in range(3):
            client.send(OK)
            response = await client.response()
            self.assertNotIn("connection", response.headers)
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n")
        response = await client.response()
        self.assertEqual(response.headers["connection"], "close")
        self.assertEqual(await client.end(), b"")

    async def test_http_1_0_is_closed_unless_asked(self) -> None:
        """RFC 9112 §9.3: ``Connection: keep-alive``."""
        client = await self.raw(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertEqual((await client.response()).headers["connection"], "close")
        self.assertEqual(await client.end(), b"")
        client = await self.raw(b"GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        self.assertEqual((await client.response()).headers["connection"], "keep-alive")
        client.send(OK)
        self.assertEqual((await client.response()).json, "ok")

    async def test_pipelined_requests_are_answered_in_order(self) -> None:
        """RFC 9112 §9.3.2: also when the first takes longer."""
        worker = self.worker()
        worker.route("slow", later)
        client = await self.raw(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + OK * 2)
        await self.until(lambda: worker.calls)
        await self.pause()
        self.assertEqual(client.received, b"")
        worker.answer(worker.last, {"body": "slow"})
        self.assertEqual([(await client.response()).json for _ in range(3)], ["slow", "ok", "ok"])

    async def test_many_pipelined_requests_need_no_recursion(self) -> None:
        """Thousands in one write."""
        client = await self.raw(OK * 3000)
        for _ in range(3000):
            self.assertEqual((await client.response()).json, "ok")

    async def test_a_flood_of_pipelined_requests_is_held_back(self) -> None:
        """While an answer is under way only 64 KiB more are read."""
        worker = self.worker()
        worker.route("slow", later)
        client = await self.raw(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.until(lambda: worker.calls)
        client.send(OK * 40_000)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection._held_reads, "the connection to be held")
        self.assertLess(len(connection._buffer), 256 * 1024)
        worker.answer(worker.last, {"body": "slow"})
        self.assertEqual((await client.response()).json, "slow")
        await self.until(lambda: not connection._held_reads)

    async def test_a_client_that_does_not_read_is_not_served_on(self) -> None:
        """Answers pile up to the buffers' size, no further; then the client is cut."""
        self.echo.route("big", {"body": "x" * 500_000})
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection.output_full, "the output to be full")
        calls = len(self.echo.calls)
        await self.pause(0.02)
        self.assertEqual(len(self.echo.calls), calls)
        self.assertLess(calls, 50)
        self.time.advance(61)
        await self.until(lambda: not self.server.connections)

    async def test_a_slow_reader_gets_everything(self) -> None:
        """Partial sends lose nothing."""
        self.echo.route("big", {"body": "x" * 3_000_000})
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection.output_full)
        client.transport.resumeProducing()
        for _ in range(3):
            self.assertEqual(len((await client.response()).body), 3_000_002)

    async def test_the_last_answer_is_read_although_more_was_sent(self) -> None:
        """Close with unread input must not reset the answer away."""
        client = await self.raw(
            b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + OK * 2000
        )
        self.assertEqual((await client.response()).json, "ok")
        client.close()

    async def test_a_large_last_answer_is_given_time(self) -> None:
        """Lingering ends when the answer is read, not two seconds later whatever happens."""
        self.echo.route("big", {"body": "x" * 6_000_000})
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + OK)
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection._finished)
        for _ in range(5):
            self.time.advance(2.1)
            await self.pause(0.001)
        client.transport.resumeProducing()
        self.assertEqual(len((await client.response()).body), 6_000_002)


class Patience(RawCase):
    """Time limits of slow clients."""

    async def test_a_slow_head_is_408(self) -> None:
        """10 s from the first byte."""
        client = await self.raw(OK)
        await client.response()
        client.send(b"GET /x HT")
        await self.pause(0.01)
        self.time.advance(9)
        client.send(b"TP/1.1\r\nX")
        await self.pause(0.01)
        self.time.advance(1.1)
        self.assertError(await client.response(), 408, "request_timeout")
        self.assertEqual(await client.end(), b"")

    async def test_a_silent_connection_is_closed(self) -> None:
        """Without a byte there is nothing to answer."""
        client = await self.connect()
        await self.until(lambda: self.server.connections)
        self.time.advance(10.1)
        self.assertEqual(await client.end(), b"")

    async def test_an_idle_connection_is_closed(self) -> None:
        """75 s after the last answer."""
        client = await self.raw(OK)
        await client.response()
        self.time.advance(74)
        client.send(OK)
        await client.response()
        self.time.advance(74)
        await self.pause(0.01)
        self.assertFalse(client.closed)
        self.time.advance(2)
        self.assertEqual(await client.end(), b"")

    async def test_a_slow_body_is_408(self) -> None:
        """4 KiB in 10 s at least; who sends more may take his time."""
        self.service.deadlines.stop()
        self.echo.route("up", later, method="POST")
        client = await self.raw(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n")
        await self.until(lambda: self.echo.calls)
        reader = self.echo.reader(self.echo.last)
        self.service.deadlines.stop()
        for _ in range(3):
            client.send(b"x" * 5000)
            await self.pause(0.01)
            self.time.advance(10.1)
        await self.pause(0.01)
        self.assertEqual(client.received, b"")
        client.send(b"x" * 100)
        await self.pause(0.01)
        self.time.advance(10.1)
        self.assertError(await client.response(), 408, "request_timeout")
        self.assertEqual(len(await reader.all()), 15_100)
        self.assertFalse(reader.ended)

    async def test_a_body_we_hold_back_is_not_slow(self) -> None:
        """Nobody is blamed for our own back-pressure."""
        self.echo.route("up", later, method="POST")
        client = await self.send("POST", "/up", b"x" * (30 * 1024 * 1024))
        await self.until(lambda: self.echo.calls)
        self.service.deadlines.stop()
        connection = next(iter(self.server.connections))
        await self.until(lambda: connection._held_reads)
        self.time.advance(60)
        await self.pause(0.01)
        self.assertFalse(client.closed)
        self.assertEqual(client.received, b"")
        self.echo.answer(self.echo.last, {"body": 1})
        self.assertEqual((await client.response()).status, 200)

    async def test_nothing_is_left_behind(self) -> None:
        """All tables are empty when the clients are gone."""
        client = await self.raw(OK + b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        await client.response()
        client.close()
        await self.until(lambda: not self.server.connections)
        for deadlines in self.server._deadlines:
            self.assertEqual(len(deadlines._due), 0)
        self.assertEqual(self.server._body_marks, {})
        self.assertEqual(len(self.engine.channels), 0)
