"""The benchmark suite's logic: statistics, targets, results, arguments.  Nothing is timed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import TestCase, mock

from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import cron, queues, report, stores
from benchmarks.configs import (
    CRON_CONFIG,
    HTTP_CONFIG,
    STORES_CONFIG,
    queue_config,
    rabbitmq_config,
    redis_queue_config,
    redis_stores_config,
)
from benchmarks.processes import BASELINE, ENGINE, BenchmarkError, Program
from benchmarks.revision import checked_out
from benchmarks.stats import Figure, Rounds, Target, compare, percentile, ratios
from benchmarks.suite import Measure, Plan, Side, Situation, alternate
from benchmarks.suites import SUITES
from iii import config

PLAN = Plan(rounds=3, seconds=1)
URL = "redis://127.0.0.1:6379"


def rounds(*values: float, cpu: float = 1.0) -> Rounds:
    return Rounds(list(values), [cpu] * len(values))


def figure(*, subject: Rounds, reference: Rounds | None = None, target: Target | None = None):
    return Figure("GET", "requests/s", target, subject, reference)


class Statistics(TestCase):
    """Ratios are taken round by round."""

    def test_a_percentile_is_a_value_that_was_measured(self) -> None:
        values = [5.0, 1.0, 4.0, 2.0, 3.0]
        self.assertEqual([percentile(values, p) for p in (0, 50, 99, 100)], [1, 3, 5, 5])

    def test_no_values_have_no_percentile(self) -> None:
        with self.assertRaisesRegex(ValueError, "no values"):
            percentile([], 50)

    def test_rounds_of_different_number_have_no_ratios(self) -> None:
        with self.assertRaises(ValueError):
            ratios([1.0, 2.0], [1.0])

    def test_the_median_of_the_ratios_ignores_a_slow_spell_that_hit_both_sides(self) -> None:
        """The medians of both sides come from different rounds here: 100 / 40 would be 2.5."""
        shown = figure(subject=rounds(30, 100, 120), reference=rounds(10, 50, 40))
        self.assertEqual(shown.ratio, 3.0)
        self.assertEqual(shown.value, 100)

    def test_a_figure_without_reference_has_no_ratio(self) -> None:
        self.assertIsNone(figure(subject=rounds(1)).ratio)

    def test_rates_are_also_compared_per_second_of_processor_time(self) -> None:
        shown = figure(subject=rounds(200, cpu=0.5), reference=rounds(100, cpu=1.0))
        self.assertEqual((shown.ratio, shown.ratio_per_cpu), (2.0, 4.0))

    def test_latencies_are_not(self) -> None:
        shown = Figure("p50", "ms", None, rounds(1), rounds(2))
        self.assertIsNone(shown.ratio_per_cpu)


class Targets(TestCase):
    """A target is a bound on the ratio or on the figure itself."""

    def test_at_least_and_at_most_include_the_bound(self) -> None:
        least, most = Target(3, "at least", "ratio"), Target(3, "at most", "ratio")
        self.assertEqual([least.met(x) for x in (2.9, 3, 3.1)], [False, True, True])
        self.assertEqual([most.met(x) for x in (2.9, 3, 3.1)], [True, True, False])

    def test_a_ratio_target_looks_at_the_ratio(self) -> None:
        target = Target(3, "at least", "ratio")
        missed = figure(subject=rounds(20), reference=rounds(10), target=target)
        met = figure(subject=rounds(30), reference=rounds(10), target=target)
        self.assertEqual((missed.met, met.met), (False, True))

    def test_a_value_target_looks_at_the_value(self) -> None:
        self.assertIs(figure(subject=rounds(21), target=Target(20, "at most", "value")).met, False)

    def test_without_a_target_nothing_is_met_or_missed(self) -> None:
        self.assertIsNone(figure(subject=rounds(1)).met)


class Registry(TestCase):
    """The suites and what each must reach."""

    def test_the_suites_have_the_names_of_the_seeds_and_the_issue(self) -> None:
        self.assertEqual(
            " ".join(SUITES),
            "http_single_route http_many_routes http_concurrency rpc connections idle "
            "state stream fanout large_store queue backlog cron observability "
            "redis_state redis_queue rabbitmq bridge console",
        )

    def test_the_ratio_targets_are_those_of_the_issue(self) -> None:
        targets = {
            (suite.name, measure.name): (measure.target.sense, measure.target.bound)
            for suite in SUITES.values()
            for measure in suite.measures
            if measure.target and measure.target.of == "ratio"
        }
        self.assertEqual(
            targets,
            {
                ("http_single_route", "GET, 1 connection: p50"): ("at most", 0.6),
                (
                    "http_many_routes",
                    "GET with parameters, 32 connections, every route in turn",
                ): ("at least", 0.95),
                (
                    "http_many_routes",
                    "GET with parameters, 32 connections, the same route",
                ): ("at least", 0.95),
                ("http_concurrency", "GET, 32 connections"): ("at least", 3.0),
                ("http_concurrency", "POST 1 KiB JSON, browser headers, 32 connections"): (
                    "at least",
                    2.5,
                ),
                ("rpc", "call, 64 in flight, 16 B"): ("at least", 3.2),
                ("rpc", "call, 64 in flight, 16 KiB"): ("at least", 3.5),
                ("rpc", "call, 1 in flight, 16 B: p50"): ("at most", 0.65),
                ("connections", "call, 64 in flight, 16 B"): ("at least", 0.9),
                ("state", "state::get, 64 in flight, 16 B"): ("at least", 0.7),
                ("state", "state::set, 64 in flight, 16 B"): ("at least", 0.3),
                ("stream", "stream::set, 64 in flight, 16 B, no subscriber"): ("at least", 0.25),
                ("stream", "the same, 1 subscriber receives all"): ("at least", 0.15),
                ("large_store", "state::get, random keys, 64 in flight"): ("at least", 0.6),
                ("large_store", "state::set, random keys, 64 in flight"): ("at least", 0.5),
                (
                    "queue",
                    "enqueue acknowledged, 64 in flight; "
                    "against the smaller of 0.2 calls and 20 fdatasync",
                ): ("at least", 1.0),
                ("queue", "topic, enqueue to handled"): ("at least", 0.1),
                ("queue", "named queue, concurrency 50, enqueue to handled"): ("at least", 0.1),
                ("queue", "FIFO queue, 100 groups, enqueue to handled"): ("at least", 0.08),
                ("backlog", "named queue, concurrency 50, handled"): ("at least", 0.8),
                ("observability", "GET, 32 connections"): ("at least", 0.75),
                ("observability", "call between workers, 64 in flight"): ("at least", 0.7),
                ("redis_state", "state::get on Redis, 64 in flight, 16 B"): ("at least", 0.3),
                ("redis_state", "state::set on Redis, 64 in flight, 16 B"): ("at least", 0.25),
                (
                    "redis_state",
                    "stream::set on Redis, 64 in flight, 16 B, no subscriber",
                ): ("at least", 0.15),
                ("redis_queue", "enqueue acknowledged, 64 in flight"): ("at least", 0.15),
                (
                    "redis_queue",
                    "named queue, concurrency 50, enqueue to handled",
                ): ("at least", 0.08),
                ("rabbitmq", "enqueue acknowledged, 64 in flight"): ("at least", 0.1),
                ("rabbitmq", "named queue, concurrency 50, enqueue to handled"): ("at least", 0.06),
                ("bridge", "call through a second engine, 64 in flight, 16 B"): ("at least", 0.3),
                ("console", "GET, 32 connections"): ("at least", 0.93),
            },
        )

    def test_the_fan_out_target_is_a_rate(self) -> None:
        (measure,) = SUITES["fanout"].measures
        self.assertEqual(measure.target, Target(100_000, "at least", "value"))
        self.assertEqual((measure.unit, stores.SUBSCRIBERS), ("frames/s", 1000))

    def test_stores_and_queues_are_compared_with_calls_on_an_engine_configured_alike(self) -> None:
        for name in ("state", "stream", "queue", "redis_state"):
            function, calls = SUITES[name].situations(PLAN)
            self.assertEqual((function.program, function.config), (calls.program, calls.config))
            for measure in SUITES[name].measures:
                if not measure.demands:
                    self.assertIs(measure.reference, stores.plain_calls, measure.name)

    def test_the_yardstick_of_queues_on_a_broker_has_nothing_to_do_with_it(self) -> None:
        """It would share its queues."""
        for name in ("redis_queue", "rabbitmq"):
            suite = SUITES[name]
            queue, calls = suite.situations(PLAN)
            self.assertIn("RedisAdapter" if name == "redis_queue" else "RabbitMQ", queue.config)
            self.assertEqual(calls.config, queue_config("os"))
            for measure in suite.measures:
                self.assertIs(measure.reference, stores.plain_calls, measure.name)
            with self.assertRaisesRegex(BenchmarkError, "share one broker"):
                suite.run(Plan(1, 1, against=ENGINE), print)

    def test_a_large_store_has_a_million_keys_or_what_a_smoke_run_has_of_them(self) -> None:
        for scale, keys in ((1.0, 1_000_000), (0.05, 50_000), (0.0001, 1_000)):
            large, small = SUITES["large_store"].situations(Plan(1, 1, scale))
            self.assertEqual((large.keys, small.keys), (keys, 1_000))

    def test_enqueues_must_reach_what_calls_or_the_disk_allow(self) -> None:
        """A fifth of the calls; twenty for each write when the disk is slow."""
        side = mock.Mock()
        for syncs, demanded in ((2_000, 18_000), (100, 2_000)):
            with (
                mock.patch.object(queues, "plain_calls", return_value=90_000),
                mock.patch.object(queues, "fdatasyncs_per_s", return_value=syncs),
            ):
                self.assertEqual(queues.demanded_enqueues(side, 1), demanded)

    def test_idle_latency_may_wait_for_two_writes_more_when_the_disk_is_waited_for(self) -> None:
        side = mock.MagicMock()
        side.__enter__.return_value = side
        side.queue.return_value = {"p50_ms": 1.0, "p99_ms": 9.0}
        with (
            mock.patch.object(queues, "fdatasyncs_per_s", return_value=500),
            mock.patch.object(queues, "Side", return_value=side),
        ):
            figures = SUITES["queue"].once([side, side], Plan(2, 1))
        bounds = {figure.name: figure.target.bound for figure in figures if figure.target}
        name = "idle latency, enqueue to handler, durability"
        self.assertEqual(bounds, {f"{name} os: p50": 5.0, f"{name} fsync: p50": 9.0})
        self.assertEqual([figure.value for figure in figures], [1, 9, 1, 9, 2])

    def test_a_backlog_has_a_million_messages_and_is_bounded_in_start_and_memory(self) -> None:
        for scale, count in ((1.0, 1_000_000), (0.05, queues.LEAST_MESSAGES)):
            large, small = SUITES["backlog"].situations(Plan(1, 1, scale))
            self.assertEqual((large.messages, small.messages), (count, 0))
        side, empty = mock.MagicMock(), mock.MagicMock()
        side.situation.messages = 5
        side.server.restart.side_effect = [1.0, 3.0, 2.0]
        side.server.resident_bytes.side_effect = [200e6, 210e6]
        empty.__enter__.return_value.server.resident_bytes.side_effect = [90e6, 95e6]
        for one in (side, empty.__enter__.return_value):
            one.queue.return_value = {"messages_per_s": 1.0}
        with (
            mock.patch.object(queues, "Side", return_value=empty),
            mock.patch.object(queues, "sleep"),
        ):
            start, resident, busy = SUITES["backlog"].once([side], PLAN)
        self.assertEqual((start.value, start.target), (2.0, Target(2, "at most", "value")))
        for memory, megabytes in ((resident, 110), (busy, 115)):
            self.assertEqual(memory.target, Target(150, "at most", "value"))
            self.assertEqual((memory.value, memory.unit), (megabytes, "MB"))

    def test_cron_is_bounded_in_registration_lateness_and_idle_time(self) -> None:
        side, keeper = mock.Mock(), mock.MagicMock()
        ask = keeper.__enter__.return_value.ask
        ask.return_value = {"registered_s": 1.5, "p50_ms": 5.0, "p99_ms": 60.0, "p100_ms": 70.0}
        with (
            mock.patch.object(cron, "timekeeper", return_value=keeper),
            mock.patch.object(cron, "cpu_shares", return_value=[0.02]),
            mock.patch.object(cron, "sleep"),
        ):
            figures = SUITES["cron"].once([side], PLAN)
        self.assertEqual(ask.call_args_list, [mock.call({"triggers": 10_000, "firing": 1_000})] * 3)
        self.assertEqual(
            [(f.value, f.target.bound, f.met) for f in figures if f.target],
            [(1.5, 2.0, True), (60.0, 50.0, False), (2.0, 1.0, False)],
        )

    def test_engine_and_baseline_are_compared_where_a_factor_is_asked_for(self) -> None:
        for name in ("http_single_route", "http_concurrency", "rpc"):
            programs = [situation.program for situation in SUITES[name].situations(PLAN)]
            self.assertEqual(programs, [ENGINE, BASELINE], name)

    def test_the_names_of_the_sides_say_how_many_connections_there_really_are(self) -> None:
        """A smoke run holds fewer connections than the full one."""
        for scale, count in ((1.0, 10_000), (0.05, 500)):
            crowded, pair = SUITES["connections"].situations(Plan(1, 1, scale))
            self.assertEqual((crowded.idle_connections, pair.idle_connections), (count, 0))
            self.assertEqual(crowded.name, f"{count:,} workers")

    def test_all_stands_for_every_suite(self) -> None:
        self.assertEqual(command.chosen("all"), list(SUITES))
        self.assertEqual(command.chosen("rpc"), ["rpc"])


class Alternation(TestCase):
    """The two sides are measured in turn."""

    def sides(self, plan: Plan) -> list[Side]:
        sides = [Side(Situation(name, ENGINE), plan) for name in "AB"]
        for side in sides:
            side.server = mock.Mock(**{"cpu_seconds.return_value": 0.0})
        return sides

    def test_the_second_side_is_measured_in_its_own_way(self) -> None:
        """But not another revision: that does the same work."""
        target = Target(1, "at least", "ratio")
        measure = Measure("m", "calls/s", target, lambda *_: 6.0, reference=lambda *_: 3.0)
        for against, ratio in ((None, 2.0), (Program("other"), 1.0)):
            plan = Plan(rounds=1, seconds=1, against=against)
            self.assertEqual(alternate(measure, self.sides(plan), plan).ratio, ratio)

    def test_a_reference_that_is_a_demand_has_no_processor_time(self) -> None:
        plan = Plan(rounds=1, seconds=1)
        for demands in (False, True):
            sides = self.sides(plan)
            for side in sides:
                side.server.cpu_seconds.side_effect = [0.0, 1.0]
            measure = Measure("m", "x/s", None, lambda *_: 6.0, lambda *_: 3.0, demands)
            taken = alternate(measure, sides, plan)
            assert taken.reference is not None
            self.assertEqual((taken.ratio, taken.ratio_per_cpu is None), (2.0, demands))

    def test_after_a_warm_up_of_each_the_rounds_go_a_b_a_b(self) -> None:
        taken: list[tuple[str, int]] = []

        def take(side: Side, seconds: int) -> float:
            taken.append((side.name, seconds))
            return len(taken)

        plan = Plan(rounds=2, seconds=7)
        target = Target(1, "at least", "ratio")
        taken_figure = alternate(Measure("m", "calls/s", target, take), self.sides(plan), plan)

        warm_up, timed = taken[:2], taken[2:]
        self.assertEqual([name for name, _ in warm_up], ["A", "B"])
        self.assertEqual(timed, [("A", 7), ("B", 7), ("A", 7), ("B", 7)])
        self.assertEqual(taken_figure.subject.values, [3, 5])
        assert taken_figure.reference is not None
        self.assertEqual(taken_figure.reference.values, [4, 6])


class Results(TestCase):
    """What is written, and read again."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.figures = [
            figure(
                subject=rounds(30, 33),
                reference=rounds(10, 11),
                target=Target(3, "at least", "ratio"),
            ),
        ]
        self.content = report.result("http_concurrency", ["engine", "baseline"], self.figures, PLAN)

    def test_a_result_file_has_the_rounds_and_what_they_depend_on(self) -> None:
        path = report.write_result(self.content, self.directory)
        self.assertRegex(path.name, r"^http_concurrency-\d{8}-\d{6}\.json$")
        content = json.loads(path.read_text())
        self.assertEqual(content["plan"], {"rounds": 3, "seconds": 1, "scale": 1.0})
        self.assertEqual(content["figures"][0]["subject"]["values"], [30, 33])
        self.assertEqual((content["figures"][0]["ratio"], content["figures"][0]["met"]), (3, True))
        self.assertLessEqual({"commit", "python", "cores", "packages"}, {*content["surroundings"]})

    def test_a_saved_result_comes_back_by_its_name(self) -> None:
        report.save(self.content, "before", self.directory)
        self.assertEqual(
            report.load("before", "http_concurrency", self.directory)["figures"],
            self.content["figures"],
        )

    def test_a_comparison_shows_the_figures_both_results_have(self) -> None:
        before = [
            {"name": "gone", "unit": "ms", "value": 1, "ratio": None},
            {"name": "GET", "unit": "requests/s", "value": 20, "ratio": 2.0},
        ]
        now = [
            {"name": "new", "unit": "ms", "value": 1, "ratio": None},
            {"name": "GET", "unit": "requests/s", "value": 30, "ratio": 2.5},
        ]
        (change,) = compare(now, before)
        self.assertEqual((change.name, change.factor, change.ratio_factor), ("GET", 1.5, 1.25))

    def test_a_rate_with_an_idle_engine_is_pointed_out(self) -> None:
        lazy = figure(subject=rounds(1, cpu=0.4))
        self.assertEqual(report.not_busy([figure(subject=rounds(1, cpu=0.99))]), [])
        (line,) = report.not_busy([lazy])
        self.assertIn("only 40% of a core", line)


class Programs(TestCase):
    """What is started."""

    def test_the_engine_gets_free_ports_and_the_baseline_the_same_ready_file(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        ready = ["--ready-file", str(directory / "ready.json")]
        self.assertEqual(BASELINE.arguments(directory), ["-m", "benchmarks.baseline", *ready])
        file = directory / "config.yaml"
        self.assertEqual(ENGINE.arguments(directory), ["-m", "iii", "-c", str(file), *ready])
        # Workers, HTTP, and none for Prometheus.
        self.assertEqual(file.read_text().count("port: 0"), 3)
        ENGINE.arguments(directory, STORES_CONFIG)
        self.assertEqual(file.read_text(), STORES_CONFIG)

    def test_the_configurations_have_no_key_that_the_engine_does_not_know(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        for text in (
            *(HTTP_CONFIG, STORES_CONFIG, CRON_CONFIG, queue_config("fsync")),
            *(
                redis_stores_config(URL),
                redis_queue_config(URL),
                rabbitmq_config("amqp://127.0.0.1:5672"),
            ),
        ):
            path = directory / "config.yaml"
            path.write_text(text)
            self.assertEqual(config.examine(path, environ={}, strict=True).problems, [])

    def test_the_baseline_is_the_short_program_that_the_issue_asks_for(self) -> None:
        text = (Path(report.__file__).parent / "baseline.py").read_text()
        self.assertLess(len(text.splitlines()), 120)


class Revisions(TestCase):
    """``--against`` measures another revision, from a worktree of its own."""

    def setUp(self) -> None:
        self.repository = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.repository)
        self.git("init", "--quiet")
        for version in ("old", "new"):
            (self.repository / "iii.py").write_text(version)
            self.git("add", "iii.py")
            self.git(
                "-c", "user.name=T", "-c", "user.email=t@example.org",
                "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", version,
            )  # fmt: skip

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.repository, check=True, capture_output=True, text=True
        ).stdout

    def test_the_revisions_files_are_there_and_leave_no_trace(self) -> None:
        with checked_out("HEAD~1", self.repository) as program:
            self.assertEqual(program, Program("engine at HEAD~1", program.tree))
            self.assertEqual((program.tree / "iii.py").read_text(), "old")
        self.assertFalse(program.tree.exists())
        self.assertEqual(len(self.git("worktree", "list").splitlines()), 1)

    def test_the_worktree_goes_when_the_run_fails(self) -> None:
        with (
            self.assertRaises(ZeroDivisionError),
            checked_out("HEAD", self.repository) as program,
        ):
            raise ZeroDivisionError
        self.assertFalse(program.tree.exists())

    def test_an_unknown_revision_is_named(self) -> None:
        with (
            self.assertRaisesRegex(BenchmarkError, "nosuch"),
            checked_out("nosuch", self.repository),
        ):
            self.fail("must not be entered")


class CommandLine(TestCase):
    """Arguments, exit codes."""

    def invoke(self, *arguments: str, met: bool = True):
        """The command with its measuring replaced; what it would have run is in ``self.runs``."""
        self.runs = mock.Mock(return_value=met)
        with mock.patch.object(command, "run", self.runs):
            return CliRunner().invoke(command.main, arguments)

    def plan(self) -> Plan:
        plan = self.runs.call_args.args[1]
        assert isinstance(plan, Plan)
        return plan

    def test_without_options_there_are_five_rounds_of_three_seconds(self) -> None:
        self.assertEqual(self.invoke("rpc").exit_code, 0)
        self.assertEqual(self.plan(), Plan(rounds=5, seconds=3, scale=1.0))

    def test_quick_is_a_smoke_run_whose_parts_can_be_set(self) -> None:
        self.invoke("rpc", "--quick", "--rounds", "4")
        self.assertEqual(self.plan(), Plan(rounds=4, seconds=1, scale=command.QUICK.scale))

    def test_an_unknown_suite_is_refused_with_the_names_of_all(self) -> None:
        result = self.invoke("http")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("http_single_route", result.output)
        self.runs.assert_not_called()

    def test_a_missing_wrk_says_how_to_get_it(self) -> None:
        with mock.patch("shutil.which", return_value=None):
            result = self.invoke("all")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("apt-get install wrk", result.output)
        self.runs.assert_not_called()

    def test_the_suites_without_http_need_no_wrk(self) -> None:
        with mock.patch("shutil.which", return_value=None):
            self.assertEqual(self.invoke("rpc").exit_code, 0)

    def test_a_baseline_that_was_never_saved_is_refused_before_anything_runs(self) -> None:
        result = self.invoke("rpc", "--baseline", "never-saved")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("never-saved", result.output)
        self.runs.assert_not_called()

    def test_saving_and_comparing_exclude_each_other(self) -> None:
        result = self.invoke("rpc", "--baseline", "a", "--save-baseline", "b")
        self.assertEqual(result.exit_code, 2)

    def test_missed_targets_fail_the_command_only_when_asked(self) -> None:
        self.assertEqual(self.invoke("rpc", met=False).exit_code, 0)
        self.assertEqual(self.invoke("rpc", "--check", met=False).exit_code, 3)
        self.assertEqual(self.invoke("rpc", "--check").exit_code, 0)
