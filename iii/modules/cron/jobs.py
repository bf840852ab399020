"""The trigger type ``cron``: jobs, their runs, and what may be asked about them.

A tick becomes a run when no other run of the job goes on (or the trigger allows that),
when the back end grants it, and when the condition doesn't say no.  The next tick is
planned when this one is fired, not when it has ended: a run that takes long makes the
job skip ticks but never shifts them.  A skipped tick is gone.

Removing a trigger abandons its runs: the worker finishes them, nobody hears how.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.bindings import Binding
from iii.engine.clock import Clock
from iii.engine.fanout import CONDITION_LIMIT_S, REPORT_EVERY_S
from iii.engine.functions import DEFAULT_NAMESPACE
from iii.engine.invocations import STOPPED, Call, ErrorBody
from iii.engine.module import ModuleApi
from iii.engine.native import Empty
from iii.engine.tracing import Error
from iii.errors import Code, IIIError, RegistrationError
from iii.modules.cron.adapters.claims import Claim, Claims
from iii.modules.cron.config import read_trigger
from iii.modules.cron.figures import RunFigures
from iii.modules.cron.job import ERROR_CHARS, Job, Numbers, Run
from iii.modules.cron.shapes import (
    CronEvent,
    JobRow,
    RunNow,
    RunRow,
    Started,
    iso,
    iso_micros,
)
from iii.modules.cron.timeline import Timeline

log = Logger()

#: Runs of one job at a time with ``overlap: allow``.
MAX_OVERLAPPING = 100
LISTED_RUNS = 5
#: A worker that comes back may register its triggers before their functions.
CATCH_UP_AFTER_S = 0.25
#: ``engine::cron::list`` lets others work after so many jobs.
LIST_STRIDE = 100
#: A clock set back by no more than this is waited for.
SHORT_STEP_S = 60
#: By more than this: it was wrong before, and the new time is used as it is.
LONG_STEP_S = 3 * 3600

_FALSE = b"false"


class Jobs:
    """Provider of ``cron`` triggers.

    :param claims: who runs a tick, and which one ran last
    :param strict: expressions of five fields are refused
    :param chance: a number from 0 up to 1, for the jitter
    """

    def __init__(
        self,
        engine: ModuleApi,
        claims: Claims,
        *,
        strict: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._clock: Clock = engine.clock
        self._claims = claims
        self._strict = strict
        self._chance = chance
        self._jobs: dict[Binding, Job] = {}
        self._by_key: dict[str, Job] = {}
        self._numbers = Numbers()
        self._figures = RunFigures(engine)
        self._timeline = Timeline(engine, self)
        self._closing = False
        self._stopped = False

    @property
    def under_way(self) -> int:
        """Runs that have not reached their function yet; the others are calls like any."""
        return sum(run.call is None for job in self._jobs.values() for run in job.running)

    def closing(self) -> None:
        """Start nothing any more; what runs goes on."""
        self._closing = True
        self._timeline.stop()

    def stop(self) -> None:
        """Forget everything.  Runs go on in their workers, and stay claimed."""
        self.closing()
        self._stopped = True
        for job in self._jobs.values():
            self._abandon(job)

    # Triggers --------------------------------------------------------------------------

    def add(self, binding: Binding) -> None:
        """Provider: a new job.

        :raises RegistrationError: its configuration is wrong
        """
        trigger, schedule = read_trigger(binding, strict=self._strict)
        job = Job(binding, trigger, schedule, self._now())
        self._numbers.give(job)
        recalled = self._recall(job) if trigger.catch_up == "one" else None
        self._jobs[binding] = job
        self._by_key[job.key] = job
        self._timeline.add(job)
        if recalled is not None:
            recalled.addCallback(self._catch_up, job).addErrback(self._not_kept, job)

    def remove(self, binding: Binding) -> None:
        """Provider: the job is gone."""
        job = self._jobs.pop(binding, None)
        if job is not None:
            self._timeline.discard(job)
            self._numbers.take_back(job)
            del self._by_key[job.key]
            self._abandon(job)

    def _abandon(self, job: Job) -> None:
        runs = list(job.running)
        job.running.clear()
        for run in runs:
            if run.call is not None:
                self._engine.abandon(run.call)
            self._figures.abandoned(run)
            self._release(run)

    def _recall(self, job: Job) -> Deferred[int | None]:
        try:
            return self._claims.recall(job.key)
        except IIIError as error:
            self._numbers.take_back(job)
            text = f"catch_up: one needs a store: {error.message}"
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, text) from error

    def _catch_up(self, last: int | None, job: Job) -> None:
        """Run once for what was missed since ``last``."""
        if self._jobs.get(job.binding) is not job or job.last_tick is not None:
            return
        if last is None:
            self._remember(job, job.since)
            return
        missed = job.schedule.next_second(last)
        if missed is not None and missed <= job.since:
            log.info(
                "cron {id}: {function} missed its run of {tick}; it is made up for",
                id=job.binding.id,
                function=job.binding.function_id,
                tick=iso(missed),
            )
            self._timeline.wait(job, missed, self._clock.wall() + CATCH_UP_AFTER_S)

    # The timeline's owner --------------------------------------------------------------

    def fire(self, job: Job, tick: int) -> None:
        """Owner: ``job`` is due."""
        job.last_tick = tick
        self._start(job, tick)

    def replan(self, job: Job) -> None:
        """Owner: wait for the next tick; of a new job one may be past by now."""
        after = self._now()
        if not job.planned:
            job.planned = True
            after = min(after, job.since)
        if job.last_tick is not None:
            after = max(after, job.last_tick)
        tick = job.schedule.next_second(after)
        if tick is None:
            log.info("No upcoming schedule found for cron job {id}", id=job.binding.id)
            return
        jitter_s = (job.trigger.jitter_ms or 0) / 1000
        self._timeline.wait(job, tick, tick + jitter_s * self._chance() if jitter_s else tick)

    def set_back(self, seconds: float) -> None:
        """Owner: ticks that had their run come again unless we remember them."""
        for job in self._jobs.values():
            if seconds > LONG_STEP_S or (seconds > SHORT_STEP_S and job.schedule.often):
                job.last_tick = None

    def again(self, key: str, tick: int) -> None:
        """The back end: whoever had this tick of the job ``key`` has died."""
        job = self._by_key.get(key)
        if job is None or self._closing or len(job.running) >= _most_runs(job):
            return
        if all(run.tick != tick for run in job.running):
            self._start(job, tick)

    # Runs ------------------------------------------------------------------------------

    def _start(self, job: Job, tick: int, *, by_hand: bool = False) -> bool:
        """Begin a run; False when another one is in its way."""
        if len(job.running) >= _most_runs(job):
            job.skipped += 1
            if not by_hand:
                self._figures.skipped(job)
            return False
        run = Run(job, tick, by_hand=by_hand)
        job.running[run] = None
        if by_hand:
            self._prepare(run)
            self._call(run)
            return True
        exclusive = _most_runs(job) == 1
        claim = Claim(job.key, job.binding.id, tick, job.schedule, exclusive)
        taken = self._claims.take(claim)
        if isinstance(taken, Deferred):
            taken.addCallbacks(
                self._claimed, self._unclaimed, callbackArgs=(run, claim), errbackArgs=(run,)
            )
        else:
            self._claimed(taken, run, claim)
        return True

    def _claimed(self, taken: bool, run: Run, claim: Claim) -> None:
        job = run.job
        if not taken:
            job.running.pop(run, None)
            self._figures.skipped(job)
        elif run not in job.running:
            self._claims.release(claim, ran=False)  # removed meanwhile
        else:
            run.claim = claim
            self._prepare(run)
            self._ask(run) if job.trigger.condition else self._call(run)

    def _unclaimed(self, failure: Failure, run: Run) -> None:
        self._finish(run, "error", f"the tick could not be claimed: {failure.getErrorMessage()}")

    def _prepare(self, run: Run) -> None:
        """The run begins now."""
        job = run.job
        job.last_run = self._clock.wall()
        event = CronEvent(job.binding.id, iso(run.tick), iso_micros(job.last_run))
        run.payload = Raw(msgspec.json.encode(event))
        self._figures.began(run)

    def _ask(self, run: Run) -> None:
        binding = run.job.binding
        asked = self._engine.invoke(
            run.job.trigger.condition or "",
            run.payload,
            namespace=binding.namespace,
            metadata=binding.metadata,
            traceparent=run.context,
            timeout_s=CONDITION_LIMIT_S,
        )
        asked.addCallbacks(
            self._answered, self._unanswered, callbackArgs=(run,), errbackArgs=(run,)
        )

    def _answered(self, result: Raw | None, run: Run) -> None:
        if run not in run.job.running:
            return
        if result is not None and bytes(result).strip() == _FALSE:
            self._finish(run, "condition")
        else:
            self._call(run)

    def _unanswered(self, failure: Failure, run: Run) -> None:
        error = failure.value
        code = error.code if isinstance(error, IIIError) else Code.INTERNAL_ERROR
        reason = f"condition {run.job.trigger.condition}: {error}"
        self._finish(run, "error", reason, (code, reason, None))

    def _call(self, run: Run) -> None:
        job = run.job
        call = self._engine.start_call(job.binding, run.payload, self._done, run, run.context)
        if run in job.running:  # else it has ended already
            run.call = call
            if job.trigger.max_run_ms is not None:
                limit_s = job.trigger.max_run_ms / 1000
                run.timer = self._clock.call_later(limit_s, self._too_long, run)

    def _done(self, call: Call, result: Raw | None, error: ErrorBody | None) -> None:
        run: Run = call.requester
        if error is None:
            self._finish(run, "ok")
            return
        told = (error.code, error.message, error.stacktrace)
        if error is STOPPED:
            self._finish(run, "stopped", error.message, told)
        else:
            self._finish(run, "error", f"{error.code}: {error.message}", told)

    def _too_long(self, run: Run) -> None:
        if run.call is not None:
            self._engine.abandon(run.call)
        reason = f"no result after {run.job.trigger.max_run_ms} ms"
        self._finish(run, "timeout", reason, (Code.INVOCATION_TIMEOUT, reason, None))

    def _finish(
        self, run: Run, status: str, reason: str | None = None, error: Error | None = None
    ) -> None:
        job = run.job
        if run not in job.running:
            return
        del job.running[run]
        self._figures.ended(run, status, error)
        self._release(run)
        job.last_status = status
        job.last_error = reason
        job.recent.appendleft(self._over(run, status, reason))
        if reason is not None and status != "stopped":
            self._failed(job, reason)
        # A run that its worker did not finish is missed: the next registration catches up.
        if job.trigger.catch_up == "one" and status != "stopped" and not run.by_hand:
            # What was missed before the job was registered has been made up for by now.
            self._remember(job, max(run.tick, job.last_tick or 0, job.since))

    def _over(self, run: Run, status: str, reason: str | None) -> RunRow:
        started = run.started
        took_ms = None if started is None else (self._clock.monotonic() - started) * 1000
        error = None if reason is None else reason[:ERROR_CHARS]
        return RunRow(iso(run.tick), status, run.by_hand, took_ms, error)

    def _release(self, run: Run) -> None:
        if run.timer is not None and run.timer.active():
            run.timer.cancel()
        claim, run.claim = run.claim, None
        if claim is not None and not self._stopped:
            self._claims.release(claim)

    def _remember(self, job: Job, tick: int) -> None:
        if not self._stopped:
            self._claims.remember(job.key, tick).addErrback(self._not_kept, job)

    def _not_kept(self, failure: Failure, job: Job) -> None:
        self._failed(job, f"its last run can't be kept: {failure.value}")

    def _failed(self, job: Job, reason: str) -> None:
        """Tell of a failure, unless one was told of within the last minute."""
        job.failures += 1
        now, told_at = self._clock.monotonic(), job.failures_told_at
        if told_at is not None and now - told_at < REPORT_EVERY_S:
            return
        log.warn(
            "cron {id}: {function} failed ({failures} failure(s) since the last such line):"
            " {reason}",
            id=job.binding.id,
            function=job.binding.function_id,
            failures=job.failures,
            reason=reason,
        )
        job.failures = 0
        job.failures_told_at = now

    # Functions -------------------------------------------------------------------------

    async def list(self, asked: Empty) -> list[JobRow]:
        """``engine::cron::list``."""
        rows = []
        for number, job in enumerate(list(self._jobs.values()), 1):
            rows.append(self._row(job))
            if number % LIST_STRIDE == 0:
                await self._clock.pause()
        return rows

    def run_now(self, asked: RunNow) -> Started:
        """``engine::cron::run``: a run besides the schedule, without asking the condition."""
        if self._closing:
            raise IIIError(Code.SHUTTING_DOWN, "the engine is stopping")
        for job in self._jobs.values():
            if any(registration.id == asked.id for registration in job.binding.registrations):
                return Started(asked.id, self._start(job, self._now(), by_hand=True))
        raise IIIError(Code.NOT_FOUND, f"Cron job '{asked.id}' not found")

    def _row(self, job: Job) -> JobRow:
        binding, schedule = job.binding, job.schedule
        return JobRow(
            id=binding.id,
            ids=[registration.id for registration in binding.registrations],
            function_id=binding.function_id,
            namespace=binding.namespace or DEFAULT_NAMESPACE,
            expression=schedule.expression,
            timezone=schedule.timezone,
            description=schedule.words,
            next_runs=[iso(tick) for tick in schedule.upcoming(self._now(), LISTED_RUNS)],
            last_run=None if job.last_run is None else iso_micros(job.last_run),
            last_status=job.last_status,
            last_error=job.last_error,
            running=bool(job.running),
            skipped=job.skipped,
            recent_runs=list(job.recent),
        )

    def _now(self) -> int:
        return math.floor(self._clock.wall())


def _most_runs(job: Job) -> int:
    return MAX_OVERLAPPING if job.trigger.overlap == "allow" else 1
