"""How events reach the functions of their triggers (``iii.engine.fanout``)."""

from __future__ import annotations

from typing import Any

from twisted.logger import globalLogPublisher

from iii.engine import fanout
from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.invocations import Call, ErrorBody
from iii.engine.module import ModuleApi
from tests.engine.cases import CoreCase, raw, value

KIB = 1024


class FanoutCase(CoreCase):
    """One worker with a handler and a condition, one binding, one fan-out."""

    def setUp(self) -> None:
        super().setUp()
        self.provider = self.module_type("demo", shared=False)
        self.host = self.worker("handler", "condition")
        self.fanout = Fanout(ModuleApi(self.engine, "iii-demo"), "demo")
        self.binding = self.bind_to("handler")
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._observe)
        self.addCleanup(globalLogPublisher.removeObserver, self._observe)

    def _observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "iii.engine.fanout":
            self.lines.append(event["log_format"].format(**event))

    def bind_to(self, function: str, **more: Any) -> Binding:
        binding = self.bound(self.host, "demo", function, **more).binding
        assert binding is not None
        return binding

    def send(self, *events: Any, condition: str | None = None) -> None:
        """Deliver ``events`` to the binding."""
        for event in events:
            self.fanout.deliver(self.binding, condition, raw(event))

    def calls(self, function: str = "handler") -> list[Call]:
        """The running calls of ``function``, oldest first."""
        return [
            call
            for call in self.link(self.host).calls
            if call.function_id == function and call.id in self.host.executing
        ]

    def inputs(self, function: str = "handler") -> list[Any]:
        """What those calls were given."""
        return [value(call.data) for call in self.calls(function)]

    def end(self, call: Call, result: Any = None, error: ErrorBody | None = None) -> None:
        """The worker answers."""
        answer = None if result is None else raw(result)
        self.assertTrue(self.engine.invocations.finish(self.host, call.id, answer, error))

    def limit(self, **limits: Any) -> None:
        """Other bounds for one test."""
        for name, bound in limits.items():
            self.patch(fanout, name, bound)


class Delivering(FanoutCase):
    """04 §3.3: in the order of the events, without waiting for anybody."""

    def test_events_arrive_in_order_with_the_trigger_s_metadata(self) -> None:
        """None waits for the one before it."""
        self.binding = self.bind_to("handler", metadata=raw({"m": 1}))
        self.send(1, 2, 3)
        self.assertEqual(self.inputs(), [1, 2, 3])
        self.assertEqual([value(call.metadata) for call in self.calls()], [{"m": 1}] * 3)
        self.assertEqual(self.fanout.under_way, 3)
        for call in self.calls():
            self.end(call, "dropped")
        self.assertEqual(self.fanout.under_way, 0)

    def test_a_trace_goes_to_conditions_and_handlers(self) -> None:
        """Each event has its own, also after it has waited."""
        self.limit(MAX_RUNNING=2)
        for name in "abc":
            self.fanout.deliver(self.binding, None, raw(name), f"trace-{name}", f"who={name}")
        self.fanout.deliver(self.binding, "condition", raw("d"), "trace-d", "who=d")
        self.fanout.deliver(self.binding, "condition", raw("e"))
        seen: list[tuple[Any, ...]] = []
        while running := self.calls() + self.calls("condition"):
            call = running[0]
            seen.append((call.function_id, value(call.data), call.traceparent, call.baggage))
            self.end(call, True)
        self.assertEqual(
            sorted(seen),
            [
                ("condition", "d", "trace-d", "who=d"),
                ("condition", "e", None, None),
                ("handler", "a", "trace-a", "who=a"),
                ("handler", "b", "trace-b", "who=b"),
                ("handler", "c", "trace-c", "who=c"),
                ("handler", "d", "trace-d", "who=d"),
                ("handler", "e", None, None),
            ],
        )

    def test_a_slow_handler_delays_no_other_binding(self) -> None:
        """Even when it is full."""
        self.limit(MAX_RUNNING=1)
        self.offer(self.host, "other")
        other = self.bind_to("other")
        self.send(1, 2)
        self.fanout.deliver(other, None, raw("x"))
        self.assertEqual(self.inputs("other"), ["x"])

    def test_failures_are_logged_at_most_once_a_minute(self) -> None:
        """With how many there were."""
        failure = ErrorBody("BAD", "went wrong")
        self.send(*range(5))
        for call in self.calls():
            self.end(call, error=failure)
        self.assertEqual(len(self.lines), 1)
        self.assertIn("handler failed", self.lines[0])
        self.assertIn("BAD: went wrong", self.lines[0])
        self.ticks.advance(60)
        self.send("late")
        self.end(self.calls()[0], error=failure)
        self.assertEqual(len(self.lines), 2)
        self.assertIn("5 failure(s)", self.lines[1])

    def test_a_missing_handler_is_a_failure_like_any_other(self) -> None:
        """It is refused before the call returns."""
        self.binding = self.bind_to("nowhere")
        self.send(1, 2)
        self.assertEqual(self.fanout.under_way, 0)
        self.assertEqual(len(self.lines), 1)
        self.assertIn("function_not_found", self.lines[0])

    def test_a_worker_that_leaves_is_no_failure(self) -> None:
        """Its connection's end is logged elsewhere."""
        self.send(1)
        self.engine.worker_gone(self.host)
        self.assertEqual((self.fanout.under_way, self.lines), (0, []))


class Conditions(FanoutCase):
    """04 §3.3: only JSON false and failures hold the handler back."""

    def test_false_holds_back_and_anything_else_does_not(self) -> None:
        """Probe 04.10, without sockets."""
        outcomes: list[Any] = [False, None, 0, "", "false", {}, True]
        self.send(*range(len(outcomes)), condition="condition")
        for call, outcome in zip(self.calls("condition"), outcomes, strict=True):
            self.end(call, outcome)
        self.assertEqual(self.inputs(), [1, 2, 3, 4, 5, 6])
        self.assertEqual(self.fanout.under_way, 6)

    def test_null_does_not_hold_back(self) -> None:
        """Nor does false with white space around it count for anything else."""
        self.send("a", "b", condition="condition")
        one, two = self.calls("condition")
        self.engine.invocations.finish(self.host, one.id, raw(None), None)
        self.engine.invocations.finish(self.host, two.id, type(raw(0))(b" false "), None)
        self.assertEqual(self.inputs(), ["a"])

    def test_a_condition_that_fails_holds_back(self) -> None:
        """Because it can't be found, fails, or its worker is gone."""
        self.send(1, condition="nowhere")
        self.send(2, condition="condition")
        self.end(self.calls("condition")[0], error=ErrorBody("BAD", "no"))
        self.assertEqual((self.inputs(), self.fanout.under_way), ([], 0))
        self.assertIn("condition nowhere failed", self.lines[0])

    def test_verdicts_count_in_the_order_of_the_events(self) -> None:
        """The second condition answers first and waits for the first."""
        self.send("a", "b", "c", condition="condition")
        a, b, c = self.calls("condition")
        self.end(c, True)
        self.end(b, False)
        self.assertEqual(self.inputs(), [])
        self.end(a, True)
        self.assertEqual(self.inputs(), ["a", "c"])

    def test_a_condition_that_does_not_answer_in_time_holds_back(self) -> None:
        """And what came after it goes on."""
        self.send("a", "b", condition="condition")
        a, b = self.calls("condition")
        self.end(b, True)
        self.ticks.advance(29.9)
        self.assertEqual(self.inputs(), [])
        self.ticks.advance(0.2)
        self.assertEqual(self.inputs(), ["b"])
        self.end(a, True)
        self.assertEqual(self.inputs(), ["b"])

    def test_it_is_asked_in_the_trigger_s_namespace_with_its_metadata(self) -> None:
        """And given the event."""
        self.offer(self.host, "condition", "shop")
        self.binding = self.bind_to("handler", namespace="shop", metadata=raw({"m": 1}))
        self.send({"n": 1}, condition="condition")
        (asked,) = self.calls("condition")
        self.assertEqual(
            (asked.namespace, value(asked.metadata), value(asked.data)),
            ("shop", {"m": 1}, {"n": 1}),
        )


class Bounds(FanoutCase):
    """04 §14.17: a slow handler costs no more than so much memory."""

    def test_events_beyond_the_bound_wait_in_order(self) -> None:
        """One starts as one ends."""
        self.limit(MAX_RUNNING=2)
        self.send(*range(5))
        self.assertEqual(self.inputs(), [0, 1])
        self.assertEqual(self.fanout.under_way, 5)
        self.end(self.calls()[1])
        self.assertEqual(self.inputs(), [0, 2])
        self.send(5)
        for _ in range(5):
            self.end(self.calls()[0])
        self.assertEqual((self.inputs(), self.fanout.under_way), ([], 0))
        given = [call for call in self.link(self.host).calls if call.function_id == "handler"]
        self.assertEqual([value(call.data) for call in given], [0, 1, 2, 3, 4, 5])

    def test_conditions_count_as_running(self) -> None:
        """A condition that is slow piles up no calls either."""
        self.limit(MAX_RUNNING=2)
        self.send("a", "b", "c", condition="condition")
        self.assertEqual(self.inputs("condition"), ["a", "b"])
        self.end(self.calls("condition")[0], False)
        self.assertEqual(self.inputs("condition"), ["b", "c"])

    def test_the_oldest_waiting_event_goes_and_one_line_a_minute_tells(self) -> None:
        """The newest are what somebody still wants to know."""
        self.limit(MAX_RUNNING=1, MAX_WAITING=3)
        self.send(*range(10))
        self.assertEqual(len(self.lines), 1)
        self.assertIn("1 event(s) for handler dropped", self.lines[0])
        self.assertIn("1 deliveries run and 3 events", self.lines[0])
        self.ticks.advance(59)
        self.send(10)
        self.assertEqual(len(self.lines), 1)
        self.ticks.advance(2)
        self.assertIn("6 event(s) for handler dropped", self.lines[1])
        self.ticks.advance(120)
        self.assertEqual(len(self.lines), 2)
        self.assertEqual(self.ticks.getDelayedCalls(), [])
        got = []
        while self.calls():
            got += self.inputs()
            self.end(self.calls()[0])
        self.assertEqual(got, [0, 8, 9, 10])

    def test_bytes_are_bounded_too(self) -> None:
        """One event always may wait, whatever its size."""
        self.limit(MAX_RUNNING=1, MAX_WAITING_BYTES=10 * KIB)
        self.send("running", "x" * 4 * KIB, "y" * 4 * KIB, "z" * 4 * KIB)
        self.assertEqual(self.fanout.under_way, 3)
        self.send("big" * 10 * KIB)
        self.assertEqual(self.fanout.under_way, 2)
        self.assertIn("dropped", self.lines[0])
        self.fanout.stop()

    def test_the_bytes_of_a_trace_count(self) -> None:
        """Baggage may be longer than the event."""
        self.limit(MAX_RUNNING=1, MAX_WAITING_BYTES=10 * KIB)
        for _ in range(4):
            self.fanout.deliver(self.binding, None, raw(1), "trace", "x" * 4 * KIB)
        self.assertEqual(self.fanout.under_way, 3)
        self.fanout.stop()

    def test_handlers_that_fail_at_once_leave_nothing_behind(self) -> None:
        """A thousand of them are no thousand stack frames."""
        self.limit(MAX_RUNNING=1, MAX_WAITING=5 * KIB)
        self.send(*range(5 * KIB))
        self.withdraw(self.host, "handler")
        self.end(self.calls()[0])
        self.assertEqual(self.fanout.under_way, 0)

    def test_a_binding_that_is_removed_drops_what_waits(self) -> None:
        """What runs goes on; the timer of the report goes."""
        self.limit(MAX_RUNNING=2, MAX_WAITING=1)
        self.send("a", condition="condition")
        self.send("b", "c", "d")
        running = self.calls("condition")[0]
        self.fanout.forget(self.binding)
        self.end(running, True)
        self.assertEqual((self.inputs(), self.fanout.under_way), ([], 0))
        self.assertEqual(self.ticks.getDelayedCalls(), [])
        self.fanout.forget(self.binding)


class Defaults(FanoutCase):
    """The figures of docs/limits.md."""

    def test_a_thousand_run_and_ten_thousand_wait(self) -> None:
        """Of one binding."""
        self.send(*range(12_000))
        self.assertEqual(len(self.calls()), 1_000)
        self.assertEqual(self.fanout.under_way, 11_000)
        self.fanout.stop()
