"""Answers through the response channel (02 A6.1, A6.3, probes 39–45)."""

from __future__ import annotations

from tests.http.support import ChannelWriter, Client, Fast, HttpCase, Stock, Truncated, later


class StreamCase(HttpCase):
    """One route ``/s`` whose function writes to its response channel."""

    config = {"default_timeout": 1000}

    async def open(self, target: str = "/s", method: str = "GET") -> tuple[Client, ChannelWriter]:
        """A request whose function has its writer."""
        self.streamer = self.worker()
        self.streamer.route("s", later, method="GET")
        client = await self.send(method, target)
        await self.until(lambda: self.streamer.calls)
        return client, self.streamer.writer(self.streamer.last)


class Streaming:
    """02 A6.3."""

    async def test_status_and_headers_then_bytes(self) -> None:
        """02.39: what is no header is skipped; no other type is added."""
        client, writer = await self.open()
        writer.control(type="set_status", status_code=206)
        writer.control(
            type="set_headers", headers={"content-type": "text/plain", "bad\nname": "x", "n": 5}
        )
        writer.write(b"hello")
        writer.close()
        response = await client.response()
        self.assertEqual((response.status, response.body), (206, b"hello"))
        self.assertEqual(response.all("content-type"), ["text/plain"])
        self.assertNotIn("n", response.headers)
        self.assertNotIn("bad\nname", response.headers)
        self.assertEqual(response.headers["access-control-allow-origin"], "*")

    async def test_a_stream_may_be_empty(self) -> None:
        """02.40: close without data sends the collected head."""
        client, writer = await self.open()
        writer.control(type="set_status", status_code=202)
        writer.control(type="set_headers", headers={"x-test": "yes"})
        writer.close()
        response = await client.response()
        self.assertEqual((response.status, response.body), (202, b""))
        self.assertEqual(response.headers["x-test"], "yes")
        self.assertNotIn("content-type", response.headers)

    async def test_nonsense_on_the_channel_is_ignored(self) -> None:
        """02.41: status 600, text statuses, no JSON, other types."""
        client, writer = await self.open()
        for status in (600, "abc", 20.5, True, None):
            writer.control(type="set_status", status_code=status)
        for text in (b"not json", b"[]", b'{"type":"other"}', b"\xff"):
            writer.text(text)
        writer.control(type="set_headers", headers=["x"])
        writer.write(b"fine")
        writer.control(type="set_status", status_code=404)
        writer.close()
        response = await client.response()
        self.assertEqual((response.status, response.body), (200, b"fine"))

    async def test_frames_arrive_one_by_one(self) -> None:
        """02.42: server-sent events are not gathered, and keep their type."""
        client, writer = await self.open()
        writer.control(type="set_headers", headers={"content-type": "text/event-stream"})
        for number in range(4):
            event = b"data: %d\n\n" % number
            writer.write(event)
            await client.until(event)
            self.assertNotIn(b"data: %d" % (number + 1), client.received)
        writer.close()
        response = await client.response()
        self.assertEqual(response.headers["content-type"], "text/event-stream")
        self.assertEqual(response.body.count(b"data:"), 4)

    async def test_a_large_download_is_identical(self) -> None:
        """02.43: 10 MiB, with back-pressure on the writer."""
        client, writer = await self.open()
        whole = bytes(range(256)) * (4 * 1024 * 10)
        client.transport.pauseProducing()
        frames = [whole[at : at + 65536] for at in range(0, len(whole), 65536)]
        sent = 0
        while sent < len(frames) and not writer.paused:
            writer.write(frames[sent])
            sent += 1
        self.assertTrue(writer.paused, "a client that doesn't read must stop the writer")
        self.assertLess(sent, len(frames))
        client.transport.resumeProducing()
        for frame in frames[sent:]:
            await self.until(lambda: not writer.paused)
            writer.write(frame)
        writer.close()
        self.assertEqual((await client.response()).body, whole)

    async def test_bytes_win_over_a_later_error(self) -> None:
        """02.44: the client keeps its 200 stream."""
        client, writer = await self.open()
        writer.write(b"first")
        await client.until(b"first")
        self.streamer.fail(self.streamer.last, "E", "too late")
        writer.write(b", second")
        writer.close()
        response = await client.response()
        self.assertEqual((response.status, response.body), (200, b"first, second"))

    async def test_a_result_wins_before_the_first_bytes(self) -> None:
        """02 A6.1.5: collected status and headers are discarded, the writer is dropped."""
        client, writer = await self.open()
        writer.control(type="set_status", status_code=206)
        self.streamer.answer(self.streamer.last, {"body": "result"})
        response = await client.response()
        self.assertEqual((response.status, response.json), (200, "result"))
        self.assertTrue(writer.dropped)

    async def test_a_stream_that_breaks_off_is_seen(self) -> None:
        """02.45: no last chunk when the writer's socket dies."""
        client, writer = await self.open()
        writer.write(b"half")
        await client.until(b"half")
        writer.close(clean=False)
        with self.assertRaises(Truncated):
            await client.response()

    async def test_an_announced_length_is_kept(self) -> None:
        """02 A6.3: ``content-length`` from the function instead of chunks."""
        client, writer = await self.open()
        writer.control(type="set_headers", headers={"Content-Length": "5"})
        writer.write(b"hel")
        writer.write(b"lo, and more than was said")
        writer.close()
        response = await client.response()
        self.assertEqual(response.headers["content-length"], "5")
        self.assertNotIn("transfer-encoding", response.headers)
        self.assertEqual(response.body, b"hello")

    async def test_too_few_bytes_are_a_broken_answer(self) -> None:
        """02 A6.3: an announced length that isn't reached."""
        client, writer = await self.open()
        writer.control(type="set_headers", headers={"Content-Length": "5"})
        writer.write(b"hel")
        writer.close()
        with self.assertRaises(Truncated):
            await client.response()

    async def test_a_head_request_gets_no_stream(self) -> None:
        """RFC 9110: headers only, and the connection stays usable."""
        client, writer = await self.open(method="HEAD")
        writer.control(type="set_headers", headers={"x-a": "1"})
        writer.write(b"never seen")
        writer.close()
        response = await client.response(head=True)
        self.assertEqual(response.headers["x-a"], "1")
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((await client.response()).status, 404)

    async def test_a_stream_has_no_time_limit(self) -> None:
        """02 A6.3: after the head neither idle nor total time counts."""
        client, writer = await self.open()
        writer.write(b"a")
        await client.until(b"a\r\n")
        self.time.advance(3600)
        writer.write(b"b")
        writer.close()
        self.assertEqual((await client.response()).body, b"ab")

    async def test_a_head_that_comes_too_late_is_504(self) -> None:
        """02 A6.3: the first byte must come within the time limit."""
        client, writer = await self.open()
        writer.control(type="set_status", status_code=206)
        self.time.advance(1.1)
        self.assertError(await client.response(), 504, "invocation_timeout")
        self.assertTrue(writer.dropped)

    async def test_a_client_that_goes_ends_the_writer(self) -> None:
        """02 A6.3: the writer's channel is closed, everything is given back."""
        client, writer = await self.open()
        writer.write(b"first")
        await client.until(b"first")
        client.close()
        await self.until(lambda: writer.dropped)
        self.assertEqual(len(self.engine.channels), 0)

    async def test_the_connection_is_reused_after_a_stream(self) -> None:
        """RFC 9112: a complete chunked answer ends nothing."""
        client, writer = await self.open()
        writer.write(b"x")
        writer.close()
        self.assertEqual((await client.response()).body, b"x")
        client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((await client.response()).status, 404)

    async def test_a_broken_writer_leaves_the_result(self) -> None:
        """02 A6.1: an end without goodbye and without bytes isn't an answer."""
        client, writer = await self.open()
        writer.close(clean=False)
        await self.pause()
        self.assertEqual(client.received, b"")
        self.streamer.answer(self.streamer.last, {"body": 1})
        self.assertEqual((await client.response()).json, 1)

    async def test_a_broken_writer_without_a_result_is_an_error(self) -> None:
        """02 A6.1: nobody will answer any more."""
        client, writer = await self.open()
        self.streamer.nothing(self.streamer.last)
        writer.close(clean=False)
        self.assertError(await client.response(), 500, "invocation_stopped")


class StreamingFast(Fast, Streaming, StreamCase):
    """On the module's own server."""

    async def test_http_1_0_streams_end_with_the_connection(self) -> None:
        """RFC 9112 §6.3: no chunks in HTTP/1.0."""
        worker = self.worker()
        worker.route("s", later)
        client = await self.connect()
        client.send(b"GET /s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.last)
        writer.write(b"a")
        writer.write(b"b")
        writer.close()
        head, _, body = (await client.end()).partition(b"\r\n\r\n")
        self.assertEqual(body, b"ab")
        self.assertIn(b"connection: close", head)
        self.assertNotIn(b"chunked", head)

    async def test_http_1_0_shows_a_broken_stream_by_a_reset(self) -> None:
        """02.45: there is nothing else to show it with."""
        worker = self.worker()
        worker.route("s", later)
        client = await self.connect()
        client.send(b"GET /s HTTP/1.0\r\n\r\n")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.last)
        writer.write(b"half")
        await client.until(b"half")
        writer.close(clean=False)
        await client.end()
        self.assertFalse(client.cleanly)

    async def test_a_client_that_never_reads_is_cut(self) -> None:
        """A stream nobody reads doesn't stay for ever."""
        client, writer = await self.open()
        client.transport.pauseProducing()
        while not writer.paused:
            writer.write(b"x" * 65536)
        self.time.advance(61)
        await self.until(lambda: writer.dropped)
        client.transport.resumeProducing()


class StreamingStock(Stock, Streaming, StreamCase):
    """Under a stock twisted.web Site."""
