"""Spans made from the engine's records."""

from __future__ import annotations

from typing import Any

from twisted.internet import task
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.modules.observability.config import ObservabilityConfig, settings_of
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.records import SpanMaker
from tests.observability.spans.cases import TRACE

OUTER, INNER, PARENT = (f"00-{TRACE}-{n:016x}-01" for n in (1, 2, 3))


def call(**fields: Any) -> tuple[Any, ...]:
    """A record of a call that a worker made."""
    return (
        fields.get("function", "orders::create"),
        "invocation",
        fields.get("parent"),
        fields.get("received", OUTER),
        INNER,
        "caller",
        fields.get("worker", "runner"),
        1.0,
        1.25,
        fields.get("error"),
    )


class Making(SynchronousTestCase):
    """05 A8: what the engine's spans say."""

    def setUp(self) -> None:
        self.wall = 1_000.0
        clock = Clock(task.Clock(), wall=lambda: self.wall, monotonic=lambda: 0.0)
        self.maker = SpanMaker(settings_of(ObservabilityConfig(service_name="shop"), {}), clock)

    def test_a_call_of_a_worker_is_two_spans_one_inside_the_other(self) -> None:
        outer, inner = self.maker.spans(call(parent=PARENT))

        self.assertEqual(outer.name, "handle_invocation orders::create")
        self.assertEqual(inner.name, "call orders::create")
        self.assertEqual(outer.parent_span_id, PARENT[36:52])
        self.assertEqual(inner.parent_span_id, outer.span_id)
        self.assertEqual(
            (outer.trace_id, outer.service_name, outer.kind), (TRACE, "shop", "server")
        )
        self.assertEqual(
            dict(outer.attributes),
            {
                "worker_id": "caller",
                "function_id": "orders::create",
                "invocation_id": "invocation",
                "iii.function.kind": "user",
            },
        )
        self.assertEqual(
            dict(inner.attributes),
            {
                "faas.invoked_name": "orders::create",
                "faas.trigger": "other",
                "function_id": "orders::create",
                "invocation_id": "invocation",
                "iii.function.kind": "user",
                "iii.worker.id": "runner",
            },
        )

    def test_a_call_of_the_engine_itself_is_one(self) -> None:
        (only,) = self.maker.spans(call(received=None, worker=None, function="engine::x"))

        self.assertEqual((only.name, only.parent_span_id), ("call engine::x", None))
        self.assertEqual(dict(only.attributes)["iii.function.kind"], "internal")
        self.assertNotIn("iii.worker.id", dict(only.attributes))

    def test_an_error_is_an_event(self) -> None:
        for made in self.maker.spans(call(error=("E", "boom", "line 1"))):
            self.assertEqual((made.status, made.status_description), ("error", "boom"))
            (event,) = made.events
            self.assertEqual(event.name, "exception")
            self.assertEqual(event.timestamp_unix_nano, made.end_ns)
            self.assertEqual(
                dict(event.attributes),
                {
                    "exception.type": "E",
                    "exception.message": "boom",
                    "exception.stacktrace": "line 1",
                },
            )

    def test_times_are_the_same_whenever_a_span_is_made(self) -> None:
        first = self.maker.spans(call())
        self.wall += 0.0005  # the clocks are never read at the same instant

        self.assertEqual(self.maker.spans(call()), first)
        self.assertEqual(first[0].start_ns, 1_001 * 10**9)
        self.assertEqual(first[0].duration_ns, 250_000_000)

    def test_a_clock_that_was_set_counts_from_then_on(self) -> None:
        before = self.maker.offset_ns
        self.wall += 3_600

        (late, _) = self.maker.spans(call())
        self.assertEqual(late.start_ns, 4_601 * 10**9)
        (early, _) = self.maker.spans(call(), before)
        self.assertEqual(early.start_ns, 1_001 * 10**9)

    def test_what_is_read_without_making_spans_is_what_they_say(self) -> None:
        other = ("GET /a", "server", PARENT, OUTER, 1.0, 1.5, False, None, (("k", "n"), "v", 5))
        for record in (
            call(),
            call(parent=PARENT, error=("E", "m", None)),
            call(received=None, function="engine::x"),
            other,
            (*other[:6], None, None, ()),
        ):
            offset_ns = self.maker.offset_ns
            spans = self.maker.spans(record)
            self.assertEqual(of.parts_of(record), len(spans))
            for part, made in enumerate(spans):
                for item, at in ((record, part), (made, 0)):
                    self.assertEqual(of.keys_of(item, at), of.keys_of(made, 0))
                    self.assertEqual(of.trace_of(item), made.trace_id)
                    self.assertEqual(of.name(item, at), made.name)
                    self.assertEqual(of.status(item), made.status)
                    self.assertEqual(of.service(item, self.maker), made.service_name)
                    self.assertEqual(of.start_ns(item, offset_ns), made.start_ns)
                    self.assertEqual(of.end_ns(item, offset_ns), made.end_ns)
                    self.assertAlmostEqual(of.duration_ms(item), made.duration_ns / 1e6, places=3)
                    self.assertEqual(
                        of.is_internal(item, self.maker), of.is_internal(made, self.maker)
                    )
                    for name, value in made.attributes:
                        self.assertEqual(of.attribute(item, at, name, self.maker), value)
                        self.assertTrue(of.has(item, at, (name, value), self.maker))
                    self.assertIsNone(of.attribute(item, at, "absent", self.maker))


class Urls(SynchronousTestCase):
    """05 "better" 21: a URL's query is a place where people put secrets."""

    def test_values_are_redacted_by_their_names(self) -> None:
        clock = Clock.virtual(task.Clock())
        maker = SpanMaker(settings_of(ObservabilityConfig(), {}), clock)
        names = ("url.path", "url.query", "url.scheme", "server.address")
        values = ("/x", "a=1&api%5Fkey=hunter2&Password=b&flag", "http", "h")
        fields = ("GET /x", "server", None, OUTER, 0.0, 1.0, True, None, (names, *values))
        (span,) = maker.spans(fields)
        said = dict(span.attributes)
        query = "a=1&api%5Fkey=[REDACTED]&Password=[REDACTED]&flag"
        self.assertEqual(said["url.query"], query)
        self.assertEqual(said["url.full"], f"http://h/x?{query}")
