"""`iii state` and `iii streams`: the commands as processes, the engine in here."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from iii.cli.transfer import complete_file
from iii.engine.module import ModuleApi
from iii.modules.state import StateConfig
from iii.modules.stream.config import StreamConfig
from iii.modules.stream.module import StreamModule
from iii.storage.memory import MemoryStore
from tests.state.cases import Opens, StateCase
from tests.support.commands import Command, Commands


class CommandCase(StateCase, Commands):
    """Runs commands against the engine of the case."""

    timeout = 60

    async def setUp(self) -> None:
        await super().setUp()
        holder = tempfile.TemporaryDirectory(prefix="iii-test-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)


class State(CommandCase):
    """08 §7: `iii state list|get|set|delete`."""

    async def test_set_get_delete(self) -> None:
        """Values are JSON on the command line and in the output."""
        done = await self.done("state", "set", "s", "k", '{"a": [1, 2.50]}')
        self.assertEqual(json.loads(done.out), {"old_value": None, "new_value": {"a": [1, 2.5]}})
        kept = self.store.get(("s", ""), "k")
        assert isinstance(kept, Raw)
        self.assertEqual(bytes(kept), b'{"a": [1, 2.50]}')
        self.assertEqual(
            json.loads((await self.done("state", "get", "s", "k")).out), {"a": [1, 2.5]}
        )
        done = await self.done("state", "delete", "s", "k")
        self.assertEqual(json.loads(done.out), {"a": [1, 2.5]})
        self.assertEqual((await self.done("state", "delete", "s", "k")).out, b"")

    async def test_a_missing_value_is_an_error_and_null_is_none(self) -> None:
        """The exit code tells them apart."""
        await self.set("null", None)
        self.assertEqual((await self.done("state", "get", "s", "null")).out, b"null\n")
        done = await self.iii("state", "get", "s", "k")
        self.assertEqual((done.code, done.out), (1, b""))
        self.assertEqual(done.errors, ["Error: no value under 'k' in scope 's'"])

    async def test_a_value_that_is_no_json_is_told_before_connecting(self) -> None:
        """Nothing is kept."""
        done = await self.iii("state", "set", "s", "k", "{oops")
        self.assertEqual(done.code, 1)
        self.assertTrue(done.errors[0].startswith("Error: Invalid JSON value: "), done.err)
        self.assertIsNone(self.store.get(("s", ""), "k"))

    async def test_lists_are_tables_or_json(self) -> None:
        """Scopes, then keys and values."""
        self.assertEqual((await self.done("state", "list")).lines, ["no scopes"])
        await self.set("b", {"n": 1})
        await self.set("a", None)
        await self.set("k", "x", "[red]")
        text = (await self.done("state", "list")).out.decode()
        self.assertIn("[red]", text)
        done = await self.done("state", "list", "--json")
        self.assertEqual(json.loads(done.out), {"scopes": [{"scope": "[red]"}, {"scope": "s"}]})
        text = (await self.done("state", "list", "s")).out.decode()
        self.assertIn('{"n":1}', text)
        done = await self.done("state", "list", "s", "--json")
        rows = [{"key": "b", "value": {"n": 1}}, {"key": "a", "value": None}]
        self.assertEqual(json.loads(done.out), {"entries": rows})
        done = await self.done("state", "list", "s", "--json", "--limit", "1")
        self.assertEqual(json.loads(done.out), {"entries": rows[:1]})
        self.assertEqual(done.errors, ["… and 1 more (--limit)"])

    async def test_watch_prints_a_line_for_each_change(self) -> None:
        """08 §7: `--watch`."""
        command = self.begin("state", "list", "s", "--watch", "--json")
        await self.eventually(lambda: len(command.lines) == 1)
        await self.set("k", 1)
        await self.eventually(lambda: len(command.lines) == 2)
        self.assertEqual(json.loads(command.lines[1]), {"entries": [{"key": "k", "value": 1}]})
        command.process.signalProcess("INT")
        await command.ended
        self.assertEqual(command.code, 130)


class Refused(CommandCase):
    """What the engine says is passed on."""

    settings = StateConfig(max_value_bytes=3)

    async def test_a_refused_value_is_told(self) -> None:
        """Exit code 1 and the message."""
        done = await self.iii("state", "set", "s", "k", "12345")
        told = "Error: value of 5 bytes exceeds the configured max_value_bytes limit of 3"
        self.assertEqual((done.code, done.out, done.errors), (1, b"", [told]))

    async def test_only_the_first_refused_lines_are_told(self) -> None:
        """The rest is counted."""
        path = self.directory / "in.jsonl"
        path.write_bytes(b'{"scope":"s","key":"k","value":12345}\n' * 150)
        done = await self.iii("state", "import", str(path))
        self.assertEqual(done.lines, ["imported 0 value(s), 150 line(s) left out"])
        self.assertEqual(len(done.errors), 101)
        self.assertEqual(done.errors[-1], "Error: more lines are left out; they are only counted")


class Transfer(CommandCase):
    """`iii state export|import`."""

    async def fill(self, *lines: tuple[str, str, Any]) -> None:
        for scope, key, value in lines:
            await self.store.set((scope, ""), key, Raw(msgspec.json.encode(value)))

    async def test_what_is_exported_can_be_imported(self) -> None:
        """More than a page, in the order of the keys, and the file is complete at once."""
        rows = [("s", f"k{n}", {"n": n}) for n in range(2_500)]
        rows += [
            ("", "", None),
            ("ü/\n", "k", "x" * 1_500_000),
            ("ü/\n", "l", 12345678901234567890123),
        ]
        await self.fill(*rows)
        path = self.directory / "out.jsonl"
        done = await self.done("state", "export", str(path))
        self.assertEqual((done.out, done.errors), (b"", ["exported 2503 value(s)"]))
        written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([set(line) for line in written[:1]], [{"scope", "key", "value"}])
        got = [(line["scope"], line["key"], line["value"]) for line in written]
        self.assertEqual(got, [rows[2500], *rows[:2500], *rows[2501:]])
        self.assertEqual([p.name for p in self.directory.iterdir()], ["out.jsonl"])
        for scope, key, _ in rows:
            await self.store.delete((scope, ""), key)
        done = await self.done("state", "import", str(path))
        self.assertEqual(done.lines, ["imported 2503 value(s), 0 line(s) left out"])
        again = await self.done("state", "export")
        self.assertEqual(again.out, path.read_bytes())

    async def test_one_scope_alone(self) -> None:
        """`--scope`; an unknown one is empty."""
        await self.fill(("a", "k", 1), ("b", "k", 2))
        done = await self.done("state", "export", "--scope", "b")
        self.assertEqual(done.lines, ['{"scope":"b","key":"k","value":2}'])
        self.assertEqual((await self.done("state", "export", "--scope", "c")).out, b"")

    async def test_an_export_that_fails_leaves_the_file_as_it_was(self) -> None:
        """The last good one is worth more than a part of the next."""
        path = self.directory / "out.jsonl"
        path.write_text("good")
        await self.fill(("s", "k", 1))
        listing = self.engine.functions.get("state::list_entries")
        assert listing is not None
        self.engine.functions.unregister("state::list_entries", listing.spec.owner)
        done = await self.iii("state", "export", str(path))
        self.assertEqual(done.code, 1)
        self.assertEqual(done.errors, ["Error: Function state::list_entries not found"])
        self.assertEqual(
            [(p.name, p.read_text()) for p in self.directory.iterdir()], [("out.jsonl", "good")]
        )
        done = await self.iii("state", "export", str(self.directory / "no" / "such"))
        self.assertEqual(done.code, 1)
        self.assertEqual(
            done.errors[0],
            f"Error: [Errno 2] No such file or directory: '{self.directory.resolve()}/no/such'",
        )

    def test_a_link_and_a_pipe_stay_what_they_are(self) -> None:
        """Only a file is replaced: `/dev/null` must not become one."""
        link, target, pipe = (self.directory / name for name in ("link", "target", "pipe"))
        link.symlink_to(target)
        os.mkfifo(pipe)
        reading = os.open(pipe, os.O_RDWR)
        self.addCleanup(os.close, reading)
        for path in (link, pipe):
            with complete_file(str(path)) as file:
                file.write(b"all")
        self.assertEqual((link.is_symlink(), target.read_bytes()), (True, b"all"))
        self.assertEqual((pipe.is_fifo(), os.read(reading, 10)), (True, b"all"))

    async def test_values_are_imported_byte_for_byte(self) -> None:
        """No number is rounded on the way in."""
        path = self.directory / "in.jsonl"
        path.write_bytes(b'{"scope":"s","key":"k","value":[1.10, 1e2]}')
        await self.done("state", "import", str(path))
        kept = self.store.get(("s", ""), "k")
        assert isinstance(kept, Raw)
        self.assertEqual(bytes(kept), b"[1.10, 1e2]")

    async def test_and_exported_byte_for_byte(self) -> None:
        """Also a number that no float can hold: it must not keep the rest from being saved."""
        self.store.set(("s", ""), "k", Raw(b"[1.10, 1e400]"))
        path = self.directory / "out.jsonl"
        await self.done("state", "export", str(path))
        self.assertEqual(path.read_bytes(), b'{"scope":"s","key":"k","value":[1.10, 1e400]}\n')
        self.assertIn("1e400", (await self.done("state", "list", "s")).out.decode())

    async def test_a_negative_number_is_no_option(self) -> None:
        await self.done("state", "set", "s", "k", "-5")
        self.assertEqual((await self.done("state", "get", "s", "k")).out, b"-5\n")

    async def test_a_bad_line_is_named_and_the_rest_is_kept(self) -> None:
        """Exit code 1."""
        path = self.directory / "in.jsonl"
        path.write_bytes(
            b'{"scope":"s","key":"a","value":1}\n'
            b"\n"
            b'{"scope":"s","key":"b"}\n'
            b"nonsense\n"
            b'{"scope":"s","key":"\xff","value":1}\n'
            b'{"scope":"s","key":"c","value":3}\n'
        )
        done = await self.iii("state", "import", str(path))
        self.assertEqual(done.code, 1)
        self.assertEqual(done.lines, ["imported 2 value(s), 3 line(s) left out"])
        self.assertEqual([e.split(": ")[1] for e in done.errors], ["line 3", "line 4", "line 5"])
        self.assertIn("missing required field `value`", done.errors[0])
        self.assertEqual(await self.store.keys(("s", "")), ["a", "c"])

    async def test_an_engine_that_leaves_ends_the_import(self) -> None:
        """Not a line later, and not with a line for each value."""
        path = self.directory / "in.jsonl"
        path.write_bytes(b'{"scope":"s","key":"a","value":1}\n' * 5_000)
        command = self.begin("state", "import", str(path))
        await self.eventually(lambda: self.store.get(("s", ""), "a") is not None)
        for worker in self.engine.workers.connections():
            worker.link.close(1012, "restart")
        await command.ended
        self.assertEqual(command.code, 1)
        self.assertIn("the engine went away: ", command.errors[-1])

    async def test_a_file_that_is_not_there_is_told(self) -> None:
        """Before connecting."""
        done = await self.iii("state", "import", str(self.directory / "nope"))
        self.assertEqual(done.code, 2)
        self.assertIn("nope", done.err.decode())


class Tail(CommandCase):
    """`iii streams tail`."""

    def prepare(self) -> None:
        """EngineCase: the stream module as well."""
        super().prepare()
        self.streams = StreamModule(StreamConfig(port=0))
        self.streams.adapter = Opens(MemoryStore())
        self.streams.start(ModuleApi(self.engine, "iii-stream"))

    async def tearDown(self) -> None:
        await super().tearDown()
        await self.streams.stop()

    async def follow(self, *arguments: str) -> Command:
        """Start a command and wait until it follows."""
        command = self.begin("streams", "tail", *arguments)
        await self.eventually(lambda: command.errors or command.code is not None)
        self.assertEqual(command.errors[0].split()[0], "following", command.err)
        return command

    async def write(self, group: str, item: str, data: Any, stream: str = "chat") -> None:
        what = {"stream_name": stream, "group_id": group, "item_id": item, "data": data}
        await self.caller.call("stream::set", what)

    async def test_events_are_lines_of_json_until_there_are_enough(self) -> None:
        """`--json -n`: the envelope as every subscriber gets it."""
        command = await self.follow("chat", "--json", "-n", "3")
        await self.write("room", "m1", {"text": "hi"})
        await self.write("room", "m1", {"text": "ho"}, "other")
        await self.write("hall", "m2", 1)
        what = {"stream_name": "chat", "group_id": "room", "item_id": "m1"}
        await self.caller.call("stream::delete", what)
        await self.write("room", "m3", "too late")
        await command.ended
        self.assertEqual(command.code, 0)
        events = [json.loads(line) for line in command.lines]
        told = [(e["streamName"], e["groupId"], e["id"], e["event"]["type"]) for e in events]
        self.assertEqual(
            told,
            [
                ("chat", "room", "m1", "create"),
                ("chat", "hall", "m2", "create"),
                ("chat", "room", "m1", "delete"),
            ],
        )
        self.assertEqual(events[0]["event"]["data"], {"text": "hi"})

    async def test_a_person_reads_when_what_and_where(self) -> None:
        """Also of custom events, which have a name of their own."""
        command = await self.follow("chat", "-n", "2")
        await self.write("room", "m1", {"text": "hi"})
        send = {"stream_name": "chat", "group_id": "room", "type": "typing", "data": ["ada"]}
        await self.caller.call("stream::send", send)
        await command.ended
        time = r"\d\d:\d\d:\d\d\.\d{3}"
        self.assertRegex(command.lines[0], rf'^{time} create room/m1 {{"text":"hi"}}$')
        self.assertRegex(command.lines[1], rf'^{time} typing room \["ada"\]$')

    async def test_group_and_item_narrow_it(self) -> None:
        """Only what was asked for is shown."""
        command = await self.follow("chat", "room", "--item", "m2", "--json", "-n", "1")
        await self.write("hall", "m2", 1)
        await self.write("room", "m1", 2)
        await self.write("room", "m2", 3)
        await command.ended
        self.assertEqual([json.loads(line)["event"]["data"] for line in command.lines], [3])

    async def test_two_that_follow_the_same_both_see_it(self) -> None:
        """They are no replicas of one worker."""
        both = [await self.follow("chat", "-n", "1") for _ in range(2)]
        await self.write("room", "m1", 1)
        for command in both:
            await command.ended
            self.assertEqual(len(command.lines), 1)

    async def test_ctrl_c_ends_it(self) -> None:
        """Exit code 130, and nothing is left in the engine."""
        command = await self.follow("chat")
        command.process.signalProcess("INT")
        await command.ended
        self.assertEqual((command.code, command.out), (130, b""))
        await self.eventually(lambda: len(self.engine.workers.connections()) == 1)

    async def test_an_engine_that_leaves_ends_it(self) -> None:
        """Exit code 1 and the reason."""
        command = await self.follow("chat")
        for worker in self.engine.workers.connections():
            worker.link.close(1012, "restart")
        await command.ended
        self.assertEqual((command.code, command.errors[-1]), (1, "Error: the engine went away"))


class NoStreams(CommandCase):
    """An engine without the stream module."""

    async def test_there_is_nothing_to_follow(self) -> None:
        """Told at once, instead of waiting for a module to appear."""
        done = await self.iii("streams", "tail", "chat")
        self.assertEqual(done.code, 1)
        self.assertEqual(done.errors, ["Error: Function stream::list_groups not found"])
