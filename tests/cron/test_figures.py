"""Figures of runs (03 §1.14)."""

from __future__ import annotations

from typing import Any

from iii.engine.invocations import ErrorBody
from tests.cron.cases import CronCase

EVERY_MINUTE = "0 * * * * *"


class Runs(CronCase):
    """``iii_cron_runs_total``, ``iii_cron_lag_seconds``."""

    def figure(self, name: str) -> dict[tuple[str, ...], Any]:
        """The samples of an instrument."""
        [instrument] = [one for one in self.engine.instruments if one.name == f"iii_cron_{name}"]
        samples: Any = instrument.read()
        return dict(samples)

    def test_they_are_counted_by_their_end(self) -> None:
        self.cron(EVERY_MINUTE)
        self.runs(60)
        self.pass_time(60)
        self.answer(self.calls()[0], error=ErrorBody("oops", "no"))
        self.assertEqual(self.figure("runs_total"), {("job", "ok"): 1, ("job", "error"): 1})

    def test_a_tick_while_a_run_goes_on_is_skipped(self) -> None:
        self.cron(EVERY_MINUTE)
        self.pass_time(180)
        self.assertEqual(self.figure("runs_total"), {("job", "skipped_lock"): 2})

    def test_so_is_one_whose_condition_says_no(self) -> None:
        self.offer(self.owner, "check")
        self.cron(EVERY_MINUTE, condition_function_id="check")
        self.pass_time(60)
        self.answer(self.calls()[0], False)
        self.assertEqual(self.figure("runs_total"), {("job", "skipped_condition"): 1})

    def test_how_late_a_run_was(self) -> None:
        self.cron(EVERY_MINUTE)
        self.pass_time(59.75)
        self.ticks.advance(3.25)
        lag = self.figure("lag_seconds")[()]
        self.assertEqual((lag.count, lag.seconds), (1, 3.0))

    def test_a_run_by_hand_is_not_late(self) -> None:
        registration = self.cron(EVERY_MINUTE)
        self.pass_time(5)
        self.ask("engine::cron::run", {"id": registration.id})
        self.answer(self.calls()[0])
        self.assertEqual(self.figure("runs_total"), {("job", "ok"): 1})
        self.assertEqual(self.figure("lag_seconds")[()].count, 0)
