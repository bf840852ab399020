"""Spans of triggers of the state (05 A8): below the call that has written."""

from __future__ import annotations

from iii.modules.state import StateConfig
from tests.state.cases import StateCase
from tests.support.recording import Recording

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ITEM = {"scope": "s", "key": "k"}


class TracedCase(StateCase):
    """Everything is recorded."""

    def prepare(self) -> None:
        """StateCase: and record."""
        super().prepare()
        self.recording = Recording(self.engine)


class Triggers(TracedCase):
    """``state_triggers``, with the calls of the handlers inside."""

    async def test_every_write_fires_below_its_call(self) -> None:
        hook = await self.hooked({"scope": "s"})
        writes = (
            ("state::set", {"value": 1}),
            ("state::update", {"ops": [{"type": "increment", "path": "", "by": 1}]}),
            ("state::delete", {}),
        )
        for number, (write, more) in enumerate(writes):
            trace = f"{number:032x}".replace("0", "a", 1)
            parent = f"00-{trace}-b7ad6b7169203331-01"
            await self.caller.call(write, {**ITEM, **more}, traceparent=parent)
            call = await hook.answer("hook")
            await hook.settled()
            self.assertEqual(
                self.recording.tree(trace),
                [
                    f"handle_invocation {write}",
                    f"  call {write}",
                    "    state_triggers",
                    "      call hook",
                ],
            )
            self.assertEqual(call["traceparent"][3:35], trace)

    async def test_all_handlers_and_conditions_are_in_one_span(self) -> None:
        hook = await self.hooked({"condition_function_id": "check"})
        await hook.register("check", "other")
        await hook.trigger("state", "other", {"scope": "s"})
        await self.caller.call("state::set", {**ITEM, "value": 1}, traceparent=PARENT)
        for function in ("check", "other", "hook"):
            await hook.answer(function, result=True)
        await hook.settled()
        spans = self.recording.spans
        above = self.recording.one("state_triggers").context
        self.assertEqual(
            sorted(span.name for span in spans if span.parent == above),
            ["call check", "call hook", "call other"],
        )

    async def test_what_the_span_says(self) -> None:
        await self.hooked()
        await self.set("k", 1)
        span = self.recording.one("state_triggers")
        self.assertEqual((span.kind, span.ok, span.attributes), ("internal", None, {}))

    async def test_without_a_trigger_that_wants_it_there_is_no_span(self) -> None:
        await self.hooked({"scope": "another"})
        await self.set("k", 1)
        self.assertEqual(self.recording.named("state_triggers"), [])

    async def test_baggage_goes_on(self) -> None:
        hook = await self.hooked()
        await self.caller.call("state::set", {**ITEM, "value": 1}, baggage="k=v")
        self.assertEqual((await hook.invoked("hook"))["baggage"], "k=v")

    async def test_what_is_not_recorded_stays_so(self) -> None:
        hook = await self.hooked()
        parent = f"{PARENT[:-2]}00"
        await self.caller.call("state::set", {**ITEM, "value": 1}, traceparent=parent)
        call = await hook.answer("hook")
        await hook.settled()
        self.assertEqual(self.recording.spans, [])
        self.assertEqual((call["traceparent"][3:35], call["traceparent"][-3:]), (TRACE, "-00"))


class Off(StateCase):
    """05 A8.1: without tracing contexts are passed on as they are."""

    async def test_the_handler_gets_the_context_of_the_writer(self) -> None:
        hook = await self.hooked()
        await self.caller.call("state::set", {**ITEM, "value": 1}, traceparent=PARENT)
        self.assertEqual((await hook.invoked("hook"))["traceparent"], PARENT)
        await self.set("k", 2)
        self.assertNotIn("traceparent", await hook.invoked("hook"))


class Disabled(TracedCase):
    """``triggers_enabled: false``."""

    settings = StateConfig(triggers_enabled=False)

    async def test_nothing_is_fired_and_nothing_recorded(self) -> None:
        await self.hooked()
        await self.set("k", 1)
        self.assertEqual(self.recording.named("state_triggers"), [])
