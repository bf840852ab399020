"""The list of commands on a clock that the test moves, with commands that only pretend."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Ticks

from iii.engine.clock import Clock
from iii.modules.shell.config import ExecConfig
from iii.modules.shell.group import Exit
from iii.modules.shell.pipeline import Pipeline, title
from tests.shell.cases import LogCase


class Pretended:
    """A command that does what the test says.

    :ivar signals: what it was sent
    """

    def __init__(self, command: str, pid: int) -> None:
        self.command = command
        self.pid = pid
        self.exited: Deferred[Exit] = Deferred()
        self.alive = True
        self.stubborn = False
        self.signals: list[str] = []

    def ends(self, code: int | None = 0, signal: int | None = None, *, left: bool = False) -> None:
        """The leader ends; ``left``: something that it started goes on."""
        self.alive = left
        if not self.exited.called:
            self.exited.callback(Exit(code, signal))

    def terminate(self) -> None:
        self.signals.append("TERM")
        if not self.stubborn:
            self.ends(None, 15)

    def kill(self) -> None:
        self.signals.append("KILL")
        self.ends(None, 9)

    def let_go(self) -> None:
        """Nothing is held."""


class PipelineCase(LogCase):
    """A pipeline of pretended commands."""

    def setUp(self) -> None:
        super().setUp()
        self.ticks = Ticks()
        self.started: list[Pretended] = []

    def begin(self, *commands: str, **settings: Any) -> Pipeline:
        """A pipeline that has started."""
        pipeline = Pipeline(
            Clock.virtual(self.ticks), ExecConfig(list(commands), **settings), self.spawn, "/app"
        )
        pipeline.start()
        return pipeline

    def spawn(self, command: str, name: str) -> Any:
        if command == "impossible":
            raise OSError(12, "Cannot allocate memory")
        self.started.append(Pretended(command, len(self.started) + 1))
        return self.started[-1]

    @property
    def ran(self) -> str:
        """Every command that was started."""
        return " ".join(group.command for group in self.started)


class Order(PipelineCase):
    """05 B2."""

    def test_each_step_waits_for_the_one_before(self) -> None:
        self.begin("a", "b", "c")
        for expected in ("a", "a b", "a b c"):
            self.assertEqual(self.ran, expected)
            self.started[-1].ends()
        self.assertEqual(self.ran, "a b c")

    def test_a_failed_step_ends_the_list_until_something_changes(self) -> None:
        pipeline = self.begin("a", "b", watch=["*"])
        self.started[0].ends(2)
        self.assertEqual(
            self.logged("Pipeline step failed", "error"),
            [
                "Pipeline step failed, aborting pipeline: command 1 of 2 (a): exit code 2; "
                "the next change starts the list over"
            ],
        )
        pipeline.changed("/app/x.py", 1)
        self.started[1].ends()
        self.assertEqual(self.ran, "a a b")

    def test_a_step_that_can_not_be_started_has_failed(self) -> None:
        self.begin("impossible", "b")
        self.assertEqual(self.ran, "")
        [line] = self.logged("Pipeline step failed, aborting pipeline", "error")
        self.assertIn("can't be started: [Errno 12] Cannot allocate memory", line)

    def test_a_step_ended_by_a_signal_has_failed(self) -> None:
        self.begin("a", "b")
        self.started[0].ends(None, 9)
        self.assertEqual(self.ran, "a")
        self.assertEqual(len(self.logged("signal SIGKILL", "error")), 1)


class Changed(PipelineCase):
    """05 B3, B5: a change starts the list over."""

    def test_what_runs_is_ended_first(self) -> None:
        pipeline = self.begin("a", "b", watch=["*"])
        self.started[0].ends()
        pipeline.changed("/app/src/x.py", 3)
        self.assertEqual(
            self.logged("File change"),
            ["File change detected src/x.py (and 2 more) → restarting pipeline"],
        )
        self.assertEqual(self.started[1].signals, ["TERM"])
        self.assertEqual(self.ran, "a b a")

    def test_one_that_does_not_listen_is_killed(self) -> None:
        pipeline = self.begin("b", watch=["*"], kill_timeout_ms=500)
        self.started[0].stubborn = True
        pipeline.changed("/app/x", 1)
        pipeline.changed("/app/x", 1)
        self.ticks.pump([0.02] * 24)
        self.assertEqual(self.started[0].signals, ["TERM"])
        self.assertEqual(self.ran, "b")
        self.ticks.pump([0.02] * 3)
        self.assertEqual(self.started[0].signals, ["TERM", "KILL"])
        self.assertEqual(self.ran, "b b")
        self.assertEqual(len(self.logged("was killed (kill_timeout_ms: 500)", "warn")), 1)

    def test_a_step_is_not_torn_in_two(self) -> None:
        """05 B3: a change that comes meanwhile is handled after it."""
        pipeline = self.begin("a", "b", watch=["*"])
        pipeline.changed("/app/x", 1)
        pipeline.changed("/app/x", 1)
        self.assertEqual(self.started[0].signals, [])
        self.started[0].ends(1)
        self.assertEqual(self.ran, "a a")
        self.assertEqual(self.logged("Pipeline step failed"), [])
        self.started[1].ends()
        self.assertEqual(self.ran, "a a b")

    def test_what_a_step_left_running_ends_with_the_list(self) -> None:
        """Design: a database started with ``&`` would be there twice."""
        pipeline = self.begin("a", "b", watch=["*"])
        self.started[0].ends(left=True)
        pipeline.changed("/app/x", 1)
        self.assertEqual([group.signals for group in self.started[:2]], [["TERM"], ["TERM"]])
        self.assertEqual(self.ran, "a b a")


class Exits(PipelineCase):
    """05 B5: the exit of the last command, and what follows."""

    def test_it_is_logged_with_its_code_and_nothing_follows(self) -> None:
        self.begin("FOO=secret /usr/bin/web --token=secret")
        self.ticks.advance(2.5)
        self.started[0].ends(3)
        self.assertEqual(
            self.logged("ended", "warn"),
            [
                "exec: command 1 of 1 (web) ended with exit code 3 after 2.5 s; "
                "it is not restarted (restart: never); nothing is watched"
            ],
        )
        self.ticks.advance(100)
        self.assertEqual(len(self.started), 1)
        self.assertEqual(self.logged("secret"), [])

    def test_success_is_no_warning(self) -> None:
        self.begin("a")
        self.started[0].ends(left=True)
        [line] = self.logged("ended with exit code 0", "info")
        self.assertIn("processes started by the list go on", line)

    def test_on_failure_means_failure(self) -> None:
        self.begin("a", "b", restart="on-failure")
        self.started[0].ends()
        self.started[1].ends(1)
        self.ticks.advance(1)
        self.assertEqual(self.ran, "a b b")
        self.started[2].ends()
        self.ticks.advance(100)
        self.assertEqual(self.ran, "a b b")

    def test_it_waits_longer_each_time_until_the_command_runs_well(self) -> None:
        self.begin("a", restart="always")
        for delay in (1, 2, 4, 8, 16, 30, 30):
            self.started[-1].ends()
            count = len(self.started)
            self.ticks.advance(delay - 0.01)
            self.assertEqual(len(self.started), count)
            self.ticks.advance(0.01)
            self.assertEqual(len(self.started), count + 1)
        self.ticks.advance(30)
        self.started[-1].ends()
        self.assertEqual(len(self.logged("restarted in 1 s (restart: always)")), 2)

    def test_one_that_can_not_be_started_is_tried_again(self) -> None:
        self.begin("impossible", restart="on-failure")
        self.ticks.advance(1)
        self.assertEqual(len(self.logged("can't be started")), 2)

    def test_what_it_left_is_ended_before_it_is_started_again(self) -> None:
        self.begin("a", restart="always")
        self.started[0].ends(left=True)
        self.ticks.advance(1)
        self.assertEqual(self.started[0].signals, ["TERM"])
        self.assertEqual(self.ran, "a a")

    def test_what_a_step_left_is_kept_for_it(self) -> None:
        """Design: the steps do not run again, so what they started must stay."""
        self.begin("a", "b", restart="always")
        self.started[0].ends(left=True)
        self.started[1].ends(1)
        self.ticks.advance(1)
        self.assertEqual(self.started[0].signals, [])
        self.assertEqual(self.ran, "a b b")

    def test_a_change_does_not_wait_for_the_back_off(self) -> None:
        pipeline = self.begin("a", "b", restart="always", watch=["*"])
        self.started[0].ends()
        self.started[1].ends(1)
        pipeline.changed("/app/x", 1)
        self.assertEqual(self.ran, "a b a")
        self.ticks.advance(100)
        self.assertEqual(self.ran, "a b a")

    def test_a_change_while_the_last_command_is_renewed_starts_the_whole_list(self) -> None:
        pipeline = self.begin("a", "b", restart="always", watch=["*"])
        self.started[0].ends()
        self.started[1].ends(1, left=True)
        self.started[1].stubborn = True
        self.ticks.advance(1)
        pipeline.changed("/app/x", 1)
        self.ticks.pump([0.1] * 40)
        self.assertEqual(self.ran, "a b a")

    def test_one_that_outlives_its_end_is_not_taken_for_its_successor(self) -> None:
        """Design: SIGKILL can't end a process that waits for a dead disk."""
        pipeline = self.begin("a", restart="always", watch=["*"])
        first = self.started[0]
        first.terminate = first.kill = lambda: None  # type: ignore[method-assign]
        pipeline.changed("/app/x", 1)
        self.ticks.pump([0.1] * 45)
        self.assertEqual(self.ran, "a a")
        self.assertEqual(len(self.logged("survives SIGKILL", "error")), 1)
        first.ends(None, 9)
        self.ticks.advance(100)
        self.assertEqual(self.ran, "a a")


class Stopping(PipelineCase):
    """05 B4."""

    def stopping(self, pipeline: Pipeline) -> Deferred[None]:
        return Deferred.fromCoroutine(pipeline.stop())

    def test_a_step_is_ended_and_the_rest_skipped(self) -> None:
        pipeline = self.begin("a", "b")
        self.successResultOf(self.stopping(pipeline))
        self.assertEqual(self.started[0].signals, ["TERM"])
        self.assertEqual(self.ran, "a")
        self.assertEqual(self.logged("failed"), [])

    def test_it_kills_after_the_grace_and_again_does_nothing(self) -> None:
        pipeline = self.begin("a", restart="always")
        self.started[0].stubborn = True
        stopping = self.stopping(pipeline)
        self.ticks.pump([0.02] * 148)
        self.assertNoResult(stopping)
        self.ticks.pump([0.02] * 4)
        self.successResultOf(stopping)
        self.assertEqual(self.started[0].signals, ["TERM", "KILL"])
        self.successResultOf(self.stopping(pipeline))
        self.assertEqual(self.started[0].signals, ["TERM", "KILL"])
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_when_the_engine_has_no_more_time_it_kills_at_once(self) -> None:
        """08 §4: the stop has one limit for everything."""
        pipeline = self.begin("a")
        self.started[0].stubborn = True
        stopping = self.stopping(pipeline)
        self.ticks.advance(0.5)
        stopping.cancel()
        self.successResultOf(stopping)
        self.assertEqual(self.started[0].signals, ["TERM", "KILL"])
        self.assertEqual(self.ticks.getDelayedCalls(), [])

    def test_closed_it_starts_nothing(self) -> None:
        pipeline = self.begin("a", restart="always", watch=["*"])
        pipeline.close()
        pipeline.changed("/app/x", 1)
        self.started[0].ends(1)
        self.ticks.advance(100)
        self.assertEqual(self.ran, "a")

    def test_stopped_in_its_first_turn_it_runs_nothing(self) -> None:
        pipeline = Pipeline(Clock.virtual(self.ticks), ExecConfig(["a"]), self.spawn, "/app")
        self.successResultOf(self.stopping(pipeline))
        pipeline.start()
        self.assertEqual(self.ran, "")


class Titles(LogCase):
    """Design: arguments may be secrets."""

    def test_only_the_program_is_named(self) -> None:
        for command, name in (
            ("npm run build", "npm"),
            ("A=1 B='x y' ./bin/node --key=k app.js", "node"),
            ("sleep 1000 & sleep 1000", "sleep"),
            ("exec node app.js", "node"),
            ("TOKEN=x", "sh"),
            ('"$PROGRAM" x', "sh"),
            ("echo 'unfinished", "sh"),
            ("", "sh"),
        ):
            self.assertEqual(title(command), name, command)
