"""Channels over sockets (01 §9)."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any
from unittest import skipUnless

from tests.support.engine_case import EngineCase
from tests.support.probes import probe
from tests.support.rawsocket import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, frame, upgrade
from tests.support.rawsocket import request as http_request

STATM = Path("/proc/self/statm")


def _resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


class Channels(EngineCase):
    """01 §9: one writer, one reader, in order, each end once."""

    async def setUp(self) -> None:
        await super().setUp()
        self.maker = await self.worker()

    async def create(self, **wanted: Any) -> dict[str, str]:
        """A fresh channel's reference."""
        refs = await self.maker.call("engine::channels::create", wanted)
        writer: dict[str, str] = refs["writer"]
        return writer

    def path(self, ref: dict[str, str], direction: str) -> str:
        """Where an end is."""
        return f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={direction}"

    async def end(self, ref: dict[str, str], direction: str) -> RawSocket:
        """One end, connected."""
        return await self.socket(self.path(ref, direction))

    @probe("01.43")
    async def test_what_was_written_before_is_kept(self) -> None:
        """01.43: text and binary in order, then a close with 1000."""
        ref = await self.create()
        writer = await self.end(ref, "write")
        writer.text("a")
        writer.binary(b"\x01\x02")
        writer.close_frame(1000, "stream_complete")
        await writer.ended()
        reader = await self.end(ref, "read")
        got = [await reader.next_frame() for _ in range(3)]
        self.assertEqual(
            [(one.opcode, one.payload) for one in got[:2]], [(TEXT, b"a"), (BINARY, b"\x01\x02")]
        )
        self.assertEqual((got[2].opcode, got[2].close_code), (CLOSE, 1000))
        self.assertEqual(len(self.engine.channels), 0)

    @probe("01.44")
    async def test_refused_before_the_upgrade(self) -> None:
        """01.44: 404 for a wrong id or key, 400 for a bad query."""
        ref = await self.create()
        base = f"/ws/channels/{ref['channel_id']}"
        key = ref["access_key"]
        failed = "Failed to deserialize query string: "
        rows = (
            (f"{base}?key=wrong&dir=read", 404, "Channel not found"),
            (f"/ws/channels/nope?key={key}&dir=read", 404, "Channel not found"),
            (f"{base}?dir=read", 400, failed + "missing field `key`"),
            (f"{base}?key={key}", 400, failed + "missing field `dir`"),
            (
                f"{base}?key={key}&dir=x",
                400,
                failed + "unknown variant `x`, expected `read` or `write`",
            ),
        )
        for path, status, body in rows:
            got_status, _, got_body = await http_request(self.port, upgrade(path, self.port))
            self.assertEqual((got_status, got_body), (status, body), path)

    async def test_other_query_parameters_are_ignored(self) -> None:
        """01 §1.2: SDK 0.25 puts the address's own query first; keys may be quoted."""
        ref = await self.create()
        quoted = ref["access_key"].replace("-", "%2D")
        path = f"/ws/channels/{ref['channel_id']}?token=t&key={quoted}&dir=read"
        reader = await self.socket(path)
        writer = await self.end(ref, "write")
        writer.text("x")
        self.assertEqual((await reader.next_frame()).payload, b"x")

    @probe("01.45")
    async def test_an_end_is_taken_once(self) -> None:
        """01.45: the second gets the upgrade and a close; the first goes on."""
        ref = await self.create()
        for direction in ("read", "write"):
            await self.end(ref, direction)
        for direction in ("read", "write"):
            second = await self.end(ref, direction)
            self.assertEqual((await second.next_frame()).opcode, CLOSE)

    @probe("01.46")
    @skipUnless(STATM.exists(), "needs /proc")
    async def test_a_full_channel_stops_the_writer(self) -> None:
        """01.46: 10 MiB against one frame of room; then every byte arrives in order."""
        ref = await self.create(buffer_size=1)
        writer = await self.end(ref, "write")
        chunks = [bytes((number,)) * 65536 for number in range(160)]
        data = b"".join(frame(BINARY, chunk) for chunk in chunks)
        before = _resident_bytes()
        # From here on the kernel's buffers and the test's own hold the bytes.
        writer.raw(data)
        await self.pause(0.3)
        self.assertGreater(len(writer.transport.dataBuffer) + _temp(writer), 1024 * 1024)
        del data
        grown = _resident_bytes() - before - len(writer.transport.dataBuffer) - _temp(writer)
        self.assertLess(grown, 12 * 1024 * 1024)
        channel = self.engine.channels.find(ref["channel_id"], ref["access_key"])
        assert channel is not None
        held = sum(len(payload) for payload, _ in channel._frames or ())
        self.assertLess(held, 2 * 1024 * 1024)
        reader = await self.end(ref, "read")
        for chunk in chunks:
            got = await reader.next_frame(5)
            self.assertEqual(got.payload, chunk)

    async def test_a_stalled_reader_stops_the_writer(self) -> None:
        """01 §9: back-pressure through both sockets, nothing lost."""
        ref = await self.create(buffer_size=4)
        reader, writer = await self.end(ref, "read"), await self.end(ref, "write")
        reader.pause()
        chunks = [bytes((number,)) * 65536 for number in range(250)]
        for chunk in chunks:
            writer.binary(chunk)
        await self.pause(0.3)
        self.assertGreater(len(writer.transport.dataBuffer) + _temp(writer), 0)
        reader.resume()
        for chunk in chunks:
            self.assertEqual((await reader.next_frame(5)).payload, chunk)

    async def test_a_reader_that_goes_drops_the_writer(self) -> None:
        """01 §9: and the channel is forgotten."""
        ref = await self.create()
        reader, writer = await self.end(ref, "read"), await self.end(ref, "write")
        reader.drop()
        await writer.ended()
        self.assertEqual(len(self.engine.channels), 0)

    async def test_a_writer_that_breaks_off_is_no_clean_end(self) -> None:
        """01 §18.10: the reader gets what there was, then 1011."""
        ref = await self.create()
        reader, writer = await self.end(ref, "read"), await self.end(ref, "write")
        writer.text("part")
        await reader.until(lambda: bool(reader.frames), "the text")
        writer.drop()
        self.assertEqual((await reader.next_frame()).payload, b"part")
        closed = await reader.next_frame()
        self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1011))

    async def test_pings_on_both_ends_are_answered(self) -> None:
        """01 §9: also on an idle reader."""
        ref = await self.create()
        for direction in ("read", "write"):
            end = await self.end(ref, direction)
            end.raw(frame(PING, b"p"))
            pong = await end.next_frame()
            self.assertEqual((pong.opcode, pong.payload), (PONG, b"p"))

    async def test_a_channel_outlives_its_maker(self) -> None:
        """01 §9: who created it does not matter."""
        ref = await self.create()
        await self.gone(self.maker)
        reader, writer = await self.end(ref, "read"), await self.end(ref, "write")
        writer.text("x")
        self.assertEqual((await reader.next_frame()).payload, b"x")

    async def test_a_close_without_code_ends_the_stream(self) -> None:
        """07 B4.18: writers close with none, or with ``channel_close``."""
        for code, reason in ((None, ""), (1000, "channel_close")):
            ref = await self.create()
            reader, writer = await self.end(ref, "read"), await self.end(ref, "write")
            writer.close_frame(code, reason)
            closed = await reader.next_frame()
            self.assertEqual((closed.opcode, closed.close_code), (CLOSE, 1000))

    async def test_fragments_are_one_frame(self) -> None:
        """01 §1.3: a fragmented message of a writer arrives whole."""
        ref = await self.create()
        reader, writer = await self.end(ref, "read"), await self.end(ref, "write")
        writer.raw(frame(BINARY, b"ab", final=False) + frame(0, b"cd"))
        got = await reader.next_frame()
        self.assertEqual((got.opcode, got.payload), (BINARY, b"abcd"))


def _temp(socket: RawSocket) -> int:
    return sum(len(part) for part in socket.transport._tempDataBuffer)
