"""Calls under way (``iii.engine.invocations`` and ``Engine.invoke``)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from iii.engine.core import DEFAULT_INVOCATION_LIMIT_S, EXPIRY_SWEEP_S
from iii.engine.invocations import STOPPED, Call, ErrorBody
from iii.errors import Code, InvocationError
from tests.engine.cases import CoreCase, raw, value


class Outcomes(CoreCase):
    """``done`` is told exactly once."""

    def setUp(self) -> None:
        super().setUp()
        self.executor = self.worker("f")
        self.outcomes: list[tuple[str, object, object]] = []

    def start(self, id: str = "i", function_id: str = "f") -> Call:
        """Start a call that records its outcome."""
        call = Call(id, function_id, raw({"a": 1}), self.told)
        self.engine.invocations.start(call)
        return call

    def told(self, call: Call, result: object, error: object) -> None:
        """Done."""
        self.outcomes.append((call.id, result, error))

    def test_a_result_ends_it(self) -> None:
        """Once; a second is for nobody."""
        self.start()
        finish = self.engine.invocations.finish
        result = raw(1)
        self.assertTrue(finish(self.executor, "i", result, None))
        self.assertFalse(finish(self.executor, "i", result, None))
        self.assertEqual(self.outcomes, [("i", result, None)])
        self.assertEqual(self.executor.executing, {})

    def test_only_the_executor_can_end_it(self) -> None:
        """The table is the executor's own."""
        self.start()
        other = self.worker("g")
        self.assertFalse(self.engine.invocations.finish(other, "i", None, None))
        self.assertEqual(self.outcomes, [])

    def test_entered_before_it_is_handed_over(self) -> None:
        """01 §18.1: an answer that comes at once finds its call."""
        finish = self.engine.invocations.finish
        self.link(self.executor).invoke = (  # type: ignore[method-assign]
            lambda call: finish(self.executor, call.id, None, None)
        )
        self.start()
        self.assertEqual(self.outcomes, [("i", None, None)])

    def test_a_clash_gets_a_fresh_id(self) -> None:
        """01 §18.7: the first call lives on."""
        first, second = self.start(), self.start()
        self.assertEqual(first.id, "i")
        self.assertNotEqual(second.id, "i")
        self.engine.invocations.finish(self.executor, "i", None, None)
        self.engine.invocations.finish(self.executor, second.id, None, None)
        self.assertEqual([id for id, _, _ in self.outcomes], ["i", second.id])

    def test_no_owner_is_an_error_at_once(self) -> None:
        """And no call was started."""
        self.start(function_id="nope")
        ((_, _, error),) = self.outcomes
        assert isinstance(error, ErrorBody)
        self.assertEqual(error.code, Code.FUNCTION_NOT_FOUND)
        self.assertEqual([counts.started for _, counts in self.engine.invocations.counts], [1])

    def test_the_end_of_the_executor_stops_all(self) -> None:
        """Whoever tries again at once finds another owner, not the dead one."""
        retried: list[object] = []
        other = self.worker("f")
        other.executing["busy"] = Call("busy", "x", raw(None), self.told)

        def again(call: Call, result: object, error: object) -> None:
            self.assertIs(error, STOPPED)
            retried.append(self.engine.functions.owner_of("f", None))

        for id in ("1", "2"):
            self.engine.invocations.start(Call(id, "f", raw(None), again))
        self.assertEqual(len(self.executor.executing), 2)
        self.engine.worker_gone(self.executor)
        self.assertEqual(retried, [other, other])

    def test_abandoned_calls_tell_nobody(self) -> None:
        """The executor finishes, or goes, unheard."""
        for id in ("1", "2"):
            self.engine.invocations.abandon(self.start(id))
        self.assertTrue(self.engine.invocations.finish(self.executor, "1", raw(1), None))
        self.engine.worker_gone(self.executor)
        self.assertEqual(self.outcomes, [])

    def test_old_calls_expire(self) -> None:
        """01 §18.6: after the limit, within one sweep; young ones stay."""
        self.engine.start()
        sweeps = int(DEFAULT_INVOCATION_LIMIT_S / EXPIRY_SWEEP_S)
        self.start("old")
        self.ticks.pump([EXPIRY_SWEEP_S] * (sweeps // 2))
        self.start("young")
        self.ticks.pump([EXPIRY_SWEEP_S] * (sweeps // 2 - 1))
        self.assertEqual(self.outcomes, [])
        self.ticks.pump([EXPIRY_SWEEP_S] * 2)
        ((id, result, error),) = self.outcomes
        assert isinstance(error, ErrorBody)
        self.assertEqual((id, result, error.code), ("old", None, Code.INVOCATION_TIMEOUT))
        self.assertEqual(list(self.executor.executing), ["young"])
        self.engine.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])


class Invoke(CoreCase):
    """``Engine.invoke``: a call as a Deferred."""

    def setUp(self) -> None:
        super().setUp()
        self.executor = self.worker("f")

    def call(self) -> Call:
        """The call the executor got."""
        return self.link(self.executor).calls[-1]

    def finish(self, result: object = None, error: ErrorBody | None = None) -> None:
        """The executor answers."""
        body = None if result is None else raw(result)
        self.engine.invocations.finish(self.executor, self.call().id, body, error)

    def test_value_and_nothing(self) -> None:
        """Raw JSON, or None."""
        answer = self.engine.invoke("f", {"a": 1})
        self.assertEqual(value(self.call().data), {"a": 1})
        self.finish([2])
        self.assertEqual(value(self.successResultOf(answer)), [2])
        answer = self.engine.invoke("f")
        self.assertEqual(bytes(self.call().data), b"null")
        self.finish()
        self.assertIsNone(self.successResultOf(answer))

    def test_raw_is_passed_on_unparsed(self) -> None:
        """The very bytes."""
        data = raw({"b": 1})
        self.engine.invoke("f", data)
        self.assertIs(self.call().data, data)

    def test_an_error_is_an_exception(self) -> None:
        """With everything the executor said."""
        answer = self.engine.invoke("f")
        self.finish(error=ErrorBody("E", "m", "stack"))
        error = self.failureResultOf(answer, InvocationError).value
        self.assertEqual((error.code, error.message, error.stacktrace), ("E", "m", "stack"))
        self.assertEqual((error.function_id, error.invocation_id), ("f", self.call().id))
        error = self.failureResultOf(self.engine.invoke("nope"), InvocationError).value
        self.assertEqual(error.code, Code.FUNCTION_NOT_FOUND)

    def test_a_time_out(self) -> None:
        """The late result is dropped; no timer is left."""
        answer = self.engine.invoke("f", timeout_s=1.5)
        self.ticks.advance(1.4)
        self.assertNoResult(answer)
        self.ticks.advance(0.2)
        error = self.failureResultOf(answer, InvocationError).value
        self.assertEqual(error.code, Code.INVOCATION_TIMEOUT)
        self.assertIn("1500ms", error.message)
        self.finish("late")
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_an_answer_in_time_cancels_the_timer(self) -> None:
        """Also one that was there at once."""
        answer = self.engine.invoke("f", timeout_s=1)
        self.finish(1)
        self.successResultOf(answer)
        self.failureResultOf(self.engine.invoke("nope", timeout_s=1))
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_who_does_not_wait_any_more_may_cancel(self) -> None:
        """The outcome goes nowhere."""
        answer: Deferred[object] = self.engine.invoke("f", timeout_s=1)
        answer.addErrback(lambda _: None)
        answer.cancel()
        self.finish(1)
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_everything_travels(self) -> None:
        """Trace context, metadata, namespace."""
        worker = self.worker()
        self.offer(worker, "f", "shop")
        self.engine.invoke(
            "f", 1, namespace="shop", metadata=raw({"k": 1}), traceparent="t", baggage="b"
        )
        (call,) = self.link(worker).calls
        self.assertEqual((call.traceparent, call.baggage), ("t", "b"))
        self.assertEqual(value(call.metadata), {"k": 1})
