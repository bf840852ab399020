"""``fuzz/echo_server.py`` as a process, with the Autobahn|Testsuite's cases in miniature.

Case numbers are the suite's.  Every case is bytes in and frames out; a close code at
the end means that the server closes and then ends the connection.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.support.rawsocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    RawSocket,
    dial,
    frame,
    open_socket,
    upgrade,
)

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "fuzz" / "echo_server.py"
MIB = 1024 * 1024

GREEK = "Hello-µ@ßöäüàá-UTF-8!!".encode()
KOSME = "κόσμε".encode()
BYE = struct.pack("!H", 1000)


def ended(code: int) -> Frame:
    """A close frame with ``code``, whatever its reason."""
    return Frame(CLOSE, struct.pack("!H", code))


@dataclass
class Case:
    """What goes in and what must come back.

    :param chop: cut the input into pieces of this size
    """

    number: str
    data: bytes
    back: list[Frame]
    chop: int = 0


def echo(number: str, opcode: int, payload: bytes, chop: int = 0) -> Case:
    """One message there and back."""
    return Case(number, frame(opcode, payload), [Frame(opcode, payload)], chop)


def fragments(opcode: int, *parts: bytes, between: bytes = b"") -> bytes:
    """One message in frames, with ``between`` after each but the last."""
    out = b""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        out += frame(opcode if index == 0 else CONTINUATION, part, final=last)
        out += b"" if last else between
    return out


def closing(number: str, payload: bytes, code: int | None = None) -> Case:
    """A close frame and its answer; without ``code`` it is echoed."""
    answer = Frame(CLOSE, payload) if code is None else ended(code)
    return Case(number, frame(CLOSE, payload), [answer])


def cases() -> Iterator[Case]:
    """Sections 1 to 7 of the suite."""
    for section, opcode, byte in (("1.1", TEXT, b"*"), ("1.2", BINARY, b"\xfe")):
        for index, size in enumerate((0, 125, 126, 127, 128, 65_535, 65_536), 1):
            yield echo(f"{section}.{index}", opcode, byte * size)
        yield echo(f"{section}.8", opcode, byte * 65_536, chop=997)

    yield Case("2.1", frame(PING, b""), [Frame(PONG, b"")])
    yield Case("2.2", frame(PING, b"Hello, world!"), [Frame(PONG, b"Hello, world!")])
    yield Case(
        "2.3",
        frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        [Frame(PONG, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")],
    )
    yield Case("2.4", frame(PING, b"\xfe" * 125), [Frame(PONG, b"\xfe" * 125)])
    yield Case("2.5", frame(PING, b"\xfe" * 126), [ended(1002)])
    yield Case("2.6", frame(PING, b"\xfe" * 125), [Frame(PONG, b"\xfe" * 125)], chop=1)
    yield Case("2.7", frame(PONG, b"") + frame(CLOSE, BYE), [Frame(CLOSE, BYE)])
    yield Case("2.8", frame(PONG, b"unsolicited") + frame(CLOSE, BYE), [Frame(CLOSE, BYE)])
    pings = [b"payload-%d" % number for number in range(10)]
    for number, chop in (("2.10", 0), ("2.11", 1)):
        data = b"".join(frame(PING, ping) for ping in pings)
        yield Case(number, data, [Frame(PONG, ping) for ping in pings], chop)

    rsv = {"3.1": 0x10, "3.2": 0x20, "3.3": 0x30, "3.4": 0x40, "3.5": 0x50, "3.7": 0x70}
    for number, bits in rsv.items():
        opcode = BINARY if number == "3.5" else TEXT
        bad = bytes((0x80 | bits | opcode,)) + frame(opcode, b"small")[1:]
        before = frame(TEXT, b"first") if number in ("3.2", "3.3", "3.4") else b""
        back = [Frame(TEXT, b"first")] if before else []
        yield Case(number, before + bad, [*back, ended(1002)], 1 if number == "3.4" else 0)
    yield Case("3.6", bytes((0xE0 | PING,)) + frame(PING, b"x")[1:], [ended(1002)])

    for index, opcode in enumerate((3, 4, 5, 6, 7), 1):
        yield Case(f"4.1.{index}", frame(opcode, b"data"), [ended(1002)])
    for index, opcode in enumerate((11, 12, 13, 14, 15), 1):
        yield Case(f"4.2.{index}", frame(opcode, b""), [ended(1002)])

    yield Case("5.1", fragments(PING, b"frag", b"ment"), [ended(1002)])
    yield Case("5.2", fragments(PONG, b"frag", b"ment"), [ended(1002)])
    whole = [Frame(TEXT, b"fragment1fragment2")]
    for number, chop in (("5.3", 0), ("5.4", 3), ("5.5", 1)):
        yield Case(number, fragments(TEXT, b"fragment1", b"fragment2"), whole, chop)
    for number, chop in (("5.6", 0), ("5.7", 3), ("5.8", 1)):
        data = fragments(TEXT, b"fragment1", b"fragment2", between=frame(PING, b"ping"))
        yield Case(number, data, [Frame(PONG, b"ping"), *whole], chop)
    for number, final in (("5.9", True), ("5.12", False)):
        data = frame(CONTINUATION, b"non-continuation payload", final=final)
        yield Case(number, data + frame(TEXT, b"Hello, world!"), [ended(1002)])
    yield Case(
        "5.15",
        fragments(TEXT, b"fragment1", b"fragment2")
        + frame(CONTINUATION, b"fragment3", final=False)
        + frame(TEXT, b"fragment4"),
        [*whole, ended(1002)],
    )
    yield Case(
        "5.18", frame(TEXT, b"fragment1", final=False) + frame(TEXT, b"fragment2"), [ended(1002)]
    )
    five = fragments(TEXT, b"a", b"b", b"c", b"d", b"e", between=frame(PING, b"p"))
    yield Case("5.19", five, [*[Frame(PONG, b"p")] * 4, Frame(TEXT, b"abcde")])
    yield Case("5.20", five, [*[Frame(PONG, b"p")] * 4, Frame(TEXT, b"abcde")], chop=1)

    yield echo("6.1.1", TEXT, b"")
    yield Case("6.1.2", fragments(TEXT, b"", b"", b""), [Frame(TEXT, b"")])
    yield Case(
        "6.1.3",
        fragments(TEXT, b"", b"middle frame payload", b""),
        [Frame(TEXT, b"middle frame payload")],
    )
    yield echo("6.2.1", TEXT, GREEK)
    yield Case("6.2.2", fragments(TEXT, GREEK[:9], GREEK[9:]), [Frame(TEXT, GREEK)])
    single = fragments(TEXT, *[KOSME[at : at + 1] for at in range(len(KOSME))])
    yield Case("6.2.4", single, [Frame(TEXT, KOSME)])
    yield Case("6.3.1", frame(TEXT, KOSME + b"\xed\xa0\x80edited"), [ended(1007)])
    yield Case("6.3.2", frame(TEXT, KOSME + b"\xed\xa0\x80edited"), [ended(1007)], chop=1)
    yield Case(
        "6.4.1",
        frame(TEXT, KOSME, final=False) + frame(CONTINUATION, b"\xf4\x90", final=False),
        [ended(1007)],
    )
    # Fail fast: the rest of the frame never comes.
    yield Case("6.4.3", frame(TEXT, KOSME + b"\xf4\x90" + b"never sent")[: 6 + 13], [ended(1007)])
    yield Case("6.4.4", frame(TEXT, KOSME + b"\xed\xa0" + b"never")[: 6 + 13], [ended(1007)], 1)
    good = (
        "퟿",
        "",
        "�",
        "􏿿",
        "\x00",
        "\x7f",
        "\x80",
        "߿",
        "ࠀ",
        "\uffff",
        "\U00010000",
        "﷐",
    )
    for index, text in enumerate(good):
        yield echo(f"6.5-6.9 good {index}", TEXT, text.encode())
    bad = (
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf\x80",
        b"\xc0 ",
        b"\xe0 ",
        b"\xf0 ",
        b"\xc3",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
    )
    for index, payload in enumerate(bad):
        yield Case(f"6.10-6.21 bad {index}", frame(TEXT, payload), [ended(1007)])

    yield Case(
        "7.1.1",
        frame(TEXT, b"Hello") + frame(CLOSE, BYE),
        [Frame(TEXT, b"Hello"), Frame(CLOSE, BYE)],
    )
    yield Case("7.1.2", frame(CLOSE, BYE) * 2, [Frame(CLOSE, BYE)])
    yield Case("7.1.3", frame(CLOSE, BYE) + frame(PING, b""), [Frame(CLOSE, BYE)])
    yield Case("7.1.4", frame(CLOSE, BYE) + frame(TEXT, b"late"), [Frame(CLOSE, BYE)])
    yield Case(
        "7.1.5",
        frame(TEXT, b"f1", final=False) + frame(CLOSE, BYE) + frame(CONTINUATION, b"f2"),
        [Frame(CLOSE, BYE)],
    )
    yield closing("7.3.1", b"")
    yield closing("7.3.2", b"\x03", 1002)
    yield closing("7.3.3", BYE)
    yield closing("7.3.4", BYE + b"Hello World!")
    yield closing("7.3.5", BYE + b"*" * 123)
    yield closing("7.3.6", BYE + b"*" * 124, 1002)
    yield closing("7.5.1", BYE + KOSME + b"\xed\xa0\x80edited", 1007)
    for code in (1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield closing(f"7.7 {code}", struct.pack("!H", code))
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield closing(f"7.9, 7.13 {code}", struct.pack("!H", code), 1002)


class _Server(ProcessProtocol):
    """The process; ``ready`` fires with its first line, ``over`` with its exit."""

    def __init__(self) -> None:
        self.ready: Deferred[str] = Deferred()
        self.over: Deferred[int | None] = Deferred()
        self._text = ""
        self.errors = ""

    def outReceived(self, data: bytes) -> None:
        """ProcessProtocol: stdout."""
        self._text += data.decode()
        if "\n" in self._text and not self.ready.called:
            self.ready.callback(self._text.partition("\n")[0])

    def errReceived(self, data: bytes) -> None:
        """ProcessProtocol: stderr."""
        self.errors += data.decode()

    def processEnded(self, reason: Failure) -> None:
        """ProcessProtocol: it is gone."""
        why: Any = reason.value
        assert isinstance(why, ProcessDone | ProcessTerminated)
        if not self.ready.called:
            self.ready.errback(RuntimeError(f"the server ended: {self.errors}"))
        self.over.callback(why.exitCode)


class EchoServer(TestCase):
    """Issue 3: the echo server can be pointed at by a conformance suite."""

    timeout = 40

    async def start(self, *arguments: str) -> _Server:
        """Run the script."""
        server = _Server()
        command = [sys.executable, str(SERVER), *arguments]
        process: Any = reactor.spawnProcess(  # type: ignore[attr-defined]
            server, sys.executable, command, env={"PYTHONPATH": str(ROOT)}
        )

        async def stop() -> None:
            if not server.over.called:
                process.signalProcess("TERM")
                await server.over

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return server

    async def start_on_free_port(self) -> int:
        """Run it and read the port it prints."""
        line = await (await self.start("0")).ready
        self.assertRegex(line, r"^listening on ws://127\.0\.0\.1:\d+$")
        return int(line.rpartition(":")[2])

    async def run_case(self, port: int, case: Case) -> list[Frame]:
        """Send the bytes of a case; what came back."""
        socket = await open_socket(port)
        step = case.chop or len(case.data)
        for at in range(0, len(case.data), step):
            if socket.lost:
                break
            socket.raw(case.data[at : at + step])
            if case.chop:
                # A segment of its own, or the pieces would be glued together again.
                await self.pause(0.0003)
        closes = any(frame.opcode == CLOSE for frame in case.back)
        await socket.until(lambda: len(socket.frames) >= len(case.back), case.number, 5)
        if closes:
            await self.finish(socket)
        else:
            socket.raw(frame(PING, b"still there"))
            await socket.until(lambda: len(socket.frames) > len(case.back), "pong", 5)
            self.assertEqual(socket.frames.pop(), Frame(PONG, b"still there"))
            socket.drop()
            await socket.ended()
        return socket.frames

    async def finish(self, socket: RawSocket) -> None:
        """Answer a close; the server ends TCP."""
        if not socket.lost:
            socket.close_frame(1000)
        await socket.ended(5)

    async def pause(self, seconds: float) -> None:
        """Let the reactor run."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(seconds, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    async def test_conformance_cases(self) -> None:
        """Sections 1 to 7: messages, pings, bits, opcodes, fragments, UTF-8, closes."""
        port = await self.start_on_free_port()
        count = 0
        for case in cases():
            count += 1
            with self.subTest(case.number):
                got = await self.run_case(port, case)
                for frame in (*got, *case.back):
                    if frame.opcode == CLOSE and frame.close_code in (1002, 1007):
                        frame.payload = frame.payload[:2]
                self.assertEqual(got, case.back, case.number)
        self.assertGreater(count, 120)

    async def test_messages_of_16_mib(self) -> None:
        """9.1.6, 9.2.6, 9.3.9: whole and in fragments; one byte over the room is 1009."""
        port = await self.start_on_free_port()
        payload = b"\xc3\xa9" * (8 * MIB)
        for opcode in (TEXT, BINARY):
            for size in (16 * MIB, 4 * MIB):
                parts = [payload[at : at + size] for at in range(0, len(payload), size)]
                socket = await open_socket(port)
                socket.raw(fragments(opcode, *parts))
                await socket.until(lambda socket=socket: bool(socket.frames), "echo", 20)  # type: ignore[misc]
                self.assertEqual(socket.frames, [Frame(opcode, payload)])
                socket.drop()
                await socket.ended()
        socket = await open_socket(port)
        socket.raw(struct.pack("!BBQ", 0x82, 0xFF, 16 * MIB + 4097) + MASK)
        self.assertEqual((await socket.next_frame()).close_code, 1009)
        await self.finish(socket)

    async def test_compression_is_not_taken_up(self) -> None:
        """12, 13: permessage-deflate is offered and not accepted."""
        port = await self.start_on_free_port()
        socket = await dial(port)
        offer = "permessage-deflate; client_max_window_bits"
        socket.raw(upgrade("/", port, sec_websocket_extensions=offer) + frame(TEXT, b"plain"))
        self.assertEqual(await socket.next_frame(), Frame(TEXT, b"plain"))
        self.assertNotIn("sec-websocket-extensions", socket.head.lower())
        socket.drop()
        await socket.ended()

    async def test_a_wrong_command_line_is_refused(self) -> None:
        """Exit code 2 and a usage line."""
        server = await self.start("port")
        server.ready.addErrback(lambda failure: None)
        self.assertEqual(await server.over, 2)
        self.assertIn("usage: python fuzz/echo_server.py PORT", server.errors)
