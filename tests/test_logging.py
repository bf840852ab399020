"""The engine's log: which lines, and how they look (05 A13)."""

from __future__ import annotations

import io
import json
from typing import Any
from unittest import TestCase

from twisted.logger import Logger, LogLevel

from iii.logging import DEBUG, ERROR, INFO, MAX_TREE_DEPTH, TRACE, WARN, Levels, LogOutput
from tests.support.probes import probe

NOON = 1_760_000_000.123456


class LevelDirectives(TestCase):
    """05 A13: `<level>` or `<target>=<level>`, separated by commas."""

    def test_one_word_is_the_level_of_everything(self) -> None:
        """05 A13: levels by weight."""
        levels = Levels("warn")
        self.assertTrue(levels.shows("iii.service", WARN))
        self.assertFalse(levels.shows("iii.service", INFO))
        self.assertFalse(Levels("off").shows("iii.service", ERROR))

    @probe("05.49")
    def test_warn_shows_no_info_of_anything(self) -> None:
        """05 A13."""
        for target in ("iii.engine.core", "iii::log", "iii::otel_passthrough", "twisted.web"):
            self.assertFalse(Levels("warn").shows(target, INFO), target)

    def test_a_target_is_known_in_either_spelling(self) -> None:
        """05 A13: events may have colons, too."""
        for directives in ("error,iii::log=info", "error,iii.log=info"):
            self.assertTrue(Levels(directives).shows("iii::log", INFO))
            self.assertFalse(Levels(directives).shows("iii::otel_passthrough", INFO))

    def test_the_longest_target_wins(self) -> None:
        """05 A13: in either spelling of a target."""
        levels = Levels("error, iii=info ,iii::wire=debug")
        self.assertTrue(levels.shows("iii.wire.session", DEBUG))
        self.assertFalse(levels.shows("iii.wired", DEBUG))
        self.assertTrue(levels.shows("iii.wired", INFO))
        self.assertFalse(levels.shows("other", WARN))

    def test_what_is_no_directive_is_skipped_and_told(self) -> None:
        """05 A13: the rest still counts."""
        levels = Levels("loud,iii=loud,debug")
        self.assertEqual(levels.faults, ["loud", "iii=loud"])
        self.assertTrue(levels.shows("iii", DEBUG))

    def test_libraries_are_held_to_warnings(self) -> None:
        """Design: unless asked for."""
        self.assertFalse(Levels("info").shows("twisted.web.server", INFO))
        self.assertTrue(Levels("info").shows("twisted.web.server", WARN))
        self.assertTrue(Levels("debug").shows("twisted.web.server", DEBUG))
        self.assertTrue(Levels("info,twisted=debug").shows("twisted.web.server", DEBUG))
        self.assertFalse(Levels("off").shows("twisted.web.server", WARN))


class OutputCase(TestCase):
    """Events through a real logger into a string."""

    def setUp(self) -> None:
        self.stream = io.StringIO()
        self.output = LogOutput(self.stream)
        self.log = Logger(namespace="iii.test", observer=self.output)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def at_noon(self, format: str, **fields: Any) -> None:
        event = {
            "log_level": LogLevel.info,
            "log_namespace": "iii.test",
            "log_format": format,
            "log_time": NOON,
            **fields,
        }
        self.output(event)


class Text(OutputCase):
    """05 A13: `format: default`."""

    def test_a_line_has_time_level_target_and_message(self) -> None:
        """05 A13: `[09:41:07.512 AM] [INFO] target message`."""
        self.at_noon("worker {id} is here", id=5)
        self.assertRegex(
            self.lines()[0], r"^\[\d\d:\d\d:\d\d\.123 [AP]M\] \[INFO\] iii\.test worker 5 is here$"
        )

    def test_fields_the_message_leaves_out_stand_below(self) -> None:
        """05 A13: branches, text in quotes, numbers bare."""
        self.at_noon("worker {id}", id=5, name="billing", count=2)
        self.assertEqual(self.lines()[1:], ['    ├ name: "billing"', "    └ count: 2"])

    def test_what_is_inside_is_a_tree(self) -> None:
        """05 A13: JSON text is expanded, `{}` and `[]` stay on the line."""
        self.at_noon(
            "x",
            worker_id="w-1",
            data={"orderId": "o-1", "n": 5, "on": True, "none": None, "empty": {}},
            text='{"a":[1,[],{"b":"c"}]}',
            broken='{"a":',
            number="5",
        )
        self.assertEqual(
            self.lines()[1:],
            [
                '    ├ worker_id: "w-1"',
                "    ├ data: {",
                '        ├ orderId: "o-1"',
                "        ├ n: 5",
                "        ├ on: true",
                "        ├ none: null",
                "        └ empty: {}",
                "    }",
                "    ├ text: {",
                "        └ a: [",
                "            ├ 1",
                "            ├ []",
                "            └ {",
                '                └ b: "c"',
                "            }",
                "        ]",
                "    }",
                '    ├ broken: "{\\"a\\":"',
                '    └ number: "5"',
            ],
        )

    def test_a_function_stands_in_for_the_target(self) -> None:
        """05 A13: and is not repeated below."""
        self.at_noon("x", function="orders::create", n=1)
        self.assertRegex(self.lines()[0], r"\[INFO\] orders::create x$")
        self.assertEqual(self.lines()[1:], ["    └ n: 1"])

    def test_a_function_that_the_message_has_is_not_repeated(self) -> None:
        """05 A13."""
        self.at_noon("{function} is slow", function="orders::create")
        self.assertRegex(self.lines()[0], r"\[INFO\] iii\.test orders::create is slow$")
        self.assertEqual(self.lines()[1:], [])

    def test_an_equal_number_is_another_fact(self) -> None:
        """Design: only texts are left out when they were said."""
        self.at_noon("{id} of {name}", id=1, name="a", count=1, alias="a")
        self.assertEqual(self.lines()[1:], ["    └ count: 1"])

    def test_a_tree_has_an_end(self) -> None:
        """Bounded: the rest is one line."""
        deep = "[" * 500 + "]" * 500
        self.at_noon("x", deep=deep)
        self.assertLess(len(self.lines()), 3 * MAX_TREE_DEPTH)

    def test_what_can_not_be_shown_does_no_harm(self) -> None:
        """Design: a log line never fails."""

        class Odd:
            def __str__(self) -> str:
                raise ValueError

        self.at_noon("x", odd=Odd(), lone="\ud800", keys={(1, 2): 3}, big=2**70)
        self.assertEqual(
            self.lines()[1:],
            [
                '    ├ odd: "<Odd>"',
                "    ├ lone: \"'\\\\ud800'\"",
                "    ├ keys: {",
                "        └ (1, 2): 3",
                "    }",
                f"    └ big: {2**70}",
            ],
        )

    def test_a_weight_of_its_own_is_shown_as_it_is(self) -> None:
        """05 A13: Twisted has no level for traces."""
        self.output.configure(level="debug", format="default", environ={})
        fields = {"log_weight": TRACE, "log_text": "said"}
        self.at_noon("{log_text}", **fields)
        self.assertEqual(self.lines(), [])
        self.output.configure(level="trace", format="default", environ={})
        self.at_noon("{log_text}", **fields)
        self.assertRegex(self.lines()[0], r"\[TRACE\] iii\.test said$")
        self.assertEqual(len(self.lines()), 1)

    def test_a_failure_has_its_traceback(self) -> None:
        """Design: nothing is swallowed."""
        try:
            raise ZeroDivisionError("no luck")
        except ZeroDivisionError:
            self.log.failure("it broke")
        self.assertIn("[ERROR] iii.test it broke", self.lines()[0])
        self.assertIn("no luck", self.lines()[-1])

    def test_events_below_the_level_are_not_written(self) -> None:
        """05 A13: the default is info."""
        self.log.debug("quiet")
        self.assertEqual(self.lines(), [])
        self.output.configure(level="debug", format="default", environ={})
        self.log.debug("heard")
        self.assertEqual(len(self.lines()), 1)

    def test_rust_log_is_the_default_level(self) -> None:
        """01 §15 OURS: RUST_LOG counts when the configuration names no level."""
        output = LogOutput.from_environment(self.stream, {"RUST_LOG": "error"})
        self.output = output
        self.at_noon("quiet")
        output.configure(level="info", format="default", environ={"RUST_LOG": "error"})
        self.at_noon("heard")
        self.assertEqual(len(self.lines()), 1)

    def test_colours_only_on_a_terminal(self) -> None:
        """05 A13: ANSI colours when the output is a terminal."""
        self.at_noon("plain")
        self.assertNotIn("\x1b", self.stream.getvalue())
        LogOutput(self.stream, colour=True)({"log_format": "x", "log_level": LogLevel.warn})
        self.assertIn("\x1b[33m[WARN]\x1b[0m", self.stream.getvalue())

    def test_what_others_say_can_not_pass_for_a_line_of_ours(self) -> None:
        """Ids and texts of workers stand in messages and fields as they came."""
        forged = "x\n[00:00:00.000 AM] [INFO] iii.wire all is well\x1b[2J\x9b\u202e"
        self.at_noon("refused {what}", what=forged)
        self.at_noon("said", **{forged: forged}, data={forged: [forged]})
        self.at_noon("said", function=forged)
        text = self.stream.getvalue()
        for line in text.splitlines():
            self.assertTrue(line.startswith(("    ", "[08:53:20.123 AM] [INFO] ")), line)
        for sign in ("\x1b", "\x9b", "\u202e"):
            self.assertNotIn(sign, text)
        self.assertIn("all is well\\x1b[2J\\x9b\\u202e", text)


class Json(OutputCase):
    """05 A13: `format: json`."""

    def setUp(self) -> None:
        super().setUp()
        self.output.configure(level="info", format="JSON", environ={})

    @probe("05.48")
    def test_a_line_is_an_object(self) -> None:
        """05 A13: timestamp in UTC with microseconds, level, fields, target."""
        self.at_noon("worker {id}", id=5, peer=ValueError("odd"))
        self.assertEqual(
            json.loads(self.lines()[0]),
            {
                "timestamp": "2025-10-09T08:53:20.123456Z",
                "level": "INFO",
                "fields": {"message": "worker 5", "id": 5, "peer": "odd"},
                "target": "iii.test",
            },
        )

    @probe("05.48")
    def test_every_line_is_an_object_whatever_is_in_it(self) -> None:
        """05 A13: no ANSI, no second line."""
        output = LogOutput(self.stream, colour=True)
        output.configure(level="trace", format="json", environ={})
        self.output = output
        self.at_noon("two\nlines \x1b[31m", lone="\ud800", keys={(1, 2): 3}, nan=float("nan"))
        self.at_noon("{log_text}", log_text="said", log_weight=TRACE, data={"a": 1})
        try:
            raise ZeroDivisionError("\ud800")
        except ZeroDivisionError:
            Logger(namespace="iii.test", observer=output).failure("it broke")
        lines = [json.loads(line) for line in self.lines()]
        self.assertEqual([line["level"] for line in lines], ["INFO", "TRACE", "ERROR"])
        self.assertEqual(lines[1]["fields"], {"message": "said", "data": {"a": 1}})

    def test_a_text_for_people_becomes_events(self) -> None:
        """05 A13 OURS: start-up lines go through the logger."""
        self.assertTrue(self.output.is_json)
        self.output.say("one\n\n  two")
        messages = [json.loads(line)["fields"]["message"] for line in self.lines()]
        self.assertEqual(messages, ["one", "two"])
