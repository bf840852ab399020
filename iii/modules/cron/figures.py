"""What is known of runs afterwards: how they ended, how late they were, and a span of each.

A run begins a trace of its own; its condition and its function are called within it.
"""

from __future__ import annotations

from iii.engine.callcounts import Durations
from iii.engine.module import ModuleApi
from iii.engine.tally import Tally
from iii.engine.tracing import Error
from iii.modules.cron.job import Job, Run

_ATTRIBUTES = ("job_id", "function_id", "faas.trigger")

#: How a run ended → what it is counted as.
_COUNTED = {"ok": "ok", "condition": "skipped_condition"}


class RunFigures:
    """Follows the runs of all jobs."""

    def __init__(self, engine: ModuleApi) -> None:
        self._clock = engine.clock
        self._tracing = engine.tracing
        self._runs = Tally()
        self._lag = Durations()
        engine.instrument(
            "iii_cron_runs_total",
            "counter",
            "Runs that are over, and ticks that became none",
            lambda: self._runs,
            ("function_id", "status"),
        )
        engine.instrument(
            "iii_cron_lag_seconds",
            "histogram",
            "From the time a job was due, jitter included, to the start of its run",
            lambda: [((), self._lag)],
        )

    def began(self, run: Run) -> None:
        """A run begins."""
        run.started = self._clock.monotonic()
        run.context = self._tracing.context(None, _name(run))
        if not run.by_hand:
            self._lag.add(max(0.0, self._clock.wall() - run.tick))

    def skipped(self, job: Job) -> None:
        """A tick became no run: another one goes on, here or elsewhere."""
        self._runs.add(job.binding.function_id, "skipped_lock")

    def ended(self, run: Run, status: str, error: Error | None) -> None:
        """A run is over."""
        self._runs.add(run.job.binding.function_id, _COUNTED.get(status, "error"))
        self._span(run, error is None, error)

    def abandoned(self, run: Run) -> None:
        """Nobody is going to hear how a run ended."""
        self._span(run, None, None)

    def _span(self, run: Run, ok: bool | None, error: Error | None) -> None:
        if run.context is not None and run.started is not None:
            binding = run.job.binding
            attributes = (_ATTRIBUTES, binding.id, binding.function_id, "timer")
            self._tracing.span(
                _name(run), "producer", None, run.context, run.started, ok, error, attributes
            )


def _name(run: Run) -> str:
    return f"call {run.job.binding.function_id}"
