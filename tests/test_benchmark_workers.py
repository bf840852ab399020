"""The programs a benchmark measures with: frames, calls, subscribers, a filled store."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from unittest import TestCase, mock

from websockets.speedups import apply_mask

from benchmarks import calls, messages, schedules
from benchmarks.disk import fdatasyncs_per_s
from benchmarks.processes import ENGINE, REPOSITORY, fill_queue, fill_state
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
            "bridged.echo": value,
            "state::get": place,
            "state::set": {**place, "value": value},
            "stream::set": {**item, "data": value},
            "enqueue": value,
        }
        made = {name: make(2) for name, make in calls.TARGETS.items()}
        parked = made["enqueue"]
        self.assertEqual((parked.function_id, parked.queue), (b"bench.consume", "parked"))
        functions = [target.function_id.decode() for target in made.values() if not target.queue]
        self.assertEqual(functions, [name for name in made if name != "enqueue"])
        data = {name: json.loads(target.data(b"k0000001")) for name, target in made.items()}
        self.assertEqual(data, expected)

    def test_a_message_has_its_group_and_its_number(self) -> None:
        expected = {"group": "g7", "n": "00000107", "payload": "x" * 16}
        self.assertEqual(json.loads(calls.message(107)), expected)

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

    def test_every_message_is_there(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        fill_queue(ENGINE, directory, 1_234)
        (path,) = directory.rglob("*.sqlite")
        query = "SELECT messages.data, function_id, name FROM messages, lanes WHERE lane = number"
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(f"{query} ORDER BY seq").fetchall()
        self.assertEqual([data for data, _, _ in rows], [*map(calls.message, range(1_234))])
        (where,) = {row[1:] for row in rows}
        self.assertEqual(
            (where[0], json.loads(where[1])[:2]), ("bench.consume", ["named", "plain"])
        )


class Disk(TestCase):
    """The yardstick of what is on the disk."""

    def test_the_probe_counts_writes_and_leaves_nothing(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.assertGreater(fdatasyncs_per_s(directory, 0.01), 0)
        self.assertEqual([*directory.iterdir()], [])


class Failed(Exception):
    """Instead of the end of the process."""


class Messages(TestCase):
    """What has to be true of the messages that come."""

    def setUp(self) -> None:
        patch = mock.patch.object(messages, "fail", side_effect=Failed)
        self.fail_mock = patch.start()
        self.addCleanup(patch.stop)

    def test_one_that_comes_twice_ends_it(self) -> None:
        check = messages.Once()
        self.assertEqual([check.handle(number) for number in (3, 1, 2)], [True] * 3)
        with self.assertRaises(Failed):
            check.handle(1)

    def test_one_before_its_turn_ends_it(self) -> None:
        check = messages.InOrder()
        self.assertEqual([check.handle(number) for number in (1, 0, 100, 101)], [True] * 4)
        with self.assertRaises(Failed):
            check.handle(300)
        self.assertIn("300 of group 0", self.fail_mock.call_args.args[0])

    def test_one_that_failed_must_come_again_before_the_next_of_its_group(self) -> None:
        check = messages.InOrder(fails_every=100)
        self.assertEqual([check.handle(number) for number in (0, 1, 0)], [False, True, True])
        self.assertIs(check.handle(100), False)
        with self.assertRaises(Failed):
            check.handle(200)


class Belts(TestCase):
    """What the producer and the consumer do, without an engine."""

    def belt(self) -> messages.Belt:
        self.sent: list[bytes] = []
        return messages.Belt(self.sent.append, lambda: None)

    def test_64_are_in_flight_while_fewer_than_1000_are_unhandled(self) -> None:
        async def drive() -> list[int]:
            belt = self.belt()
            belt.begin("plain")
            sending = asyncio.ensure_future(belt.send(belt.all_done, seconds=60))
            await asyncio.sleep(0)
            sent = [belt.sent]
            for receipts, handled in ((10, 0), (940, 0), (1000, 0), (1000, 5)):
                belt.receipts, belt.handled = receipts, handled
                belt.turn()
                sent.append(belt.sent)
            sending.cancel()
            return sent

        self.assertEqual(asyncio.run(drive()), [64, 74, 1000, 1000, 1005])

    def test_it_is_over_when_all_are_acknowledged_and_handled(self) -> None:
        async def drive() -> list[bool]:
            belt = self.belt()
            belt.begin("plain")
            sending = asyncio.ensure_future(belt.send(belt.all_done, count=2))
            over = []
            for receipts, handled in ((0, 0), (2, 1), (2, 2)):
                belt.receipts, belt.handled = receipts, handled
                await asyncio.sleep(0)
                belt.turn()
                for _ in range(3):
                    await asyncio.sleep(0)
                over.append(sending.done())
            return over

        self.assertEqual(asyncio.run(drive()), [False, False, True])

    def test_a_message_that_fails_is_answered_with_an_error_once(self) -> None:
        async def drive() -> list[bytes | None]:
            belt = self.belt()
            belt.begin("failing")
            message = (
                b'{"type":"invokefunction","invocation_id":"5d7a",'
                b'"function_id":"bench.consume","data":%b}' % calls.message(0)
            )
            return [belt.answer(message), belt.answer(message), belt.answer(b"{}")]

        first, second, other = asyncio.run(drive())
        failed, handled = json.loads(first or b""), json.loads(second or b"")
        self.assertEqual((failed["error"]["code"], failed["invocation_id"]), ("once", "5d7a"))
        self.assertEqual((handled["result"], "error" in handled, other), (None, False, None))

    def test_the_frames_are_calls_that_enqueue(self) -> None:
        async def drive() -> None:
            belt = self.belt()
            for way in messages.WAYS:
                belt.begin(way)
                sending = asyncio.ensure_future(belt.send(belt.all_done, count=1))
                await asyncio.sleep(0)
                sending.cancel()

        asyncio.run(drive())
        topic, plain, fifo, failing = (json.loads(message) for message in self.sent)
        data = json.loads(calls.message(0))
        self.assertEqual(topic["function_id"], "enqueue")
        self.assertEqual(topic["data"], {"topic": "bench", "data": data})
        for frame, queue in ((plain, "plain"), (fifo, "ordered"), (failing, "ordered")):
            self.assertEqual(frame["action"], {"type": "enqueue", "queue": queue})
            self.assertEqual((frame["function_id"], frame["data"]), ("bench.consume", data))


class Timekeeping(TestCase):
    """The schedules of the cron suite."""

    AT = datetime(2026, 3, 4, 10, 5, 7, tzinfo=UTC)

    def test_the_last_ones_fire_in_one_second_and_no_two_others_are_alike(self) -> None:
        made = [*schedules.expressions(10_000, 1_000, self.AT)]
        self.assertEqual(made[9_000:], ["7 5 10 4 3 *"] * 1_000)
        self.assertEqual(len({*made[:9_000]}), 9_000)

    def test_the_others_are_months_away(self) -> None:
        months = {text.split()[4] for text in schedules.expressions(10_000, 1_000, self.AT)}
        self.assertEqual(months, {"3", "9"})

    def test_a_run_that_is_missing_or_comes_twice_or_is_another_ones_ends_it(self) -> None:
        good = [(job, self.AT) for job in ("a", "b")]
        other = self.AT.replace(second=8)
        for runs in (good[:1], [*good, good[0]], [good[0], good[0]], [good[0], ("b", other)]):
            with self.subTest(runs), self.assertRaisesRegex(RuntimeError, "have come"):
                self.lateness(runs)
        self.assertEqual(self.lateness(good), [0.25, 0.25])

    def lateness(self, runs: list[tuple[str, datetime]]) -> list[float]:
        frame = '{"job_id":"%s","scheduled_time":"%s"}'
        came_at = self.AT.timestamp() + 0.25
        came = [(came_at, (frame % (job, at.isoformat())).encode()) for job, at in runs]
        return schedules.lateness(came, 2, self.AT)
