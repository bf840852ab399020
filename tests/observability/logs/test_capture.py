"""The engine's own log lines as records (05 A5.2, last paragraph)."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet import threads
from twisted.logger import Logger, LogLevel

from iii.modules.observability.model import LogRecord
from tests.observability.logs.cases import CONTEXT, TRACE, LogsCase, Row, record
from tests.support.probes import probe

log = Logger(namespace="iii.test")


class Unprintable:
    """An object in a log line that can't be shown."""

    def __str__(self) -> str:
        raise ValueError("no")


class CaptureCase(LogsCase):
    """The engine's own log is kept."""

    settings = {"service_name": "shop", "level": "info,iii.quiet=error"}

    async def own(self, **query: Any) -> list[Row]:
        """Records of the engine's own log, from here."""
        rows = await self.rows(**query)
        return [
            row
            for row in rows
            if row.get("instrumentation_scope_name") == "tracing"
            and row["attributes"]["target"].startswith(("iii.test", "iii.quiet"))
        ]


class Capturing(CaptureCase):
    """05 A5.2."""

    async def test_an_event_is_a_record(self) -> None:
        log.warn("worker {id} is slow", id=5, password="x", place={"a": [1]})
        (row,) = await self.own()
        self.assertEqual(
            (row["severity_number"], row["severity_text"], row["body"], row["service_name"]),
            (13, "WARN", "worker 5 is slow", "shop"),
        )
        attributes = row["attributes"]
        self.assertIsInstance(attributes.pop("line"), int)
        self.assertTrue(attributes.pop("file").endswith("test_capture.py"))
        self.assertEqual(
            attributes,
            {
                "id": 5,
                "password": "[REDACTED]",
                "place": {"a": [1]},
                "target": "iii.test",
                "module_path": __name__,
            },
        )
        self.assertEqual(row["resource"]["service.name"], "shop")

    async def test_levels_are_those_of_the_console(self) -> None:
        log.debug("quiet")
        Logger(namespace="iii.quiet").warn("quiet, too")
        for level in (LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical):
            log.emit(level, "heard")
        numbers = [row["severity_number"] for row in reversed(await self.own())]
        self.assertEqual(numbers, [9, 13, 17, 17])

    async def test_a_failure_has_its_traceback(self) -> None:
        try:
            raise ZeroDivisionError("no luck")
        except ZeroDivisionError:
            log.failure("it broke")
        self.flushLoggedErrors(ZeroDivisionError)
        (row,) = await self.own()
        self.assertEqual(row["attributes"]["exception.type"], "ZeroDivisionError")
        self.assertEqual(row["attributes"]["exception.message"], "no luck")
        self.assertIn("test_capture.py", row["attributes"]["exception.stacktrace"])

    async def test_what_can_not_be_shown_does_no_harm(self) -> None:
        log.info("odd", thing=Unprintable(), text="\ud800", keys={("a",): 1})
        (row,) = await self.own()
        self.assertEqual(row["body"], "odd")
        self.assertEqual(row["attributes"]["thing"], "<Unprintable>")
        self.assertEqual(row["attributes"]["text"], "'\\ud800'")

    async def test_an_event_of_a_thread_arrives(self) -> None:
        seen_in: list[int] = []
        self.hub.on_logs(lambda records: seen_in.append(threading.get_ident()))
        await threads.deferToThread(log.info, "from a thread")
        await self.eventually(lambda: seen_in)
        self.assertEqual(seen_in, [threading.get_ident()])
        self.assertEqual([row["body"] for row in await self.own()], ["from a thread"])

    async def test_what_is_a_record_already_is_kept_once(self) -> None:
        """05 better 1: `engine::log::*` and what workers sent."""
        await self.client.call("engine::log::error", {"message": "called"})
        self.hub.add_logs([record("sent", 17)])
        self.assertEqual(sorted(await self.bodies(severity_text="error")), ["called", "sent"])

    async def test_a_listener_that_fails_does_not_go_on_failing(self) -> None:
        def fails(records: list[LogRecord]) -> None:
            raise ZeroDivisionError("listener")

        self.hub.on_logs(fails)
        log.error("once")
        self.hub.forget(fails)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([row["body"] for row in await self.own()], ["once"])

    async def test_after_the_end_nothing_is_captured(self) -> None:
        self.logs.stop()
        log.error("late")
        self.assertEqual(await self.own(), [])


class NotCapturing(CaptureCase):
    """05 A1.2: only when `enabled`."""

    settings = {"enabled": False}

    async def test_the_engines_log_is_not_kept(self) -> None:
        log.error("x")
        self.assertEqual(await self.own(), [])


class QuietConsole(CaptureCase):
    """05 better 6: the level of the log has nothing to do with traces."""

    settings = {"level": "off"}

    @probe("05.49")
    async def test_contexts_are_passed_on(self) -> None:
        worker = await self.worker("f")
        self.client.invoke("f", traceparent=CONTEXT)
        call = await worker.invoked("f")
        self.assertEqual(call["traceparent"][3:35], TRACE)
        self.assertNotEqual(call["traceparent"], CONTEXT)
        worker.reply(call, result=None)
