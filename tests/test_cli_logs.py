"""`iii logs`: the command as a process, the engine in here."""

from __future__ import annotations

import json
from typing import Any
from unittest import TestCase

import click

from iii.cli.logs import _Follower, _line
from tests.observability.logs.cases import LogsCase, record
from tests.support.commands import Command, Commands

ROW: dict[str, Any] = {
    "timestamp_unix_nano": 1_760_000_000_123_456_789,
    "observed_timestamp_unix_nano": 0,
    "severity_number": 17,
    "severity_text": "ERROR",
    "body": "it broke",
    "attributes": {"code": 5},
    "trace_id": None,
    "span_id": None,
    "resource": {},
    "service_name": "pay",
}


class Logs(LogsCase, Commands):
    """08 §7: list, follow, level, trace, limit, json."""

    settings = {"enabled": False, "logs_retention_seconds": 0, "logs_console_output": False}
    timeout = 90

    async def setUp(self) -> None:
        await super().setUp()
        self.hub.add_logs(
            [
                record("one", 9, at=1_000_000_000, service_name="shop", attributes={"n": 1}),
                record("two", 13, at=2_000_000_000, trace_id="t"),
                record("three", 17, at=3_000_000_000, scope_name="lib"),
            ]
        )

    async def follow(self, *arguments: str) -> Command:
        """A command that follows, once it does."""
        command = self.begin("logs", "--follow", *arguments)
        await self.eventually(lambda: "following" in command.errors, wait_s=30)
        return command

    async def shown(self, command: Command, count: int) -> list[str]:
        """The first lines of a command that goes on; then Ctrl-C ends it."""
        await self.eventually(lambda: len(command.lines) >= count, wait_s=30)
        command.process.signalProcess("INT")
        await command.ended
        self.assertEqual(command.code, 130, command.err)
        return command.lines

    async def test_records_are_listed_oldest_first(self) -> None:
        lines = (await self.done("logs")).lines
        self.assertRegex(lines[0], r"^\d\d:\d\d:01\.000 INFO  shop one \{\"n\":1\}$")
        self.assertRegex(lines[1], r"^\d\d:\d\d:02\.000 WARN  unknown two$")
        self.assertRegex(lines[2], r"^\d\d:\d\d:03\.000 ERROR unknown three$")
        self.assertEqual(len(lines), 3)

    async def test_filters_are_the_engines(self) -> None:
        for arguments, bodies in (
            (("--level", "WARN"), ["two", "three"]),
            (("--trace", "t"), ["two"]),
            (("--limit", "1"), ["three"]),
        ):
            rows = json.loads((await self.done("logs", "--json", *arguments)).out)["logs"]
            self.assertEqual([row["body"] for row in rows], bodies)

    async def test_follow_goes_on_with_what_comes(self) -> None:
        command = await self.follow("--limit", "2")
        self.hub.add_logs([record("four"), record("five", 0)])
        lines = await self.shown(command, 4)
        self.assertEqual([line.split()[-1] for line in lines], ["two", "three", "four", "five"])

    async def test_follow_keeps_to_its_filters(self) -> None:
        command = await self.follow("--level", "warn", "--trace", "t", "--json")
        self.hub.add_logs(
            [
                record("low", 9, trace_id="t"),
                record("other", 17, trace_id="u"),
                record("wanted", 17, trace_id="t"),
            ]
        )
        lines = await self.shown(command, 2)
        self.assertEqual([json.loads(line)["body"] for line in lines], ["two", "wanted"])

    async def test_follow_ends_with_the_engine(self) -> None:
        command = await self.follow()
        for connection in list(self.listener.factory.connections):
            connection.drop()
        await command.ended
        self.assertEqual(command.code, 1)
        self.assertEqual(command.errors[-1], "Error: the engine went away")


class Lines(TestCase):
    """08 §7: one line per record."""

    def test_a_line_is_coloured(self) -> None:
        self.assertIn("\x1b[31mERROR\x1b[0m \x1b[1mpay\x1b[0m it broke", _line(ROW))

    def test_a_record_can_not_leave_its_line(self) -> None:
        odd = {**ROW, "body": "a\nb\x1b[2J\x9b1m", "service_name": "x\r"}
        line = _line(odd)
        self.assertIn("a\\nb\\x1b[2J\\x9b1m", line)
        self.assertIn("x\\r", line)
        self.assertNotIn("\n", line)

    def test_the_engines_own_line_is_not_told_twice(self) -> None:
        place = {"target": "iii.x", "module_path": "iii.x", "file": "/x.py", "line": 5}
        said = {"body": "worker 7 is slow", "attributes": {"id": 7, "ms": 90, **place}}
        line = click.unstyle(_line({**ROW, **said, "instrumentation_scope_name": "tracing"}))
        self.assertTrue(line.endswith('worker 7 is slow {"ms":90,"target":"iii.x"}'), line)

    def test_a_time_beyond_all_years_is_shown_as_it_is(self) -> None:
        self.assertIn(f"{10**21} ns", _line({**ROW, "timestamp_unix_nano": 10**21}))


class NoneTwice(TestCase):
    """08 §7: following shows every record once, however it came."""

    def test_what_was_listed_is_not_shown_again(self) -> None:
        follower = _Follower(None, {"trace_id": None}, True)  # type: ignore[arg-type]
        shown: list[Any] = []
        follower._show = shown.append  # type: ignore[method-assign]
        told = {**ROW, "instrumentation_scope_name": None, "instrumentation_scope_version": None}
        follower._list([ROW, ROW])
        for _ in range(3):
            follower._show_new(told)
        self.assertEqual(shown, [ROW, ROW, told])
