"""What the engine records of calls (05 A8)."""

from __future__ import annotations

from typing import Any

from iii.engine.tracecontext import span_id, trace_id
from iii.engine.tracing import BATCH_RECORDS, CallRecord, SpanRecord, record_of
from tests.support.engine_case import EngineCase
from tests.support.probes import probe

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
UNSAMPLED = f"00-{'ab' * 16}-{'cd' * 8}-00"


class TracingCase(EngineCase):
    """Everything recorded is in ``records``."""

    async def setUp(self) -> None:
        await super().setUp()
        self.records: list[tuple[Any, ...]] = []
        self.tracing = self.engine.invocations.tracing
        self.tracing.sink = self.records.extend
        self.callee = await self.worker("f")
        self.caller = await self.worker()

    def calls(self, function_id: str = "f") -> list[CallRecord]:
        """What was recorded of calls of ``function_id``."""
        self.tracing.flush()
        made = [record_of(fields) for fields in self.records]
        return [
            record
            for record in made
            if isinstance(record, CallRecord) and record.function_id == function_id
        ]

    async def call(self, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """One call of ``f``: what the callee got, and the answer."""
        id = self.caller.invoke("f", {}, **fields)
        call = await self.callee.answer("f", result=1)
        return call, await self.caller.result_of(id)


class Calls(TracingCase):
    """Contexts of calls between workers."""

    @probe("05.43")
    async def test_the_callee_gets_a_context_of_the_same_trace(self) -> None:
        """And so do its own calls; the caller is told the context of the engine's part."""
        call, answer = await self.call(traceparent=PARENT)
        (record,) = self.calls()
        self.assertEqual(trace_id(call["traceparent"]), trace_id(PARENT))
        self.assertNotEqual(span_id(call["traceparent"]), span_id(PARENT))
        self.assertEqual(record.parent, PARENT)
        self.assertEqual(record.context, call["traceparent"])
        self.assertEqual(record.received, answer["traceparent"])
        self.assertNotEqual(record.received, record.context)
        nested, _ = await self.call(traceparent=call["traceparent"])
        self.assertEqual(trace_id(nested["traceparent"]), trace_id(PARENT))

    async def test_without_a_context_a_trace_begins(self) -> None:
        first, _ = await self.call()
        second, _ = await self.call()
        self.assertNotEqual(trace_id(first["traceparent"]), trace_id(second["traceparent"]))
        self.assertEqual([record.parent for record in self.calls()], [None, None])

    @probe("05.44")
    async def test_an_invalid_context_is_a_new_trace_and_baggage_stays(self) -> None:
        call, _ = await self.call(traceparent="00-nonsense", baggage="k=v")
        self.assertEqual(call["baggage"], "k=v")
        self.assertEqual(len(call["traceparent"]), 55)
        self.assertIsNone(self.calls()[0].parent)

    async def test_empty_baggage_is_none(self) -> None:
        """05 A15 0.22.1."""
        call, answer = await self.call(traceparent=PARENT, baggage="")
        self.assertNotIn("baggage", call)
        self.assertNotIn("baggage", answer)

    async def test_who_called_and_who_ran_it_is_recorded(self) -> None:
        await self.call()
        (record,) = self.calls()
        self.assertEqual((record.caller, record.worker), (self.caller.id, self.callee.id))
        self.assertLessEqual(record.started, record.ended)
        self.assertIsNone(record.error)

    async def test_an_error_is_recorded_with_its_stack(self) -> None:
        id = self.caller.invoke("f", {})
        error = {"code": "E", "message": "boom", "stacktrace": "at f"}
        await self.callee.answer("f", error=error)
        await self.caller.result_of(id)
        self.assertEqual(self.calls()[0].error, ("E", "boom", "at f"))

    async def test_a_function_nobody_has_is_recorded(self) -> None:
        await self.caller.error_of("nobody")
        (record,) = self.calls("nobody")
        assert record.error is not None
        self.assertEqual(record.error[0], "function_not_found")
        self.assertIsNone(record.worker)

    async def test_a_callee_that_goes_away_ends_the_span(self) -> None:
        id = self.caller.invoke("f", {})
        await self.callee.invoked("f")
        await self.callee.leave()
        await self.caller.result_of(id)
        error = self.calls()[0].error
        assert error is not None
        self.assertEqual(error[0], "invocation_stopped")


class NotRecorded(TracingCase):
    """What is not recorded costs no record and passes contexts on."""

    async def test_an_unsampled_trace_goes_on_unsampled(self) -> None:
        call, answer = await self.call(traceparent=UNSAMPLED)
        self.assertEqual(self.calls(), [])
        self.assertEqual(trace_id(call["traceparent"]), trace_id(UNSAMPLED))
        self.assertTrue(call["traceparent"].endswith("-00"))
        self.assertTrue(answer["traceparent"].endswith("-00"))

    async def test_a_new_trace_may_be_left_out(self) -> None:
        asked: list[str] = []

        def sample(name: str, trace_id: str) -> bool:
            asked.append(name)
            return False

        self.tracing.sample = sample
        call, _ = await self.call()
        self.assertEqual(asked, ["handle_invocation f"])
        self.assertTrue(call["traceparent"].endswith("-00"))
        self.assertEqual(self.calls(), [])

    async def test_without_a_sink_contexts_are_untouched(self) -> None:
        self.tracing.sink = None
        call, answer = await self.call(traceparent=PARENT, baggage="k=v")
        self.assertEqual((call["traceparent"], call["baggage"]), (PARENT, "k=v"))
        self.assertEqual(answer["traceparent"], PARENT)
        call, answer = await self.call()
        self.assertNotIn("traceparent", call)
        self.assertNotIn("traceparent", answer)


class Batches(TracingCase):
    """Records are handed on together."""

    async def test_a_full_list_is_handed_on(self) -> None:
        self.tracing.flush()
        self.records.clear()
        context = self.tracing.context(None, "x")
        for _ in range(BATCH_RECORDS):
            self.tracing.span("x", "internal", None, context, 0.0, None)
        self.assertEqual(len(self.records), BATCH_RECORDS)

    async def test_somebody_is_told_of_the_first(self) -> None:
        told: list[int] = []
        self.tracing.flush()
        self.tracing.gathering = lambda: told.append(1)
        context = self.tracing.context(None, "x")
        for _ in range(3):
            self.tracing.span("x", "internal", None, context, 0.0, True)
        self.assertEqual(len(told), 1)
        self.tracing.flush()
        self.tracing.span("x", "internal", None, context, 0.0, True)
        self.assertEqual(len(told), 2)

    async def test_a_span_has_its_names_back(self) -> None:
        self.tracing.flush()
        self.records.clear()
        context = self.tracing.context(PARENT, "x")
        attributes = (("n",), 1)
        self.tracing.span("x", "server", PARENT, context, 1.5, False, ("c", "m", None), attributes)
        self.tracing.flush()
        record = record_of(self.records[0])
        assert isinstance(record, SpanRecord)
        self.assertEqual(
            (record.name, record.kind, record.parent, record.context, record.started, record.ok),
            ("x", "server", PARENT, context, 1.5, False),
        )
        self.assertEqual((record.error, record.attributes), (("c", "m", None), attributes))


class Counts(TracingCase):
    """05 A9: outcomes are counted when they are known, with or without traces."""

    async def test_each_call_once(self) -> None:
        self.tracing.sink = None
        await self.call()
        id = self.caller.invoke("f", {})
        await self.callee.answer("f", error={"code": "E", "message": "m"})
        await self.caller.result_of(id)
        counts = self.engine.invocations.counts.of("f")
        self.assertEqual((counts.started, counts.dispatched), (2, 2))
        self.assertEqual((counts.succeeded.count, counts.failed.count), (1, 1))
        self.assertEqual(counts.errors, {"E": 1})

    async def test_functions_of_the_engine_are_not_dispatched(self) -> None:
        await self.caller.call("engine::workers::list", {})
        counts = self.engine.invocations.counts.of("engine::workers::list")
        self.assertEqual((counts.started, counts.dispatched, counts.succeeded.count), (1, 0, 1))
