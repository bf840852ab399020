"""Jobs and their runs (03 §3.2–3.5, 08 §3)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.engine.invocations import ErrorBody
from iii.engine.module import ModuleApi
from iii.errors import InvocationError
from iii.modules.cron.adapters.claims import Claim
from iii.modules.cron.config import CronConfig
from iii.modules.cron.jobs import MAX_OVERLAPPING
from iii.modules.cron.timeline import BATCH, LONGEST_SLEEP_S, Entry, Timeline
from tests.cron.cases import START, CronCase, stamp
from tests.engine.cases import raw, value
from tests.support.probes import probe

HOUR = 3600.0
FAILED = ErrorBody("boom", "it broke")


class Events(CronCase):
    """03 §3.3: what a run is told."""

    @probe("03.55")
    def test_every_second_is_one_call_with_the_four_keys(self) -> None:
        """Nothing else in it; the times are whole seconds, one after the other."""
        self.cron("* * * * * *", id="t")
        self.pass_time(0.5)
        self.assertEqual(self.calls(), [])
        self.pass_time(0.75)
        [call] = self.calls()
        self.assertEqual(call.function_id, "job")
        expected = {
            "trigger": "cron",
            "job_id": "t",
            "scheduled_time": "2026-03-04T10:00:01+00:00",
            "actual_time": "2026-03-04T10:00:01+00:00",
        }
        self.assertEqual(value(call.data), expected)
        self.answer(call)
        self.assertEqual(self.runs(3), [stamp(n) for n in (2, 3, 4)])

    def test_the_actual_time_has_its_fraction(self) -> None:
        """03 §3.3: microseconds are fine."""
        self.cron("* * * * * *")
        self.ticks.advance(1.250004)
        [call] = self.calls()
        self.assertEqual(value(call.data)["actual_time"], "2026-03-04T10:00:01.250004+00:00")

    def test_metadata_is_the_call_s_not_the_payload_s(self) -> None:
        """03 §3.3, 0.21.3."""
        self.cron("* * * * * *", metadata=raw({"team": "a"}))
        self.pass_time(1)
        [call] = self.calls()
        self.assertEqual(value(call.metadata), {"team": "a"})
        self.assertNotIn("metadata", value(call.data))


class Registering(CronCase):
    """03 §3.2: what a trigger may be."""

    def refusal(self, config: Any) -> str:
        """What the worker is told."""
        _, done = self.bind(self.owner, "cron", "job", config)
        self.failureResultOf(done)
        [(_, code, message)] = self.link(self.owner).refusals
        self.link(self.owner).refusals.clear()
        self.assertEqual(code, "trigger_registration_failed")
        return message

    @probe("03.59")
    def test_a_wrong_expression_is_refused_with_its_reason(self) -> None:
        """03 §3.7: the prefix clients rely on."""
        message = self.refusal({"expression": "0 0 0 * * 0"})
        self.assertTrue(message.startswith("Invalid cron expression '0 0 0 * * 0': "))
        for config in ({}, {"expression": ""}, {"expression": 5}, {"expression": None}, [], "x"):
            self.assertEqual(self.refusal(config), "Cron expression is required")

    def test_other_keys_are_checked_by_name(self) -> None:
        """08 §3."""
        rows: tuple[tuple[dict[str, Any], str], ...] = (
            ({"timezone": "Mars"}, "Invalid timezone 'Mars'"),
            ({"timezone": 5}, "timezone"),
            ({"catch_up": "all"}, "catch_up"),
            ({"overlap": "queue"}, "overlap"),
            ({"jitter_ms": -1}, "jitter_ms"),
            ({"max_run_ms": 0}, "max_run_ms"),
            ({"condition_function_id": 1}, "condition_function_id"),
        )
        for more, expected in rows:
            self.assertIn(expected, self.refusal({"expression": "@daily", **more}))

    def test_null_is_the_default_and_unknown_keys_are_ignored(self) -> None:
        """03 §3.2."""
        self.cron(
            "* * * * * *", timezone=None, catch_up=None, overlap=None, jitter_ms=None,
            max_run_ms=None, condition_function_id=None, _condition_path=None, other={"x": 1},
        )  # fmt: skip
        self.assertEqual(self.runs(1), [stamp(1)])

    def test_a_refused_trigger_leaves_nothing_behind(self) -> None:
        """No timer, no job."""
        self.refusal({"expression": "x"})
        self.assertEqual(self.ask("engine::cron::list"), [])
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_what_never_runs_is_accepted(self) -> None:
        """03 §3.2: it ends silently."""
        self.cron("0 0 0 30 2 *")
        self.assertEqual(self.runs(120), [])
        self.assertEqual(self.row()["next_runs"], [])

    def test_five_fields_are_a_crontab_line(self) -> None:
        """Decision 20."""
        self.cron("*/5 * * * *")
        self.assertEqual(self.runs(601), [stamp(300), stamp(600)])

    @probe("03.60")
    def test_unregistering_ends_it(self) -> None:
        """And the timer with the last job."""
        self.cron("* * * * * *", id="t")
        self.assertEqual(len(self.runs(2)), 2)
        self.engine.triggers.unregister("t", self.owner)
        self.assertEqual(self.runs(3), [])
        self.pass_time(LONGEST_SLEEP_S)
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    @probe("03.60")
    def test_a_worker_that_comes_back_resumes_once_per_tick(self) -> None:
        """Also when the engine sees the old connection's end after the new registration."""
        for late in (False, True):
            old = self.worker("again")
            self.cron("* * * * * *", old, id="t", function="again")
            self.assertEqual(len(self.runs(2, old)), 2)
            if not late:
                self.engine.worker_gone(old)
                self.assertEqual(self.runs(3, old), [])
            new = self.worker("again")
            self.cron("* * * * * *", new, id="t", function="again")
            if late:
                self.engine.worker_gone(old)
            self.assertEqual(len(self.runs(3, new)), 3)
            self.engine.worker_gone(new)

    @probe("03.61")
    def test_the_same_trigger_twice_is_one(self) -> None:
        """03 §3.5: identical content is a no-op, other content replaces."""
        for _ in range(2):
            self.cron("* * * * * *", id="t")
        self.assertEqual(len(self.runs(3)), 3)
        self.cron("*/2 * * * * *", id="t")
        self.assertEqual(self.runs(4), [stamp(4), stamp(6)])

    def test_replicas_run_it_once(self) -> None:
        """08 §2: one binding with several owners; two ids of one connection are two."""
        other = self.worker("job")
        self.cron("* * * * * *", id="a")
        self.cron("* * * * * *", other, id="b")
        self.pass_time(1)
        self.assertEqual(len(self.calls() + self.calls(other)), 1)
        row = self.row()
        self.assertEqual((row["id"], row["ids"]), ("a", ["a", "b"]))
        self.cron("* * * * * *", id="c", metadata=None)
        self.assertEqual(len(self.ask("engine::cron::list")), 2)


class Strict(CronCase):
    """03 §3.8: `strict_expressions: true`."""

    settings = CronConfig(strict_expressions=True)

    def test_five_fields_are_refused(self) -> None:
        """With the text of §3.7."""
        _, done = self.bind(self.owner, "cron", "job", {"expression": "0 9 * * *"})
        self.failureResultOf(done)
        [(_, _, message)] = self.link(self.owner).refusals
        self.assertIn("expected 6 or 7 fields", message)
        self.cron("0 0 9 * * *")


class Overlap(CronCase):
    """03 §3.4: a job that takes longer than its period."""

    @probe("03.56")
    def test_two_and_a_half_seconds_on_every_second(self) -> None:
        """Never two at once; what is skipped is not queued."""
        self.cron("* * * * * *")
        self.pass_time(1)
        seen = []
        for _ in range(3):
            [call] = self.calls()
            seen += self.ticks_of([call])
            self.pass_time(2.5)
            self.assertEqual(self.calls(), [])
            self.answer(call)
            self.pass_time(0.5)
        self.assertEqual(seen, [stamp(1), stamp(4), stamp(7)])
        self.assertEqual(self.row()["skipped"], 6)

    def test_allow_runs_them_side_by_side(self) -> None:
        """08 §3: `overlap: allow`, up to a bound."""
        self.cron("* * * * * *", overlap="allow")
        self.pass_time(MAX_OVERLAPPING + 5, 1)
        calls = self.calls()
        self.assertEqual(len(calls), MAX_OVERLAPPING)
        self.assertEqual(self.row()["skipped"], 5)
        for call in calls:
            self.answer(call)
        self.assertFalse(self.row()["running"])
        self.assertEqual(len(self.runs(2)), 2)

    def test_a_run_that_takes_too_long_is_given_up(self) -> None:
        """03 §3.5: `max_run_ms`; its late answer is dropped."""
        self.cron("* * * * * *", max_run_ms=1500)
        self.pass_time(2.25)
        [first] = self.calls()
        self.pass_time(1)
        row = self.row()
        self.assertEqual((row["last_status"], row["skipped"], row["running"]), ("timeout", 1, True))
        [second] = self.calls()
        self.answer(first)
        self.assertTrue(self.row()["running"])
        self.answer(second)
        self.assertEqual(self.row()["last_status"], "ok")
        self.assertEqual(self.row()["last_error"], None)

    def test_a_handler_that_never_answers_ends_with_its_worker(self) -> None:
        """03 §6.21: it freezes its own job only, and that until the worker goes."""
        hanging = self.worker("hang")
        self.cron("* * * * * *")
        self.cron("* * * * * *", function="hang")
        self.pass_time(1)
        self.assertEqual(len(self.calls(hanging)), 1)
        self.answer(self.calls()[0])
        self.assertEqual(len(self.runs(3)), 3)
        self.engine.worker_gone(hanging)
        rows = {row["function_id"]: row for row in self.ask("engine::cron::list")}
        self.assertEqual(rows["hang"]["last_status"], "stopped")
        again = self.worker("hang")
        self.assertEqual(len(self.runs(1, again)), 1)

    def test_unregistering_abandons_the_run(self) -> None:
        """03 §3.4: the worker finishes it, nobody listens; a stop doesn't wait for it."""
        self.cron("* * * * * *", id="t", max_run_ms=5000)
        self.pass_time(1)
        [call] = self.calls()
        self.engine.triggers.unregister("t", self.owner)
        self.assertEqual(self.engine.invocations.awaited(self.owner), 0)
        self.answer(call)
        self.pass_time(LONGEST_SLEEP_S)
        self.assertEqual(self.ticks.getDelayedCalls(), [])


class Conditions(CronCase):
    """03 §3.4: a function that may say no."""

    @probe("03.57")
    def test_false_and_failure_skip_the_run(self) -> None:
        """Everything else lets it go; the schedule continues in any case."""
        for key in ("condition_function_id", "_condition_path"):
            asked = self.worker("check")
            trigger = self.cron("* * * * * *", **{key: "check"})
            outcomes: tuple[tuple[Any, ErrorBody | None, bool], ...] = (
                (False, None, False),
                (None, FAILED, False),
                (None, None, True),
                (0, None, True),
                ("no", None, True),
                (True, None, True),
            )
            for result, error, runs in outcomes:
                self.pass_time(1)
                [question] = self.calls(asked)
                self.assertEqual(self.calls(), [])
                self.answer(question, result, error)
                called = self.calls()
                self.assertEqual(len(called), int(runs), result)
                for call in called:
                    self.assertEqual(value(call.data), value(question.data))
                    self.answer(call)
            self.engine.triggers.release(trigger)
            self.engine.worker_gone(asked)

    def test_a_condition_that_doesn_t_answer_has_failed(self) -> None:
        """It counts as running, and ends after its limit."""
        asked = self.worker("check")
        self.cron("* * * * * *", condition_function_id="check")
        self.pass_time(30, 1)
        self.assertEqual(len(self.calls(asked)), 1)
        self.assertEqual(self.module.under_way, 1)
        self.pass_time(2, 1)
        self.assertEqual(len(self.calls(asked)), 1)
        self.assertEqual(self.row()["last_status"], "error")
        self.assertEqual(self.calls(), [])


class Failures(CronCase):
    """03 §3.4: errors are told, the schedule continues."""

    @probe("03.64")
    def test_a_missing_function_doesn_t_end_the_schedule(self) -> None:
        """It is found at a later tick."""
        self.cron("* * * * * *", function="later")
        self.pass_time(2)
        row = self.row()
        self.assertEqual(row["last_status"], "error")
        self.assertIn("function_not_found", row["last_error"])
        worker = self.worker("later")
        self.assertEqual(self.runs(2, worker), [stamp(3), stamp(4)])

    def test_an_error_is_remembered_until_the_next_run(self) -> None:
        """`last_status`, `last_error`."""
        self.cron("* * * * * *")
        self.pass_time(1)
        self.answer(self.calls()[0], error=FAILED)
        row = self.row()
        self.assertEqual((row["last_status"], row["last_error"]), ("error", "boom: it broke"))
        self.assertEqual(row["last_run"], stamp(1))
        self.runs(1)
        self.assertEqual(self.row()["last_status"], "ok")


class Clocks(CronCase):
    """03 §3.5: wall-clock time is looked at again and again."""

    def test_a_clock_set_forward_is_noticed_within_a_minute(self) -> None:
        """What became due runs once, with its own time."""
        self.cron("0 0 * * * *")
        self.pass_time(10)
        self.offset += 3 * HOUR + 600
        seen = self.runs(LONGEST_SLEEP_S)
        self.assertEqual(seen, [stamp(HOUR)])
        self.assertEqual(self.row()["next_runs"][0], stamp(4 * HOUR))

    def test_a_suspended_host_runs_once_for_all_it_slept_through(self) -> None:
        """The monotonic clock stood still meanwhile."""
        self.cron("* * * * * *")
        self.assertEqual(len(self.runs(2)), 2)
        self.offset += 8 * HOUR
        self.assertEqual(self.runs(2), [stamp(3), stamp(8 * HOUR + 4)])

    def test_a_timer_that_comes_early_waits_again(self) -> None:
        """The wall clock runs slower than the reactor's."""
        self.cron("0 0 * * * *")
        for _ in range(int(HOUR)):
            self.ticks.advance(1)
            self.offset -= 0.001  # 3.6 s in an hour
        self.assertEqual(self.calls(), [])
        self.assertEqual(self.runs(5), [stamp(HOUR)])

    def test_a_clock_set_back_a_little_repeats_nothing(self) -> None:
        """Ticks that had their run are waited past."""
        self.cron("*/10 * * * * *")
        self.assertEqual(len(self.runs(30)), 3)
        self.offset -= 20
        self.assertEqual(self.runs(31), [stamp(40)])

    def test_an_hour_back_repeats_what_runs_often_and_nothing_else(self) -> None:
        """As cron daemons have it: up to three hours."""
        self.cron("0 0 11 * * *", id="daily")
        self.cron("0 */5 * * * *", id="often")

        def seen(seconds: float) -> list[tuple[str, str]]:
            events = []
            for _ in range(int(seconds)):
                self.ticks.advance(1)
                for call in self.calls():
                    event = value(call.data)
                    events.append((event["job_id"], event["scheduled_time"]))
                    self.answer(call)
            return sorted(events)

        often = [("often", stamp(300 * n)) for n in range(1, 13)]
        self.assertEqual(seen(HOUR + 30), [("daily", stamp(HOUR)), *often])
        self.offset -= HOUR
        self.assertEqual(seen(HOUR), often)

    def test_a_year_back_and_the_new_time_counts(self) -> None:
        """A clock that was wrong from the start must not stop the jobs for a year."""
        self.cron("0 0 * * * *")
        self.assertEqual(len(self.runs(HOUR)), 1)
        self.offset -= 365 * 24 * HOUR
        self.assertEqual(len(self.runs(2 * HOUR)), 2)


class Jitter(CronCase):
    """08 §3: `jitter_ms`."""

    def test_runs_start_later_but_keep_their_time(self) -> None:
        """Within the bound, at most one per tick."""
        self.cron("*/10 * * * * *", jitter_ms=5000)
        started, ticks = [], []
        for _ in range(2000):
            self.ticks.advance(0.1)
            for call in self.calls():
                event = value(call.data)
                ticks.append(event["scheduled_time"])
                started.append(round(self.wall() - START, 1) % 10)
                self.answer(call)
        self.assertEqual(ticks, [stamp(10 * n) for n in range(1, len(ticks) + 1)])
        self.assertGreaterEqual(len(ticks), 19)
        self.assertLessEqual(max(started), 5.1)
        self.assertGreater(len(set(started)), 5)


class Waiting(CronCase):
    """The timeline by itself."""

    def fire(self, entry: Entry, tick: int) -> None:
        """Owner."""
        self.fired.append((tick, self.wall() - START))

    def replan(self, entry: Entry) -> None:
        """Owner."""

    def set_back(self, seconds: float) -> None:
        """Owner."""

    def test_the_last_wish_counts(self) -> None:
        """An entry waits for one thing at a time, and for nothing when it is gone."""
        self.fired: list[tuple[int, float]] = []
        timeline = Timeline(ModuleApi(self.engine, "test"), self)
        first, second = Entry(), Entry()
        for entry in (first, second):
            timeline.add(entry)
        timeline.wait(first, 5, START + 1)
        timeline.wait(first, 9, START + 3)
        timeline.wait(second, 7, START + 2)
        timeline.discard(second)
        self.pass_time(5)
        self.assertEqual(self.fired, [(9, 3.0)])
        timeline.stop()


class Many(CronCase):
    """One timer for all jobs."""

    def test_ten_thousand_jobs_have_one_timer(self) -> None:
        """And those that left are forgotten."""
        triggers = [self.cron(f"{n % 60} {n // 60 % 60} * * * *") for n in range(2000)]
        self.assertEqual(len(self.ticks.getDelayedCalls()), 1)
        for trigger in triggers[1:]:
            self.engine.triggers.release(trigger)
        timeline = self.module._jobs._timeline  # type: ignore[union-attr]
        self.assertLess(len(timeline._heap), 200)
        self.assertEqual(len(self.runs(HOUR)), 1)

    def test_all_jobs_of_one_second_run_in_it(self) -> None:
        """Those of the first batch leave before the others are begun; once each."""
        for n in range(3 * BATCH + 1):
            self.cron("0 * * * * *", id=f"t{n}")
        self.pass_time(1)
        left: list[int] = []
        self.engine.turn.later(lambda: left.append(len(self.link(self.owner).calls)))
        self.ticks.advance(59)
        self.assertEqual(left, [BATCH])
        self.assertEqual(len({value(call.data)["job_id"] for call in self.calls()}), 3 * BATCH + 1)
        self.ticks.advance(59)
        self.assertEqual(self.calls(), [])

    def test_jobs_that_are_planned_late_miss_nothing(self) -> None:
        """A worker registers thousands, and the reactor is busy until after the first tick."""
        for _ in range(3):
            self.cron("* * * * * *")
        self.ticks.advance(1.5)
        self.assertEqual(self.ticks_of(self.calls()), [stamp(1)] * 3)

    def test_a_job_that_breaks_the_scheduler_leaves_the_others_alone(self) -> None:
        """Told in the log."""
        self.cron("* * * * * *", id="bad")
        self.cron("* * * * * *", id="good")
        jobs: Any = self.module._jobs
        bad = next(job for job in jobs._jobs.values() if job.binding.id == "bad")
        self.pass_time(0.5)
        bad.schedule = None
        self.pass_time(0.5)
        self.assertEqual(len(self.calls()), 2)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        jobs.remove(bad.binding)


class Functions(CronCase):
    """03 §3.5: `engine::cron::list` and `engine::cron::run`."""

    def test_a_job_is_listed_with_its_runs(self) -> None:
        """The keys of the specification, and the schedule in words."""
        self.cron("0 30 9 * * *", id="t", timezone="Europe/Berlin")
        row = self.row()
        expected = {
            "id": "t",
            "function_id": "job",
            "expression": "0 30 9 * * *",
            "timezone": "Europe/Berlin",
            "last_run": None,
            "last_status": None,
            "running": False,
            "description": "at 09:30, every day (Europe/Berlin)",
        }
        self.assertEqual({key: row[key] for key in expected}, expected)
        self.assertEqual(len(row["next_runs"]), 5)
        self.assertEqual(row["next_runs"][0], "2026-03-05T08:30:00+00:00")

    def test_a_long_list_lets_others_work(self) -> None:
        """It is made in strides."""
        for _ in range(250):
            self.cron("@daily")
        asked = self.engine.invoke("engine::cron::list", {})
        self.assertNoResult(asked)
        self.ticks.advance(0)
        self.ticks.advance(0)
        self.assertEqual(len(value(self.successResultOf(asked))), 250)

    def test_run_runs_now(self) -> None:
        """The scheduled time is now; the schedule goes on as before, no condition is asked."""
        self.cron("0 * * * * *", id="t", condition_function_id="check")
        self.pass_time(5.5)
        answer = self.ask("engine::cron::run", {"id": "t"})
        self.assertEqual(answer, {"id": "t", "started": True})
        [call] = self.calls()
        event = value(call.data)
        self.assertEqual(event["scheduled_time"], stamp(5))
        self.assertEqual(event["job_id"], "t")
        self.assertFalse(self.ask("engine::cron::run", {"id": "t"})["started"])
        self.answer(call)
        self.assertEqual(self.row()["last_status"], "ok")
        self.assertEqual(self.row()["next_runs"][0], stamp(60))

    def test_run_finds_every_id(self) -> None:
        """08 §2: also that of the second owner."""
        self.cron("@daily", id="a")
        self.cron("@daily", self.worker("job"), id="b")
        self.assertTrue(self.ask("engine::cron::run", {"id": "b"})["started"])

    def test_an_unknown_id_is_told(self) -> None:
        """03 §3.2: the text."""
        failure = self.failureResultOf(self.engine.invoke("engine::cron::run", {"id": "x"}))
        error = failure.value
        assert isinstance(error, InvocationError)
        self.assertEqual((error.code, error.message), ("NOT_FOUND", "Cron job 'x' not found"))


class Stopping(CronCase):
    """08 §4: a stop takes no new work and waits for what runs."""

    def test_what_runs_goes_on_and_nothing_new_starts(self) -> None:
        """The call is awaited like any; then nothing is left."""
        self.cron("* * * * * *", id="t")
        self.pass_time(1)
        [call] = self.calls()
        self.module.closing()
        self.pass_time(3)
        self.assertEqual(self.calls(), [])
        self.assertEqual(self.engine.invocations.awaited(self.owner), 1)
        failure = self.failureResultOf(self.engine.invoke("engine::cron::run", {"id": "t"}))
        self.assertEqual(failure.value.code, "shutting_down")  # type: ignore[attr-defined]
        self.answer(call)
        self.assertEqual(self.engine.invocations.awaited(self.owner), 0)
        self.module.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_stopping_with_a_run_leaves_no_timer(self) -> None:
        """The drain was not long enough."""
        self.cron("* * * * * *", max_run_ms=60_000)
        self.pass_time(1)
        [call] = self.calls()
        self.module.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])
        self.answer(call)


class Granting:
    """A back end that is asked elsewhere."""

    def __init__(self) -> None:
        self.asked: list[tuple[Claim, Deferred[bool]]] = []
        self.released: list[Claim] = []
        self.given_back: list[Claim] = []

    def take(self, claim: Claim) -> Deferred[bool]:
        """Claims."""
        answer: Deferred[bool] = Deferred()
        self.asked.append((claim, answer))
        return answer

    def release(self, claim: Claim, *, ran: bool = True) -> None:
        """Claims."""
        (self.released if ran else self.given_back).append(claim)


class Claims(CronCase):
    """03 §3.5: the seam for back ends that several engines share."""

    def setUp(self) -> None:
        super().setUp()
        self.granting = Granting()
        jobs: Any = self.module._jobs
        jobs._claims = self.granting

    def test_a_granted_tick_runs_and_is_released(self) -> None:
        """After its run; until then it is under way."""
        self.cron("* * * * * *", id="t")
        self.pass_time(1)
        [(claim, answer)] = self.granting.asked
        self.assertEqual((claim.trigger_id, claim.tick), ("t", int(START) + 1))
        self.assertEqual(self.module.under_way, 1)
        answer.callback(True)
        self.assertEqual(self.module.under_way, 0)
        self.assertEqual(self.granting.released, [])
        self.answer(self.calls()[0])
        self.assertEqual(self.granting.released, [claim])

    def test_a_refused_or_failed_claim_is_no_run(self) -> None:
        """Another engine has it, or nobody can tell: the tick is skipped."""
        self.cron("* * * * * *")
        self.pass_time(1)
        self.granting.asked.pop()[1].callback(False)
        self.pass_time(1)
        self.granting.asked.pop()[1].errback(OSError("no route"))
        self.assertEqual(self.calls(), [])
        self.assertIn("no route", self.row()["last_error"])
        self.assertEqual(self.granting.released, [])
        self.pass_time(1)
        self.assertEqual(len(self.granting.asked), 1)

    def test_a_claim_for_a_job_that_is_gone_is_given_back(self) -> None:
        """Removed while the back end was asked."""
        self.cron("* * * * * *", id="t")
        self.pass_time(1)
        self.engine.triggers.unregister("t", self.owner)
        claim, answer = self.granting.asked.pop()
        answer.callback(True)
        self.assertEqual(self.calls(), [])
        self.assertEqual(self.granting.given_back, [claim])
        self.assertEqual(self.granting.released, [])

    def test_a_tick_whose_engine_died_runs_when_there_is_time_for_it(self) -> None:
        """However often the back end says so; with its own time."""
        self.cron("0 0 * * * *", id="t")
        jobs: Any = self.module._jobs
        [job] = jobs._jobs.values()
        jobs.again("another job", int(START))
        self.assertEqual(self.granting.asked, [])
        for _ in range(3):
            jobs.again(job.key, int(START) - 3600)
        [(claim, answer)] = self.granting.asked
        self.assertEqual((claim.tick, claim.exclusive), (int(START) - 3600, True))
        answer.callback(True)
        jobs.again(job.key, int(START) - 7200)
        [call] = self.calls()
        self.assertEqual(self.ticks_of([call]), [stamp(-3600)])
        self.assertEqual(len(self.granting.asked), 1)
        self.answer(call)
        jobs.again(job.key, int(START) - 7200)
        self.assertEqual(len(self.granting.asked), 2)

    def test_runs_that_an_engine_leaves_behind_stay_claimed(self) -> None:
        """Another engine runs them again when the claim has run out."""
        self.cron("* * * * * *", id="t")
        self.pass_time(1)
        self.granting.asked[0][1].callback(True)
        jobs: Any = self.module._jobs
        jobs.stop()
        self.assertEqual((self.granting.released, self.granting.given_back), ([], []))

    def test_keys_name_the_job_not_the_registration(self) -> None:
        """Peers compete for one key, alike jobs of one worker don't; spelling is no difference."""

        def keys() -> list[str]:
            self.granting.asked.clear()
            self.pass_time(1)
            return [claim.key for claim, _ in self.granting.asked]

        first = self.cron("* * *  * * *", id="a")
        self.cron("* * * * * *", id="b")
        one, two = keys()
        self.assertNotEqual(one, two)
        self.engine.triggers.release(first)
        self.cron("* * * * * *", id="c")
        self.assertIn(one, keys())
