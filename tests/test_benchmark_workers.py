"""The programs a benchmark measures with: frames, calls, subscribers, a filled store."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path
from unittest import TestCase

from websockets.speedups import apply_mask

from benchmarks import calls
from benchmarks.processes import ENGINE, REPOSITORY, fill_state
from benchmarks.raw import Answers, FrameCounter, pong, text_frame


class RawFrames(TestCase):
    """The raw worker cuts its answers out of the bytes."""

    INVOCATION = (
        b'{"type":"invokefunction","invocation_id":"5d7a","function_id":"f.x","data":{"a":[1,"}"]}}'
    )

    def test_data_at_the_end_is_echoed_as_it_is(self) -> None:
        self.assertEqual(
            Answers().answer(self.INVOCATION),
            b'{"type":"invocationresult","invocation_id":"5d7a","function_id":"f.x",'
            b'"result":{"a":[1,"}"]}}',
        )

    def test_data_elsewhere_is_found_too(self) -> None:
        message = json.loads(self.INVOCATION)
        other = json.dumps({"data": message.pop("data"), **message}).encode()
        self.assertEqual(
            json.loads(Answers().answer(other)), json.loads(Answers().answer(self.INVOCATION))
        )

    def test_a_constant_result_takes_the_place_of_the_data(self) -> None:
        answer = json.loads(Answers(b'{"ok":true}').answer(self.INVOCATION))
        self.assertEqual(answer["result"], {"ok": True})

    def test_frames_of_each_length_form_are_whole_masked_text_frames(self) -> None:
        for size, head_bytes in ((0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)):
            payload = b"x" * size
            frame = b"".join(text_frame(payload))
            length, mask = frame[1:head_bytes], frame[head_bytes : head_bytes + 4]
            self.assertEqual(frame[0], 0x81)
            self.assertTrue(length[0] & 0x80)
            told = int.from_bytes(length[1:], "big") if length[1:] else length[0] & 0x7F
            self.assertEqual(told, size)
            self.assertEqual(apply_mask(frame[head_bytes + 4 :], mask), payload)


class CountedFrames(TestCase):
    """A subscriber counts frames and looks into none."""

    FRAMES = (
        b"\x81\x02{}",
        b"\x81\x7e" + (300).to_bytes(2, "big") + b"x" * 300,
        b"\x89\x02hi",
        b"\x81\x7f" + (70_000).to_bytes(8, "big") + b"x" * 70_000,
    )

    def test_frames_of_each_length_form_are_counted_however_they_are_cut(self) -> None:
        data = b"".join(self.FRAMES)
        for size in (1, 2, 3, 7, 303, len(data)):
            counter, texts, pings = FrameCounter(), 0, []
            for at in range(0, len(data), size):
                counted = counter.feed(data[at : at + size])
                texts += counted.texts
                pings += counted.pings
            self.assertEqual((texts, pings), (3, [b"hi"]), size)

    def test_a_close_frame_is_an_error(self) -> None:
        with self.assertRaisesRegex(ValueError, "0x88"):
            FrameCounter().feed(b"\x88\x02\x03\xf0")

    def test_a_ping_is_answered_with_its_payload(self) -> None:
        frame = pong(b"hi")
        self.assertEqual((frame[0], frame[1]), (0x8A, 0x82))
        self.assertEqual(apply_mask(frame[6:], frame[2:6]), b"hi")


class Subscribers(TestCase):
    """The process with the sockets, and a server that says when it is right."""

    def setUp(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        port = str(server.getsockname()[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.subscriber", "--port", port, "--sockets", "2"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.process.communicate)
        self.addCleanup(self.process.kill)
        server.settimeout(30)
        self.sockets = [self.accept(server) for _ in range(2)]
        self.assertEqual(self.line(), {"event": "ready"})

    def accept(self, server: socket.socket) -> socket.socket:
        """Upgrade one; the sync comes together with the answer's end."""
        connection = server.accept()[0]
        self.addCleanup(connection.close)
        request = connection.recv(65536)
        self.assertIn(b"Upgrade: websocket", request)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.assertEqual(connection.recv(65536)[0], 0x81)
        connection.sendall(b"\x81\x02{}")
        return connection

    def line(self) -> dict[str, object]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def expect(self, frames: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(b'{"frames":%d}\n' % frames)
        self.process.stdin.flush()

    def last_words(self) -> bytes:
        assert self.process.stderr
        self.assertEqual(self.process.wait(30), 1)
        return self.process.stderr.read()

    def test_it_answers_when_the_last_frame_of_all_sockets_is_there(self) -> None:
        for frames in (3, 5):
            self.expect(2 * frames)
            for connection in self.sockets:
                connection.sendall(b"\x81\x02{}" * frames)
            self.assertEqual(list(self.line()), ["last_at"])

    def test_one_frame_too_many_ends_it(self) -> None:
        for connection in self.sockets:
            connection.sendall(b"\x81\x02{}" * 2)
        self.expect(3)
        self.assertIn(b"4 frames have come, not 3", self.last_words())

    def test_a_connection_that_the_engine_ends_ends_it(self) -> None:
        self.sockets[0].close()
        self.assertIn(b"the engine has closed the connection", self.last_words())


class Calls(TestCase):
    """What the caller sends."""

    def test_the_data_is_what_the_functions_of_the_engine_take(self) -> None:
        value, place = {"payload": "xx"}, {"scope": "bench", "key": "k0000001"}
        item = {"stream_name": "bench", "group_id": "all", "item_id": "k0000001"}
        expected = {
            "bench.echo": value,
            "state::get": place,
            "state::set": {**place, "value": value},
            "stream::set": {**item, "data": value},
        }
        made = {name: make(2) for name, make in calls.TARGETS.items()}
        self.assertEqual([target.function_id.decode() for target in made.values()], [*made])
        data = {name: json.loads(target.data(b"k0000001")) for name, target in made.items()}
        self.assertEqual(data, expected)

    def test_keys_are_taken_from_the_whole_range_and_have_one_length(self) -> None:
        taken = set(islice(calls.random_keys(10), 1000))
        self.assertEqual(taken, set(calls.all_keys(10)))
        self.assertEqual({len(key) for key in calls.all_keys(1000)}, {8})

    def test_a_call_without_a_key_always_has_the_same_data(self) -> None:
        self.assertEqual(set(islice(calls.random_keys(0), 10)), {b""})


class Filling(TestCase):
    """A store is filled without an engine, and an engine's store reads it."""

    def test_every_key_is_there(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        fill_state(ENGINE, directory, 1_234)
        (path,) = directory.rglob("*.sqlite")
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT first, key, value FROM entries").fetchall()
        self.assertEqual({key for _, key, _ in rows}, {k.decode() for k in calls.all_keys(1_234)})
        self.assertEqual({(first, len(value)) for first, _, value in rows}, {("bench", 64)})
