"""Spans of streams (05 A8): triggers and providers are below the call that needs them."""

from __future__ import annotations

from tests.stream.cases import GROUP, STREAM, StreamCase
from tests.support.recording import Recording

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ITEM = {"stream_name": STREAM, "group_id": GROUP, "item_id": "i"}


class TracedCase(StreamCase):
    """Everything is recorded."""

    def prepare(self) -> None:
        """StreamCase: and record."""
        super().prepare()
        self.recording = Recording(self.engine)


class Triggers(TracedCase):
    """``stream_triggers``, with the calls of the handlers inside."""

    async def test_every_event_is_told_below_its_call(self) -> None:
        hook = await self.hooked()
        calls = (
            ("stream::set", {**ITEM, "data": 1}),
            ("stream::update", {**ITEM, "ops": [{"type": "increment", "path": "", "by": 1}]}),
            ("stream::delete", ITEM),
            ("stream::send", {"stream_name": STREAM, "group_id": GROUP, "type": "t", "data": 1}),
        )
        for number, (function, data) in enumerate(calls):
            trace = f"{number:032x}".replace("0", "a", 1)
            parent = f"00-{trace}-b7ad6b7169203331-01"
            await self.caller.call(function, data, traceparent=parent, baggage="k=v")
            call = await hook.answer("hook")
            await hook.settled()
            self.assertEqual(
                self.recording.tree(trace),
                [
                    f"handle_invocation {function}",
                    f"  call {function}",
                    "    stream_triggers",
                    "      call hook",
                ],
            )
            self.assertEqual((call["traceparent"][3:35], call["baggage"]), (trace, "k=v"))

    async def test_without_a_trigger_that_wants_it_there_is_no_span(self) -> None:
        await self.hooked({"stream_name": "another"})
        await self.subscriber()
        await self.set("i", 1)
        self.assertEqual(self.recording.named("stream_triggers"), [])

    async def test_what_follows_from_recordings_is_not_recorded(self) -> None:
        """04, 0.21.5: else a trigger on what is recorded would feed itself."""
        hook = await self.hooked()
        await self.set("i", 1, stream="iii:devtools:trace-rows", group="all")
        call = await hook.answer("hook")
        await hook.settled()
        self.assertTrue(call["traceparent"].endswith("-00"))
        self.assertEqual(self.recording.named("stream_triggers"), [])
        self.assertEqual(self.recording.named("call hook"), [])


class Provided(TracedCase):
    """A stream that a worker keeps itself."""

    async def test_its_provider_is_called_below_the_call(self) -> None:
        provider = await self.worker(f"stream::set({STREAM})", f"stream::get({STREAM})")
        for operation, data in (("set", {**ITEM, "data": 1}), ("get", ITEM)):
            trace = f"{TRACE[:-3]}{operation.encode().hex()[:3]}"
            parent = f"00-{trace}-b7ad6b7169203331-01"
            id = self.caller.invoke(f"stream::{operation}", data, traceparent=parent)
            await provider.answer(f"stream::{operation}({STREAM})", result=None)
            await self.caller.result_of(id)
            self.assertEqual(
                self.recording.tree(trace),
                [
                    f"handle_invocation stream::{operation}",
                    f"  call stream::{operation}",
                    f"    call stream::{operation}({STREAM})",
                ],
            )


class Off(StreamCase):
    """05 A8.1: without tracing contexts are passed on as they are."""

    async def test_the_handler_gets_the_context_of_the_writer(self) -> None:
        hook = await self.hooked()
        await self.caller.call("stream::set", {**ITEM, "data": 1}, traceparent=PARENT)
        self.assertEqual((await hook.invoked("hook"))["traceparent"], PARENT)
        await self.set("i", 2)
        self.assertNotIn("traceparent", await hook.invoked("hook"))
