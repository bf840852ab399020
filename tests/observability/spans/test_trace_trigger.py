"""The trigger type ``trace``."""

from __future__ import annotations

from typing import Any

from iii.modules.observability.hub import HAND_ON_S
from iii.modules.observability.spans.trace_trigger import GATHER_S, MAX_TOLD_TRACES
from tests.observability.spans.cases import SpansCase, span
from tests.support.engine_case import RawWorker


class TraceTrigger(SpansCase):
    """05 A15 0.19.0: functions are told which traces have something new."""

    async def setUp(self) -> None:
        await super().setUp()
        self.handler = await self.worker("hook")

    async def later(self) -> None:
        """Everything recorded so far has been told."""
        await self.client.settled()
        self.time.advance(HAND_ON_S)
        self.time.advance(GATHER_S)
        await self.handler.settled()

    async def told(self, handler: RawWorker | None = None) -> list[list[str]]:
        """The trace ids of every event so far; its calls are answered."""
        handler = handler or self.handler
        await self.later()
        await handler.settled()
        calls = [message for message in handler.inbox if message["type"] == "invokefunction"]
        handler.inbox.clear()
        for call in calls:
            handler.reply(call, result=None)
        await handler.settled()
        return [call["data"]["trace_ids"] for call in calls]

    async def test_traces_of_some_time_are_told_together(self) -> None:
        await self.handler.trigger("trace", "hook")
        self.ingest(span("1", trace="a"), span("2", trace="b"))
        self.ingest(span("3", trace="a"))
        self.time.advance(GATHER_S - 0.01)
        await self.handler.settled()
        self.assertEqual(self.handler.inbox, [])

        self.time.advance(0.01)
        call = await self.handler.invoked("hook")
        self.assertEqual(call["data"], {"trace_ids": ["a", "b"]})

    async def test_service_and_status_match_exactly_in_any_case(self) -> None:
        for config, expected in (
            ({"service_name": "ORDERS"}, [["a", "b"]]),
            ({"service_name": "order"}, []),
            ({"status": "Error"}, [["b", "c"]]),
            ({"service_name": "orders", "status": "error"}, [["b"]]),
            ({"service_name": "", "status": None}, [["a", "b", "c"]]),
        ):
            id = await self.handler.trigger("trace", "hook", config)
            self.ingest(
                span("1", trace="a", service="Orders", status="ok"),
                span("2", trace="b", service="orders", status="error"),
                span("3", trace="c", service="other", status="error"),
            )
            self.assertEqual(await self.told(), expected, config)
            self.handler.send("unregistertrigger", id=id, trigger_type="trace")
            await self.handler.settled()

    async def test_calls_are_told(self) -> None:
        await self.handler.trigger("trace", "hook")
        await self.call_worker("orders::create")

        (root,) = await self.rows()
        self.assertEqual(await self.told(), [[root["trace_id"]]])

    async def test_metadata_goes_along(self) -> None:
        await self.handler.trigger("trace", "hook", metadata={"m": 1})
        self.ingest(span("1"))
        await self.later()

        call = await self.handler.invoked("hook")
        self.assertEqual(call["metadata"], {"m": 1})

    async def test_a_condition_is_asked_first(self) -> None:
        await self.handler.register("check")
        await self.handler.trigger("trace", "hook", {"condition_function_id": "check"})
        self.ingest(span("1"))
        await self.later()
        await self.handler.answer("check", result=False)

        self.assertEqual(await self.told(), [])

    async def test_what_a_handler_does_is_not_told(self) -> None:
        await self.handler.trigger("trace", "hook")
        self.ingest(span("1", trace="a"))
        await self.later()
        call = await self.handler.invoked("hook")
        # It calls another function, as part of what it does, and its SDK sends a span of it.
        other = await self.worker("other")
        context = call["traceparent"]
        self.assertEqual(context[-2:], "00")
        nested = self.handler.invoke("other", {}, traceparent=context)
        await other.answer("other", result=1)
        await self.handler.result_of(nested)
        self.ingest(span("9", trace=context[3:35]))
        self.handler.reply(call, result=None)

        self.assertEqual(await self.told(), [])
        self.assertEqual(await self.names(search_all_spans=True, name="hook"), [])

    async def test_two_handlers_do_not_set_each_other_off(self) -> None:
        other = await self.worker("other")
        await self.handler.trigger("trace", "hook")
        await other.trigger("trace", "other")
        self.ingest(span("1", trace="a"))

        self.assertEqual(await self.told(), [["a"]])
        self.assertEqual(await self.told(other), [["a"]])
        self.assertEqual(await self.told(), [])
        self.assertEqual(await self.told(other), [])

    async def test_internal_spans_and_spans_under_way_are_not_told(self) -> None:
        await self.handler.trigger("trace", "hook")
        await self.client.call("engine::functions::list", {})
        self.ingest(
            span("1", trace="a", end_ns=0),
            span("2", trace="b", attributes=[("iii.function.kind", "internal")]),
        )

        self.assertEqual(await self.told(), [])

    async def test_what_was_before_the_trigger_is_no_news(self) -> None:
        await self.call_worker("orders::create")
        await self.handler.trigger("trace", "hook")

        self.assertEqual(await self.told(), [])

    async def test_very_many_traces_are_told_in_several_events(self) -> None:
        await self.handler.trigger("trace", "hook")
        self.ingest(*(span("1", trace=f"t{n}") for n in range(MAX_TOLD_TRACES + 1)))

        self.assertEqual([len(ids) for ids in await self.told()], [MAX_TOLD_TRACES, 1])

    async def test_nothing_is_looked_at_without_a_trigger(self) -> None:
        def listeners() -> Any:
            hub = self.hub
            return len(hub._on_records), len(hub._on_ingested), len(hub._on_spans)

        before = listeners()
        id = await self.handler.trigger("trace", "hook")
        self.assertNotEqual(listeners(), before)
        self.ingest(span("1"))
        self.handler.send("unregistertrigger", id=id, trigger_type="trace")
        await self.handler.settled()

        self.assertEqual(listeners(), before)
        self.assertEqual(await self.told(), [])

    async def test_a_wrong_configuration_is_refused(self) -> None:
        self.handler.send(
            "registertrigger",
            id="t",
            trigger_type="trace",
            function_id="hook",
            config={"status": 5},
        )
        answer = await self.handler.expect("triggerregistrationresult")

        self.assertEqual(answer["error"]["code"], "trigger_registration_failed")
