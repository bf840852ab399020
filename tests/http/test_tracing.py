"""Requests as spans and figures (05 A8, A10)."""

from __future__ import annotations

from typing import Any

from iii.engine.callcounts import Durations
from iii.engine.tracecontext import span_id, trace_id
from iii.engine.tracing import CallRecord, SpanRecord, record_of
from iii.modules.http import figures
from tests.http.support import Fast, HttpCase, Stock, fails, later
from tests.support.probes import probe

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
UNSAMPLED = f"00-{'ab' * 16}-{'cd' * 8}-00"


class TracingCase(HttpCase):
    """Everything recorded is in ``records``."""

    def setUp(self) -> None:
        super().setUp()
        self.records: list[tuple[Any, ...]] = []
        self.engine.invocations.tracing.sink = self.records.extend

    def recorded(self) -> tuple[list[SpanRecord], list[CallRecord]]:
        """Spans of requests, and calls."""
        self.engine.invocations.tracing.flush()
        made = [record_of(fields) for fields in self.records]
        spans = [record for record in made if isinstance(record, SpanRecord)]
        calls = [record for record in made if isinstance(record, CallRecord)]
        return spans, calls

    def figure(self, name: str) -> dict[tuple[str, ...], Any]:
        """What an instrument reads."""
        (instrument,) = (one for one in self.engine.instruments if one.name == name)
        return dict(instrument.read())


class Tracing:
    """Requests and what they cause."""

    @probe("05.42")
    async def test_the_callers_trace_goes_on(self) -> None:
        """The call is a child of the request, which is a child of the caller's span."""
        worker = self.worker()
        worker.route("orders/:id", {"body": 1})
        await self.request("GET", "/orders/7?a=1", None, [("traceparent", PARENT)])
        ((span,), (call,)) = self.recorded()
        self.assertEqual(trace_id(worker.calls[0].traceparent), trace_id(PARENT))
        self.assertEqual(span.parent, PARENT)
        self.assertEqual(call.parent, span.context)
        self.assertEqual(call.context, worker.calls[0].traceparent)
        self.assertEqual(len({span_id(each) for each in (PARENT, span.context, call.context)}), 3)

    async def test_a_span_says_what_was_asked_and_answered(self) -> None:
        self.worker().route("orders/:id", {"status_code": 201, "body": 1}, "POST")
        headers = [("Content-Type", "application/json"), ("User-Agent", "me")]
        await self.request("POST", "/orders/7?a=1", b'{"a":1}', headers)
        ((span,), _) = self.recorded()
        names, *values = span.attributes
        said = dict(zip(names, values, strict=True))
        self.assertEqual((span.name, span.kind, span.ok), ("POST /orders/:id", "server", True))
        self.assertEqual(said["http.route"], "/orders/:id")
        self.assertEqual((said["url.path"], said["url.query"]), ("/orders/7", "a=1"))
        self.assertEqual(said["http.response.status_code"], 201)
        self.assertEqual(said["http.request.body.size"], 7)
        self.assertEqual(said["user_agent.original"], "me")
        self.assertEqual(said["http.request.header.content_type"], "application/json")

    async def test_without_a_context_each_request_is_a_trace(self) -> None:
        self.worker().route("x", {"body": 1})
        await self.request("GET", "/x")
        await self.request("GET", "/x", None, [("traceparent", "nonsense")])
        spans, _ = self.recorded()
        self.assertEqual([span.parent for span in spans], [None, None])
        self.assertEqual(len({trace_id(span.context) for span in spans}), 2)

    async def test_what_the_caller_does_not_record_is_not_recorded(self) -> None:
        worker = self.worker()
        worker.route("x", {"body": 1})
        await self.request("GET", "/x", None, [("traceparent", UNSAMPLED)])
        self.assertEqual(self.recorded(), ([], []))
        self.assertTrue(worker.calls[0].traceparent.endswith("-00"))

    async def test_when_nothing_is_recorded_the_context_goes_through(self) -> None:
        self.engine.invocations.tracing.sink = None
        worker = self.worker()
        worker.route("x", {"body": 1})
        await self.request("GET", "/x", None, [("traceparent", PARENT)])
        self.assertEqual(worker.calls[0].traceparent, PARENT)

    async def test_only_2xx_is_ok(self) -> None:
        """05 A8; an error of the function is told with its code."""
        worker = self.worker()
        worker.route("moved", {"status_code": 302})
        worker.route("bad", fails("E", "boom"))
        await self.request("GET", "/moved")
        await self.request("GET", "/bad")
        (moved, bad), _ = self.recorded()
        self.assertEqual((moved.ok, moved.error), (False, None))
        assert bad.error is not None
        self.assertEqual((bad.ok, bad.error[:2]), (False, ("E", "boom")))

    async def test_what_no_route_takes_is_an_error(self) -> None:
        self.worker().route("x", {"body": 1})
        await self.request("GET", "/none/at/all")
        await self.request("POST", "/x")
        (missing, refused), _ = self.recorded()
        self.assertEqual((missing.name, missing.ok), ("GET /none/at/all", False))
        assert missing.error is not None and refused.error is not None
        self.assertEqual(missing.error[0], "route_not_found")
        self.assertEqual(refused.error[0], "method_not_allowed")

    async def test_conditions_and_middleware_are_asked_inside(self) -> None:
        worker = self.worker()
        worker.function("cond", lambda worker, call: worker.answer(call, True))
        worker.route("x", {"body": 1}, condition_function_id="cond")
        await self.request("GET", "/x")
        (span,), calls = self.recorded()
        self.assertEqual([call.function_id for call in calls], ["cond", "w1.GET x"])
        self.assertEqual({call.parent for call in calls}, {span.context})

    async def test_answers_are_counted_by_route_and_status(self) -> None:
        worker = self.worker()
        worker.route("a/:id", {"body": 1})
        worker.route("bad", fails("E", "boom"))
        for path in ("/a/1", "/a/2", "/bad", "/none", "/none/either"):
            await self.request("GET", path)
        self.assertEqual(
            self.figure("iii_http_requests_total"),
            {
                ("GET", "/a/:id", "200"): 2,
                ("GET", "/bad", "500"): 1,
                ("GET", figures.NO_ROUTE, "404"): 2,
            },
        )
        durations = self.figure("iii_http_request_duration_seconds")
        assert isinstance(durations["GET", "/a/:id"], Durations)
        self.assertEqual(durations["GET", "/a/:id"].count, 2)

    async def test_routes_beyond_the_bound_are_one(self) -> None:
        self.patch(figures, "MAX_COUNTED_ROUTES", 1)
        worker = self.worker()
        worker.route("a", {"body": 1})
        worker.route("b", {"body": 1})
        await self.request("GET", "/a")
        await self.request("GET", "/b")
        self.assertEqual(
            set(self.figure("iii_http_requests_total")),
            {("GET", "/a", "200"), ("__other__", "__other__", "200")},
        )

    async def test_a_stream_lasts_until_its_end(self) -> None:
        worker = self.worker()
        worker.route("s", later)
        client = await self.send("GET", "/s")
        await self.until(lambda: worker.calls)
        writer = worker.writer(worker.calls[0])
        writer.write(b"one")
        await client.until(b"one")
        self.assertEqual(self.recorded()[0], [])
        self.time.advance(0.5)
        writer.close()
        await client.response()
        (span,), _ = self.recorded()
        self.assertTrue(span.ok)
        self.assertGreaterEqual(span.ended - span.started, 0.5)

    async def test_a_client_that_goes_is_told(self) -> None:
        worker = self.worker()
        worker.route("s", later)
        client = await self.send("GET", "/s")
        await self.until(lambda: worker.calls)
        client.close()
        await self.until(lambda: self.recorded()[0])
        (span,), _ = self.recorded()
        assert span.error is not None
        self.assertEqual((span.ok, span.error[0]), (False, "client_gone"))
        self.assertEqual(self.figure("iii_http_requests_total"), {("GET", "/s", "499"): 1})


class Unmatched(Fast, TracingCase):
    """Requests that only ``not_found_function`` takes."""

    config = {"not_found_function": "lost"}

    async def test_they_are_no_routes(self) -> None:
        """Clients make up paths, and each would be counted for ever; a span has its own."""
        self.worker().function("lost", lambda worker, call: worker.answer(call, {"body": 1}))
        await self.request("GET", "/made/up")
        await self.request("GET", "/another")
        self.assertEqual(
            self.figure("iii_http_requests_total"), {("GET", figures.NO_ROUTE, "404"): 2}
        )
        spans, calls = self.recorded()
        self.assertEqual([span.name for span in spans], ["GET /made/up", "GET /another"])
        self.assertEqual([call.parent for call in calls], [span.context for span in spans])


class TracingFast(Fast, Tracing, TracingCase):
    """Through the module's own server."""


class TracingStock(Stock, Tracing, TracingCase):
    """Through twisted.web."""
