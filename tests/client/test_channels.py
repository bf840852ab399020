"""Channels: references, order, ends; and streaming HTTP handlers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from unittest import TestCase

from iii import (
    III,
    ChannelReader,
    ChannelWriter,
    HttpRequest,
    HttpResponse,
    StreamChannelRef,
    http,
    is_channel_ref,
)
from iii.client.channels import build_channel_url
from iii.client.errors import ChannelError
from tests.client.stub import LIMIT_S, ClientCase, Link

READ = {"channel_id": "c-1", "access_key": "k/1", "direction": "read"}
WRITE = {"channel_id": "c-2", "access_key": "k 2", "direction": "write"}


class References(TestCase):
    """07 A13: references and addresses."""

    def test_the_address_of_an_end(self) -> None:
        """The key is percent-encoded, slashes are cut, a query string stays in front."""
        ref = StreamChannelRef("c", "a/b c", "read")
        for address, expected in (
            ("ws://h:1", "ws://h:1/ws/channels/c?key=a%2Fb%20c&dir=read"),
            ("wss://h:1/", "wss://h:1/ws/channels/c?key=a%2Fb%20c&dir=read"),
            ("ws://h/x?t=1", "ws://h/x/ws/channels/c?t=1&key=a%2Fb%20c&dir=read"),
        ):
            with self.subTest(address):
                self.assertEqual(build_channel_url(address, ref), expected)

    def test_what_is_a_reference(self) -> None:
        """Both strings and a known direction, nothing less."""
        self.assertTrue(is_channel_ref(READ))
        for value in (None, [], {}, READ | {"direction": "both"}, READ | {"access_key": 1}):
            with self.subTest(value=value):
                self.assertFalse(is_channel_ref(value))


class ChannelCase(ClientCase):
    """A connected client and its channel ends."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.iii, self.link = await self.connected()

    def writer(self) -> ChannelWriter:
        return self.iii._end_of(StreamChannelRef("c-2", "k 2", "write"))

    def reader(self) -> ChannelReader:
        return self.iii._end_of(StreamChannelRef("c-1", "k/1", "read"))

    async def ended(self, channel: Link) -> list[str | bytes]:
        """All frames of a channel, once it is closed."""
        async with asyncio.timeout(LIMIT_S):
            await channel.closed
        return channel.raw


class Payloads(ChannelCase):
    """07 A8: references in payloads become ends."""

    async def test_nested_references(self) -> None:
        """07.39: in dicts and lists, at any depth; the rest is untouched."""
        seen: dict[str, Any] = {}

        async def keep(data: Any) -> None:
            seen.update(data)

        self.iii.register_function("f", keep)
        await self.link.invoke("f", {"a": [{"in": READ}, 1], "out": WRITE, "access_key": "mine"})
        self.assertIsInstance(seen["a"][0]["in"], ChannelReader)
        self.assertIsInstance(seen["out"], ChannelWriter)
        self.assertEqual((seen["a"][1], seen["access_key"]), (1, "mine"))
        self.assertEqual(self.stub.channels, [], "ends connect when they are used")

    async def test_an_end_in_a_payload_is_its_reference(self) -> None:
        """A reader, a writer or a reference put into a payload travels as plain JSON."""
        self.iii.invoke_async("f", [self.reader(), self.writer().channel_ref])
        self.assertEqual((await self.link.frame("invokefunction"))["data"], [READ, WRITE])

    async def test_create_channel(self) -> None:
        """07 A13: both ends, made by the engine."""
        made = asyncio.ensure_future(self.iii.create_channel(16))
        asked = await self.link.frame("invokefunction")
        self.assertEqual(
            (asked["function_id"], asked["data"]),
            ("engine::channels::create", {"buffer_size": 16}),
        )
        await self.link.say(
            type="invocationresult",
            invocation_id=asked["invocation_id"],
            result={"writer": WRITE, "reader": READ},
        )
        channel = await made
        self.assertEqual(channel.reader_ref, StreamChannelRef("c-1", "k/1", "read"))
        self.assertIsInstance(channel.writer, ChannelWriter)


class Writing(ChannelCase):
    """07 A13: the writing end."""

    async def test_bytes_are_cut_into_frames(self) -> None:
        """07.40: 200,000 bytes are frames of 65536, 65536, 65536 and 3392."""
        writer = self.writer()
        await writer.write(b"x" * 200_000)
        await writer.close_async()
        channel = await self.stub.channel()
        frames = await self.ended(channel)
        self.assertEqual([len(frame) for frame in frames], [65536, 65536, 65536, 3392])
        self.assertEqual(channel.path, "/ws/channels/c-2")
        self.assertEqual(channel.query, {"key": ["k 2"], "dir": ["write"]})
        self.assertEqual(await channel.closed, 1000)

    async def test_everything_keeps_its_order(self) -> None:
        """``write``, ``send_message`` and ``stream.write`` arrive as they were called."""
        writer = self.writer()
        writer.send_message("1")
        waiting = asyncio.ensure_future(writer.write(b"2"))
        await asyncio.sleep(0)
        writer.stream.write(b"3")
        await writer.send_message_async("4")
        writer.stream.end(b"5")
        await waiting
        frames = await self.ended(await self.stub.channel())
        self.assertEqual(frames, ["1", b"2", b"3", "4", b"5"])

    async def test_an_empty_channel_still_ends(self) -> None:
        """A writer closed without writing connects and closes, so the reader sees the end."""
        await self.writer().close_async()
        channel = await self.stub.channel()
        self.assertEqual(await self.ended(channel), [])
        self.assertEqual(await channel.closed, 1000)

    async def test_closing_without_waiting(self) -> None:
        """``close()`` ends the stream behind everything written before; twice is once."""
        writer = self.writer()
        writer.write_soon(b"1")
        writer.close()
        writer.close()
        await writer.close_async()
        self.assertEqual(await self.ended(await self.stub.channel()), [b"1"])
        with self.assertRaises(ChannelError):
            await writer.write(b"late")

    async def test_writing_to_a_channel_the_engine_closed(self) -> None:
        """``write`` after the engine closed the socket raises."""
        writer = self.writer()
        await writer.write(b"1")
        channel = await self.stub.channel()
        await channel.socket.close(1000)
        with self.assertRaisesRegex(ChannelError, "c-2 is closed"):
            await writer.write(b"2")
        with self.assertRaises(ChannelError):
            await writer.write(b"3")

    async def test_a_channel_that_is_not_there(self) -> None:
        """A refused upgrade is an error that names the channel, not its key."""
        self.stub.refusals = [HTTPStatus.NOT_FOUND]
        with self.assertRaises(ChannelError) as refused:
            await self.writer().write(b"1")
        self.assertIn("channel c-2 refused: HTTP 404", str(refused.exception))
        self.assertNotIn("k 2", str(refused.exception))

    async def test_from_a_thread(self) -> None:
        """A plain handler writes from its thread, with a loop of its own or none."""

        def handler(data: Any) -> None:
            writer = data["out"]
            asyncio.run(writer.write(b"1"))
            writer.send_message("2")
            asyncio.run(writer.close_async())

        self.iii.register_function("f", handler)
        await self.link.invoke("f", {"out": WRITE})
        self.assertEqual(await self.ended(await self.stub.channel()), [b"1", "2"])


class Reading(ChannelCase):
    """07 A13: the reading end."""

    async def feed(self, *frames: str | bytes, code: int | None = 1000) -> None:
        async def speak(channel: Link) -> None:
            if channel.path.startswith("/ws/channels/"):
                for frame in frames:
                    await channel.socket.send(frame)
                if code is None:
                    channel.drop()
                else:
                    await channel.socket.close(code)

        self.stub.on_connect = speak

    async def test_chunks_and_messages(self) -> None:
        """Binary frames are chunks, text frames go to ``on_message``."""
        await self.feed(b"1", "hello", b"2")
        reader = self.reader()
        texts: list[str] = []
        reader.on_message(texts.append)
        self.assertEqual([chunk async for chunk in reader], [b"1", b"2"])
        self.assertEqual(texts, ["hello"])
        self.assertEqual([chunk async for chunk in reader.stream], [], "the end stays the end")

    async def test_read_all(self) -> None:
        """Everything in one value; an empty channel is empty."""
        await self.feed(b"ab", b"cd")
        self.assertEqual(await self.reader().read_all(), b"abcd")
        await self.feed()
        self.assertEqual(await self.reader().read_all(), b"")

    async def test_what_breaks_off_is_not_complete(self) -> None:
        """A connection that drops is an error, not an end."""
        await self.feed(b"ab", code=None)
        with self.assertRaisesRegex(ChannelError, "c-1 broke off"):
            await self.reader().read_all()

    async def test_to_stop_early(self) -> None:
        """``close_async`` before, during and after."""
        reader = self.reader()
        await reader.close_async()
        self.assertEqual(await reader.read_all(), b"")
        self.assertEqual(self.stub.channels, [])


class StreamingHttp(ChannelCase):
    """07 A13: ``http(callback)``."""

    def request(self) -> dict[str, Any]:
        return {
            "method": "POST",
            "path": "up/:id",
            "path_params": {"id": "7"},
            "query_params": {"q": "x"},
            "headers": {"host": "h"},
            "body": {"n": 1},
            "request_body": READ,
            "response": WRITE,
        }

    async def test_a_response_is_streamed(self) -> None:
        """07.41: status, headers, body, end: in this order on the response channel."""

        async def callback(req: HttpRequest, res: HttpResponse) -> None:
            self.assertEqual((req.path_params, req.query_params), ({"id": "7"}, {"q": "x"}))
            self.assertEqual((req.method, req.body), ("POST", {"n": 1}))
            self.assertIsInstance(req.request_body, ChannelReader)
            await res.status(201)
            await res.headers({"x-a": "b"})
            await res.writer.write(b"hi")
            await res.writer.close_async()

        self.iii.register_function("f", http(callback))
        answer = await self.link.invoke("f", self.request())
        self.assertIsNone(answer["result"])
        self.assertEqual(
            await self.ended(await self.stub.channel()),
            [
                '{"type":"set_status","status_code":201}',
                '{"type":"set_headers","headers":{"x-a":"b"}}',
                b"hi",
            ],
        )

    async def test_a_value_may_be_returned_instead(self) -> None:
        """A callback that does not touch the response answers like any handler."""

        async def callback(req: HttpRequest, res: HttpResponse) -> Any:
            return {"status_code": 202}

        self.iii.register_function("f", http(callback))
        answer = await self.link.invoke("f", self.request())
        self.assertEqual(answer["result"], {"status_code": 202})
        self.assertEqual(self.stub.channels, [])

    async def test_a_failure_ends_a_response_that_was_begun(self) -> None:
        """An exception in the middle closes the channel and is the result's error."""

        async def callback(req: HttpRequest, res: HttpResponse) -> None:
            await res.writer.write(b"half")
            raise ValueError("broken")

        self.iii.register_function("f", http(callback))
        with self.assertLogs("iii.client", "WARNING"):
            answer = await self.link.invoke("f", self.request())
        self.assertEqual(answer["error"]["message"], "broken")
        self.assertEqual(await self.ended(await self.stub.channel()), [b"half"])

    async def test_a_direct_call_has_no_response(self) -> None:
        """Called without HTTP such a function says what is missing."""

        async def callback(req: HttpRequest, res: HttpResponse) -> None: ...

        self.iii.register_function("f", http(callback))
        with self.assertLogs("iii.client", "WARNING"):
            answer = await self.link.invoke("f", {"n": 1})
        self.assertIn("no response channel", answer["error"]["message"])

    def test_a_plain_callback_is_refused(self) -> None:
        """``http`` needs an ``async def``."""
        with self.assertRaises(TypeError):
            http(lambda req, res: None)


class Robust(ClientCase):
    """07 'better': one bad frame is one bad frame."""

    async def test_garbage_is_survived(self) -> None:
        """07.47: garbage as text and as binary, ``[]``, unknown types, wrong fields."""
        client = III(self.stub.address)
        self.addAsyncCleanup(client.disconnect)
        client.register_function("f", len)
        await client.connect()
        link = await self.stub.link()
        for garbage in (
            "garbage",
            "",
            "[]",
            "null",
            "{}",
            '{"type":"from_the_future","a":1}',
            '{"type":5}',
            '{"type":"invokefunction"}',
            '{"type":"registertrigger","id":7}',
            '{"type":"invocationresult","invocation_id":"unknown","result":1}',
            '{"type":"invocationresult"}',
            '{"type":"invokefunction","function_id":NaN}',
            "[" * 5000,
            b"\x00\xff\xfe",
            b"OTLP{}",
        ):
            await link.socket.send(garbage)
        self.assertEqual((await link.invoke("f", [1, 2]))["result"], 2)
        self.assertEqual(self.stub.attempts, 1)

    async def test_what_msgspec_refuses_is_read_all_the_same(self) -> None:
        """A lone surrogate in a payload of an old client reaches the handler."""
        client = III(self.stub.address)
        self.addAsyncCleanup(client.disconnect)
        client.register_function("f", lambda data: [ord(c) for c in data])
        await client.connect()
        link = await self.stub.link()
        self.assertEqual((await link.invoke("f", "\ud800"))["result"], [0xD800])
