"""Bad input (issue 3): a clear error or close code, one log line, nobody else affected."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.support.engine_case import RawWorker
from tests.support.probes import probe
from tests.support.rawsocket import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame
from tests.wire.support import WireCase

MIB = 1024 * 1024
LONG_ID = "i" * MIB


@dataclass
class Ends:
    """Input that ends the connection.

    :param says: what the one log line says after the code
    """

    name: str
    data: bytes
    code: int
    says: str


@dataclass
class Ignored:
    """Input after which the connection goes on.

    :param says: what the one log line says; empty: no line
    :param answer: fields of the one message that comes back
    """

    name: str
    payload: str | bytes
    says: str = ""
    answer: dict[str, object] = field(default_factory=dict)


def claimed(first: int, length: int) -> bytes:
    """The head of a frame that claims ``length`` bytes."""
    return struct.pack("!BBQ", first, 0xFF, length) + b"mask" + b"some of it"


ENDS = (
    Ends("unmasked", frame(TEXT, b"{}", masked=False), 1002, "unmasked client-to-server frame"),
    Ends("reserved bit", bytes((0xC1,)) + frame(TEXT, b"{}")[1:], 1002, "RSV = 4"),
    Ends("reserved data opcode", frame(3, b"{}"), 1002, "data frame using reserved opcode 3"),
    Ends("reserved control opcode", frame(11, b""), 1002, "control frame using reserved opcode 11"),
    Ends("lone continuation", frame(CONTINUATION, b"{}"), 1002, "received continuation data frame"),
    Ends(
        "interrupted message",
        frame(TEXT, b"{", final=False) + frame(TEXT, b"}"),
        1002,
        "received non-continuation data frame while inside",
    ),
    Ends("fragmented ping", frame(PING, b"", final=False), 1002, "fragmented control frame"),
    Ends("long ping", frame(PING, b"p" * 126), 1002, "control frame with payload length > 125"),
    Ends(
        "length not minimal",
        struct.pack("!BBH", 0x81, 0xFE, 2) + b"mask{}",
        1002,
        "invalid data frame length",
    ),
    Ends("length over 2^63", claimed(0x81, 1 << 63), 1002, "invalid data frame length"),
    Ends("oversize text", claimed(0x81, 16 * MIB + 1), 1009, "received WebSocket frame size"),
    Ends("oversize binary", claimed(0x82, 1 << 40), 1009, "received WebSocket"),
    Ends(
        "message of 65 MiB",
        b"".join(
            frame(TEXT if number == 0 else CONTINUATION, b" " * (13 * MIB), final=False)
            for number in range(5)
        ),
        1009,
        "received WebSocket message size",
    ),
    Ends("bad UTF-8", frame(TEXT, b'{"a":"\xc3\x28"}'), 1007, "encountered invalid UTF-8"),
    Ends("cut UTF-8", frame(TEXT, b'"\xe2\x82'), 1007, "UTF-8 text message payload ended within"),
    Ends(
        "bad UTF-8 over fragments",
        frame(TEXT, b'"\xe2', final=False) + frame(CONTINUATION, b"\x28"),
        1007,
        "encountered invalid UTF-8",
    ),
    Ends("bad close code", frame(CLOSE, struct.pack("!H", 1006)), 1002, "invalid close code 1006"),
    Ends("close of one byte", frame(CLOSE, b"\x03"), 1002, "received close control frame"),
    Ends("bad close reason", frame(CLOSE, b"\x03\xe8\xff"), 1007, "invalid close reason"),
)

UNDECODABLE = "^worker .*: ignored a message that can't be decoded: "
REFUSED = "^worker .*: refused "

IGNORED = (
    Ignored("empty", ""),
    Ignored("white space", " \r\n\t "),
    Ignored("no JSON", "not json", UNDECODABLE),
    Ignored("half an object", '{"type":"ping"', UNDECODABLE),
    Ignored("two values", '{"type":"ping"}{"type":"ping"}', UNDECODABLE),
    Ignored("a list", "[]", UNDECODABLE),
    Ignored("no type", "{}", UNDECODABLE),
    Ignored("a number as type", '{"type":7}', UNDECODABLE),
    Ignored("unknown type", '{"type":"nosuch","id":"x"}', UNDECODABLE + ".*nosuch"),
    Ignored("missing field", '{"type":"registerfunction"}', UNDECODABLE + ".*`id`"),
    Ignored("wrong type", '{"type":"registerfunction","id":5}', UNDECODABLE + ".*Expected `str`"),
    Ignored("deep nesting", "[" * 100_000, UNDECODABLE),
    Ignored("binary noise", bytes(range(256)), UNDECODABLE),
    Ignored("telemetry that is none", b"OTLP\xff\xff"),
    Ignored(
        "call without function",
        '{"type":"invokefunction","invocation_id":"i1","data":{}}',
        UNDECODABLE,
        {"invocation_id": "i1"},
    ),
    Ignored(
        "call with broken data",
        '{"type":"invokefunction","invocation_id":"i2","function_id":"ok","data":{]}',
        UNDECODABLE,
        {"invocation_id": "i2", "function_id": "ok"},
    ),
    Ignored("foreign result", '{"type":"invocationresult","invocation_id":"nobody","result":1}'),
    Ignored("result without id", '{"type":"invocationresult","result":1}'),
    Ignored(
        "function id of 1 MB",
        '{"type":"registerfunction","id":"ID"}'.replace("ID", LONG_ID),
        REFUSED + "registerfunction i{80}…: an id may have 1024 bytes, this one has 1048576$",
    ),
    Ignored(
        "trigger id of 1 MB",
        '{"type":"registertrigger","id":"ID","trigger_type":"t","function_id":"ok"}'.replace(
            "ID", LONG_ID
        ),
        REFUSED + "registertrigger i{80}…: an id may have 1024 bytes",
        {"type": "triggerregistrationresult", "id": LONG_ID},
    ),
    Ignored(
        "trigger type of 1 MB",
        '{"type":"registertriggertype","id":"ID"}'.replace("ID", LONG_ID),
        REFUSED + "registertriggertype i{80}…: an id may have 1024 bytes",
    ),
    Ignored(
        "call of an id of 1 MB",
        '{"type":"invokefunction","invocation_id":"i3","function_id":"ID"}'.replace("ID", LONG_ID),
        "",
        {"invocation_id": "i3"},
    ),
    Ignored(
        "invocation id of 1 MB",
        '{"type":"invokefunction","invocation_id":"ID","function_id":"none"}'.replace(
            "ID", LONG_ID
        ),
        "",
        {"invocation_id": LONG_ID},
    ),
    Ignored(
        "void call of an id of 1 MB",
        '{"type":"invokefunction","function_id":"ID"}'.replace("ID", LONG_ID),
        "^worker .*: refused a call: function_id may have 1024 bytes$",
    ),
    Ignored("type of 1 MB", '{"type":"ID"}'.replace("ID", LONG_ID), UNDECODABLE),
    Ignored(
        "action of 1 MB",
        '{"type":"invokefunction","function_id":"ok","action":{"type":"ID"}}'.replace(
            "ID", LONG_ID
        ),
        "^worker .*: invokefunction ok has an unknown action",
    ),
    Ignored("unregister of foreign things", '{"type":"unregisterfunction","id":"ok"}'),
    Ignored("wrong reattach", '{"type":"reattach","previous_worker_id":5,"reattach_token":[]}'),
)


class BadInput(WireCase):
    """One bad worker, one good one with calls all the time."""

    async def setUp(self) -> None:
        await super().setUp()
        self.good, self.caller = await self.worker("ok"), await self.worker()

    async def assert_others_are_served(self) -> None:
        """A call between the good ones, begun before the bad input's effect can be over."""
        invocation = self.caller.invoke("ok", {"n": 1})
        await self.good.answer("ok", result=[1])
        self.assertEqual((await self.caller.result_of(invocation))["result"], [1])

    @probe("01.4")
    async def test_what_is_ignored(self) -> None:
        """01.4: the connection stays, an awaited call is answered, one line at most."""
        bad = await self.worker()
        for row in IGNORED:
            with self.subTest(row.name):
                before = len(self.problems())
                if isinstance(row.payload, str):
                    bad.socket.text(row.payload)
                else:
                    bad.socket.binary(row.payload)
                await bad.settled()
                lines = self.problems()[before:]
                self.assertEqual(len(lines), 1 if row.says else 0, lines)
                if row.says:
                    self.assertRegex(lines[0], row.says)
                    self.assertLess(len(lines[0]), 400)
                self.assertEqual(len(bad.inbox), 1 if row.answer else 0)
                if row.answer:
                    answer = bad.inbox.pop()
                    self.assertEqual({key: answer[key] for key in row.answer}, row.answer)
                    self.assertTrue(answer["error"]["code"] and answer["error"]["message"])
        await self.assert_others_are_served()
        self.assertFalse(bad.socket.lost)

    @probe("01.47")
    async def test_what_ends_the_connection(self) -> None:
        """01.47, 01 §1.3: the close code and one line with the reason; others go on."""
        for row in ENDS:
            with self.subTest(row.name):
                before = len(self.problems())
                bad = await self.worker("bad")
                bad.socket.raw(row.data)
                await self.assert_others_are_served()
                closed = await self.close_of(bad)
                self.assertEqual(closed, row.code)
                await self.eventually(lambda bad=bad: self.is_gone(bad))
                bad.socket.drop()
                await bad.socket.ended()
                lines = self.problems()[before:]
                self.assertEqual(len(lines), 1, lines)
                self.assertRegex(lines[0], rf"^worker .*: closed with {row.code}: {row.says}")
        error = await self.caller.error_of("bad")
        self.assertEqual(error["code"], "function_not_found")

    async def close_of(self, worker: RawWorker) -> int | None:
        """The code of the close frame it gets."""
        closed = await worker.socket.next_frame(5)
        self.assertEqual(closed.opcode, CLOSE)
        return closed.close_code

    async def test_fragments_in_tiny_pieces(self) -> None:
        """A registration in frames of one byte, with pings between them, is a registration."""
        worker = await self.worker()
        text = b'{"type":"registerfunction","id":"piecemeal"}'
        for index in range(len(text)):
            kind = TEXT if index == 0 else CONTINUATION
            worker.socket.raw(
                frame(kind, text[index : index + 1], final=index == len(text) - 1)
                + frame(PING, b"%d" % index)
            )
        await worker.settled()
        pongs = [got.payload for got in worker.socket.frames]
        self.assertEqual(pongs, [b"%d" % index for index in range(len(text))])
        self.assertIsNotNone(self.engine.functions.get("piecemeal"))

    async def test_a_frame_that_never_ends(self) -> None:
        """A cut in the middle of a frame: cleaned up, nothing delivered, no line."""
        for opcode in (TEXT, BINARY):
            worker = await self.worker("cut")
            worker.socket.raw(frame(opcode, b'{"type":"registerfunction","id":"never"}')[:-3])
            await self.assert_others_are_served()
            await self.gone(worker)
        self.assertIsNone(self.engine.functions.get("cut"))
        self.assertIsNone(self.engine.functions.get("never"))
        self.assertEqual(self.problems(), [])

    @probe("01.21")
    async def test_a_result_for_a_foreign_call_is_ignored(self) -> None:
        """01.21: only the executor may answer."""
        bad = await self.worker()
        invocation = self.caller.invoke("ok")
        call = await self.good.invoked("ok")
        bad.reply(call, result="forged")
        await bad.settled()
        self.good.reply(call, result="real")
        self.assertEqual((await self.caller.result_of(invocation))["result"], "real")
