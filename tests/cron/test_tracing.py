"""Spans of runs (05 A8): every run is a trace of its own."""

from __future__ import annotations

from iii.engine.invocations import ErrorBody
from tests.cron.cases import CronCase
from tests.support.recording import Recording

EVERY_MINUTE = "0 * * * * *"


class Runs(CronCase):
    """``call <function>``, kind producer."""

    def setUp(self) -> None:
        super().setUp()
        self.recording = Recording(self.engine)

    def test_every_run_is_a_trace_with_its_call_inside(self) -> None:
        self.cron(EVERY_MINUTE, id="nightly")
        self.runs(120)
        runs = [span for span in self.recording.named("call job") if span.kind == "producer"]
        self.assertEqual(len({run.trace for run in runs}), 2)
        for run in runs:
            self.assertIsNone(run.parent)
            self.assertEqual(self.recording.tree(run.trace), ["call job", "  call job"])
            self.assertEqual((run.ok, run.error), (True, None))
            self.assertEqual(
                run.attributes,
                {"job_id": "nightly", "function_id": "job", "faas.trigger": "timer"},
            )

    def test_the_condition_is_asked_within_the_run(self) -> None:
        self.offer(self.owner, "check")
        self.cron(EVERY_MINUTE, condition_function_id="check")
        self.pass_time(60)
        [asked] = self.calls()
        self.answer(asked, False)
        [run] = self.recording.named("call job")
        self.assertEqual(self.recording.tree(run.trace), ["call job", "  call check"])
        self.assertTrue(run.ok)

    def test_a_failure_is_told_in_the_span(self) -> None:
        self.cron(EVERY_MINUTE)
        self.pass_time(60)
        [call] = self.calls()
        self.answer(call, error=ErrorBody("oops", "no", "at line 1"))
        [run] = [span for span in self.recording.named("call job") if span.kind == "producer"]
        self.assertEqual((run.ok, run.error), (False, ("oops", "no", "at line 1")))

    def test_a_run_that_takes_too_long_has_failed(self) -> None:
        self.cron(EVERY_MINUTE, max_run_ms=1000)
        self.pass_time(62)
        [run] = self.recording.named("call job")
        self.assertEqual(run.ok, False)
        assert run.error is not None
        self.assertEqual(run.error[0], "invocation_timeout")

    def test_a_run_whose_trigger_is_removed_has_no_outcome(self) -> None:
        registration = self.cron(EVERY_MINUTE)
        self.pass_time(60)
        self.engine.triggers.unregister(registration.id, self.owner)
        [run] = self.recording.named("call job")
        self.assertEqual((run.kind, run.ok), ("producer", None))

    def test_without_tracing_there_is_no_context(self) -> None:
        self.engine.invocations.tracing.sink = None
        self.cron(EVERY_MINUTE)
        self.pass_time(60)
        self.assertIsNone(self.calls()[0].traceparent)
