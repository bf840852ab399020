"""Spans of the engine's own events (05 A8): ``trigger <function_id>``."""

from __future__ import annotations

from iii.engine.invocations import ErrorBody
from tests.engine.cases import CoreCase
from tests.support.recording import Recording


class EventSpans(CoreCase):
    """``engine::workers-available`` and its like."""

    with_core_functions = True

    def setUp(self) -> None:
        super().setUp()
        self.recording = Recording(self.engine)
        self.listener = self.worker("seen")

    def test_each_is_a_trace_with_the_call_inside(self) -> None:
        self.bound(self.listener, "engine::workers-available", "seen")
        self.worker()
        [call] = self.link(self.listener).calls
        self.engine.invocations.finish(self.listener, call.id, None, None)
        span = self.recording.one("trigger seen")
        self.assertEqual((span.kind, span.parent, span.ok), ("internal", None, True))
        self.assertEqual(self.recording.tree(span.trace), ["trigger seen", "  call seen"])
        self.assertEqual(self.recording.one("call seen").context, call.traceparent)

    def test_it_fails_with_its_function(self) -> None:
        self.bound(self.listener, "engine::functions-available", "seen")
        self.worker("another")
        self.ticks.advance(1)
        [call] = self.link(self.listener).calls
        self.engine.invocations.finish(self.listener, call.id, None, ErrorBody("oops", "no"))
        span = self.recording.one("trigger seen")
        self.assertEqual((span.ok, span.error), (False, ("oops", "no", None)))
