"""Trigger type ``log`` (05 A7)."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from iii.engine.native import Empty
from iii.modules.observability.logs import triggers
from iii.modules.observability.logs.capture import MAX_TOLD_PER_S
from tests.observability.logs.cases import LogsCase, record
from tests.support.engine_case import Message, RawWorker
from tests.support.probes import probe

log = Logger(namespace="iii.test")

KEYS = [
    "timestamp_unix_nano",
    "observed_timestamp_unix_nano",
    "severity_number",
    "severity_text",
    "body",
    "attributes",
    "trace_id",
    "span_id",
    "resource",
    "service_name",
    "instrumentation_scope_name",
    "instrumentation_scope_version",
]


def trace_of(call: Message) -> str:
    """The trace id of a call."""
    return str(call["traceparent"][3:35])


class TriggerCase(LogsCase):
    """Handlers and what they are told."""

    async def told(self, worker: RawWorker, function: str = "on_log") -> list[str]:
        """What the records say that ``function`` was called with."""
        return [call["data"]["body"] for call in await self.heard(worker, function)]


class Matching(TriggerCase):
    """05 A7: equality with the severity, not at least it."""

    @probe("05.40")
    async def test_a_level_is_that_level_only(self) -> None:
        warn = await self.follower({"level": "warn"}, "warn")
        everything = await self.follower({"level": "all"}, "everything")
        self.hub.add_logs([record("e", 17), record("w", 13)])
        self.assertEqual(await self.told(warn, "warn"), ["w"])
        calls = await self.heard(everything, "everything")
        self.assertEqual([call["data"]["body"] for call in calls], ["e", "w"])
        self.assertEqual(list(calls[0]["data"]), KEYS)
        self.assertIsNone(calls[0]["data"]["instrumentation_scope_name"])
        self.assertIsNone(calls[0]["data"]["trace_id"])

    @probe("05.15")
    async def test_a_derived_text_fires_error_triggers(self) -> None:
        follower = await self.follower({"level": "error"})
        self.hub.add_logs([record("e", 17)])  # its text is what the ingest derived
        self.assertEqual(await self.told(follower), ["e"])

    async def test_without_a_level_everything_is_told(self) -> None:
        """05 A7: also what has no severity."""
        configs = ({}, {"level": None}, None, 5, {"level": "all", "severity_min": 0})
        names = [f"f{n}" for n in range(len(configs))]
        worker = await self.worker(*names)
        for name, config in zip(names, configs, strict=True):
            await worker.trigger("log", name, config)
        self.hub.add_logs([record("a", 0), record("b", 1)])
        for name in names:
            self.assertEqual(await self.told(worker, name), ["a", "b"])

    async def test_a_level_nobody_uses_never_matches(self) -> None:
        """05 A7."""
        worker = await self.worker("on_log")
        for level in ("loud", "", 7):
            await worker.trigger("log", "on_log", {"level": level})
        self.hub.add_logs([record("a", number) for number in range(25)])
        self.assertEqual(await self.told(worker), [])

    async def test_a_least_number_counts(self) -> None:
        """05 A7 OURS: `severity_min` above 0."""
        follower = await self.follower({"severity_min": 13})
        self.hub.add_logs([record("a", 12), record("b", 13), record("c", 17)])
        self.assertEqual(await self.told(follower), ["b", "c"])

    async def test_calls_are_told_with_the_triggers_metadata(self) -> None:
        """05 A7: sources are `engine::log::*` too."""
        worker = await self.worker("on_log")
        await worker.trigger("log", "on_log", {"level": "info"}, metadata={"team": "a"})
        await self.client.call("engine::log::info", {"message": "m", "data": {"password": "x"}})
        (call,) = await self.heard(worker)
        self.assertEqual(call["data"]["attributes"], {"password": "[REDACTED]"})
        self.assertEqual(call["metadata"], {"team": "a"})

    async def test_a_removed_trigger_is_told_nothing(self) -> None:
        """05 A7."""
        worker = await self.worker("on_log")
        id = await worker.trigger("log", "on_log", {"level": "all"})
        worker.send("unregistertrigger", id=id)
        await worker.settled()
        self.hub.add_logs([record()])
        self.assertEqual(await self.told(worker), [])


class Circles(TriggerCase):
    """05 A7, better 11: a handler that logs does not set itself off."""

    @probe("05.41")
    async def test_a_handler_that_logs_by_a_call_runs_once(self) -> None:
        follower = await self.follower()
        self.hub.add_logs([record("first")])
        (call,) = await self.heard(follower)
        said = {"message": "echo"}
        await follower.call("engine::log::info", said, traceparent=call["traceparent"])
        follower.reply(call, result=None)
        self.assertEqual(await self.told(follower), [])
        self.assertEqual(await self.bodies(), ["echo", "first"])

    @probe("05.41")
    async def test_a_handler_that_logs_by_telemetry_runs_once(self) -> None:
        follower = await self.follower()
        self.hub.add_logs([record("first")])
        (call,) = await self.heard(follower)
        self.hub.add_logs([record("echo", trace_id=trace_of(call))])
        self.assertEqual(await self.told(follower), [])
        self.assertEqual(set(await self.bodies()), {"echo", "first"})

    async def test_ids_of_its_own_do_not_hide_where_a_call_is_from(self) -> None:
        follower = await self.follower()
        self.hub.add_logs([record("first")])
        (call,) = await self.heard(follower)
        said = {"message": "echo", "trace_id": "mine"}
        await follower.call("engine::log::info", said, traceparent=call["traceparent"])
        self.assertEqual(await self.told(follower), [])

    @probe("05.41")
    async def test_a_handler_that_logs_without_a_context_runs_once(self) -> None:
        """The loggers of old SDKs pass none on."""
        follower = await self.follower()
        self.hub.add_logs([record("first")])
        (call,) = await self.heard(follower)
        await follower.call("engine::log::info", {"message": "echo"})
        self.assertEqual(await self.told(follower), [])
        self.assertEqual(set(await self.bodies()), {"echo", "first"})
        # What others log meanwhile is told, and what it logs when no handler runs.
        await self.client.call("engine::log::info", {"message": "another's"})
        (other,) = await self.heard(follower)
        self.assertEqual(other["data"]["body"], "another's")
        for handled in (call, other):
            follower.reply(handled, result=None)
        await follower.call("engine::log::info", {"message": "later"})
        self.assertEqual(await self.told(follower), ["later"])

    async def test_the_same_record_of_somebody_else_is_told(self) -> None:
        follower = await self.follower()
        self.hub.add_logs([record("first", trace_id="t")])
        self.hub.add_logs([record("second", trace_id="t")])
        self.assertEqual(await self.told(follower), ["first", "second"])

    async def test_others_hear_of_what_a_handler_logs(self) -> None:
        one = await self.follower({"level": "error"}, "one")
        other = await self.follower({"level": "info"}, "other")
        self.hub.add_logs([record("first", 17)])
        (call,) = await self.heard(one, "one")
        for body in ("a", "b"):
            self.hub.add_logs([record(body, 9, trace_id=trace_of(call))])
        calls = await self.heard(other, "other")
        self.assertEqual([call["data"]["body"] for call in calls], ["a", "b"])
        # And when that one logs in its turn, it ends there.
        self.hub.add_logs([record("back", 17, trace_id=trace_of(calls[0]))])
        self.assertEqual(await self.told(one, "one"), [])

    async def test_a_chain_of_handlers_ends(self) -> None:
        count = triggers.MAX_CHAIN + 2
        names = [f"h{n}" for n in range(count)]
        worker = await self.worker(*names)
        for name in names:
            await worker.trigger("log", name)
        self.hub.add_logs([record("0")])
        runs = 0
        for _ in range(count):
            for name in names:
                for call in await self.heard(worker, name):
                    runs += 1
                    self.hub.add_logs([record("more", trace_id=trace_of(call))])
        self.assertEqual(runs, 5 + 5 * 4 + 5 * 4 * 3)

    async def test_deliveries_are_forgotten(self) -> None:
        """Bounded memory: by number and by time."""
        self.patch(triggers, "MAX_REMEMBERED", 3)
        follower = await self.follower()
        self.hub.add_logs([record(str(n)) for n in range(5)])
        calls = await self.heard(follower)
        self.assertEqual(len(self.logs.triggers._deliveries), 3)
        self.hub.add_logs([record("late", trace_id=trace_of(calls[0]))])
        self.assertEqual(await self.told(follower), ["late"])
        self.patch(triggers, "REMEMBERED_S", 0.0)
        self.hub.add_logs([record("one")])
        (call,) = await self.heard(follower)
        self.hub.add_logs([record("two", trace_id=trace_of(call))])
        self.assertEqual(await self.told(follower), ["two"])


class CirclesWhileTracing(TriggerCase):
    """05 A7: the same while calls are traced and the engine's own log is kept."""

    settings = {"level": "warn"}

    @probe("05.41")
    async def test_a_handler_that_logs_runs_once(self) -> None:
        follower = await self.follower({"level": "error"})
        self.hub.add_logs([record("first", 17)])
        (call,) = await self.heard(follower)
        said = {"message": "echo"}
        await follower.call("engine::log::error", said, traceparent=call["traceparent"])
        self.hub.add_logs([record("again", 17, trace_id=trace_of(call))])
        self.assertEqual(await self.told(follower), [])

    async def test_a_handler_that_fails_is_not_told_of_it(self) -> None:
        follower = await self.follower()
        self.hub.add_logs([record("first")])
        (call,) = await self.heard(follower)
        follower.reply(call, error={"code": "boom", "message": "no"})
        await follower.settled()
        self.assertTrue(any("boom" in body for body in await self.bodies(severity_text="warn")))
        self.assertEqual(await self.told(follower), [])

    async def test_a_handler_in_the_engine_that_logs_runs_once(self) -> None:
        runs: list[Any] = []

        def handler(_: Empty) -> None:
            runs.append(log.error("inside {n}", n=len(runs)))

        self.hub.engine.function("demo::handler", handler)
        await self.client.trigger("log", "demo::handler", {"level": "error"})
        log.error("outside")
        await self.client.settled()
        self.assertEqual(len(runs), 1)
        self.hub.add_logs([record("a worker's", 17)])
        await self.client.settled()
        self.assertEqual(len(runs), 2)
        self.assertEqual(len(await self.bodies(severity_text="error")), 3)

    async def test_what_the_engine_says_is_told_so_often_a_second(self) -> None:
        """Whatever a handler makes the engine say, it does not go on at full speed."""
        follower = await self.follower({"level": "error"})
        for n in range(MAX_TOLD_PER_S + 10):
            log.error("{n}", n=n)
        self.assertEqual(len(await self.told(follower)), MAX_TOLD_PER_S)
        self.assertEqual(len(await self.rows(severity_text="error")), MAX_TOLD_PER_S + 10)
        self.assertEqual(self.hub.dropped, {"logs.untold": 10})


class Traced(TriggerCase):
    """With tracing on, deliveries are traces of their own."""

    settings = {"level": "off"}

    async def test_a_delivery_is_a_trace_with_a_root(self) -> None:
        worker = await self.follower({"level": "error"})
        spans = self.spans()
        self.hub.add_logs([record("e", 17)])
        (call,) = await self.heard(worker, "on_log")
        self.hub.flush()
        root = next(span for span in spans if span.name == "log on_log")
        self.assertEqual((root.trace_id, root.parent_span_id), (trace_of(call), None))
        self.assertIn(("iii.function.kind", "internal"), root.attributes)

    async def test_what_is_logged_when_spans_are_told_of_makes_no_spans(self) -> None:
        """Or ``log`` and ``trace`` triggers would set each other off for ever."""
        worker = await self.follower({"level": "error"})
        spans = self.spans()
        told = self.hub.own.context()
        self.hub.add_logs([record("e", 17, trace_id=told[3:35])])
        (call,) = await self.heard(worker, "on_log")
        self.hub.flush()
        self.assertTrue(self.hub.own.owns(trace_of(call)))
        self.assertTrue(call["traceparent"].endswith("-00"))
        self.assertEqual([span.name for span in spans if "on_log" in span.name], [])

    def spans(self) -> list[Any]:
        """Every span from now on."""
        spans: list[Any] = []
        self.hub.on_spans(spans.extend)
        return spans
