"""Real processes: sessions, signals, what is left of them, their output."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from iii.modules.shell import group as groups
from iii.modules.shell.group import Exit, Group, end
from iii.modules.shell.output import MAX_LINE_BYTES, Output
from tests.shell.cases import LogCase, ShellCase, is_running


class GroupCase(ShellCase):
    """Commands as groups."""

    def run_group(self, command: str, output: Output | None = None) -> Group:
        group = Group(output)
        os.environ["D"] = str(self.folder)
        self.addCleanup(os.environ.pop, "D", None)
        group.start(reactor, command)
        self.addCleanup(end, self.clock, [group], 0.0)
        return group


class Sessions(GroupCase):
    """05 B2: a command leads a new session, and ends as one."""

    async def test_a_command_leads_its_own_session(self) -> None:
        group = self.run_group("echo $$ > $D/pid; sleep 100; true")
        self.assertEqual(await self.pid_in("pid"), group.pid)
        self.assertEqual(os.getsid(group.pid), group.pid)
        self.assertEqual(os.getpgid(group.pid), group.pid)

    async def test_python_makes_the_session_where_there_is_no_setsid(self) -> None:
        """Design: macOS; and what Python ignores, the command does not."""
        self.patch(groups.shutil, "which", lambda name: None)
        group = self.run_group("yes | head -1 > $D/y; echo $$ > $D/pid; sleep 100; true")
        self.assertEqual(await self.pid_in("pid"), group.pid)
        self.assertEqual(os.getsid(group.pid), group.pid)
        self.assertEqual(self.lines("y"), ["y"])

    async def test_the_exit_says_how_it_ended(self) -> None:
        self.assertEqual(await self.run_group("exit 3").exited, Exit(3))
        self.assertEqual(await self.run_group("true").exited, Exit(0))
        self.assertEqual(await self.run_group("kill -USR1 $$").exited, Exit(None, signal.SIGUSR1))
        self.assertEqual(str(Exit(None, 64)), "signal SIGRTMAX")

    async def test_sigpipe_ends_programs_as_usual(self) -> None:
        """Design: Python ignores SIGPIPE, its children must not."""
        self.assertEqual(await self.run_group("kill -PIPE $$; exit 0").exited, Exit(None, 13))


class Ending(GroupCase):
    """05 B4: all of a group ends."""

    async def test_what_a_gone_leader_started_belongs_to_the_group(self) -> None:
        group = self.run_group("sleep 1000 & echo $! > $D/pid")
        self.assertEqual(await group.exited, Exit(0))
        pid = await self.pid_in("pid")
        self.assertTrue(group.alive)
        self.assertEqual(await end(self.clock, [group], 3.0), [])
        self.assertFalse(is_running(pid))
        self.assertFalse(group.alive)

    async def test_one_that_ignores_sigterm_is_killed(self) -> None:
        group = self.run_group("trap '' TERM; echo $$ > $D/pid; sleep 1000; sleep 1000")
        pid = await self.pid_in("pid")
        self.assertEqual(await end(self.clock, [group], 0.1), [group])
        self.assertFalse(is_running(pid))
        self.assertEqual(self.logged("survives"), [])
        self.assertEqual(await group.exited, Exit(None, signal.SIGKILL))

    async def test_one_may_use_the_grace_to_tidy_up(self) -> None:
        group = self.run_group(
            "trap 'sleep 0.1; echo done > $D/bye; exit 0' TERM; echo $$ > $D/pid; "
            "while :; do sleep 0.02; done 2> /dev/null"
        )
        await self.pid_in("pid")
        self.assertEqual(await end(self.clock, [group], 5.0), [])
        self.assertEqual(self.lines("bye"), ["done"])

    async def test_a_stopped_one_hears_it_too(self) -> None:
        group = self.run_group("echo $$ > $D/pid; kill -STOP $$; sleep 1000")
        await self.pid_in("pid")
        self.assertEqual(await end(self.clock, [group], 5.0), [])

    async def test_one_that_has_just_been_started_can_be_ended(self) -> None:
        """Design: it has no session yet."""
        for _ in range(5):
            group = self.run_group("sleep 1000")
            self.assertEqual(await end(self.clock, [group], 5.0), [])

    async def test_a_stranger_with_its_number_is_left_alone(self) -> None:
        """Design: numbers of processes are given away again."""
        stranger = self.run_group("echo $$ > $D/pid; sleep 1000; true")
        await self.pid_in("pid")
        group = Group()
        group.pid, group.exit = stranger.pid, Exit(0)
        self.assertFalse(group.alive)
        group.kill()
        self.assertTrue(is_running(stranger.pid))


class Labels(GroupCase):
    """05 "better" 23: ``prefix``."""

    async def test_lines_of_both_streams_carry_the_label(self) -> None:
        written: list[tuple[int, bytes]] = []

        def write(descriptor: int, data: bytes) -> Deferred[None]:
            written.append((descriptor, data))
            return succeed(None)

        group = self.run_group("echo one; echo two >&2; printf 'three'", Output("web", write))
        await group.exited
        await self.eventually(lambda: b"three" in b"".join(data for _, data in written))
        for descriptor, text in ((1, b"web | one\nweb | three\n"), (2, b"web | two\n")):
            self.assertEqual(b"".join(data for fd, data in written if fd == descriptor), text)

    async def test_a_command_waits_while_nobody_reads(self) -> None:
        """Design: a slow terminal must not fill the memory."""
        writes: list[Deferred[None]] = []
        taken: list[bytes] = []

        def write(descriptor: int, data: bytes) -> Deferred[None]:
            taken.append(data)
            writes.append(Deferred())
            return writes[-1]

        def taken_lines() -> int:
            for waiting in writes:
                if not waiting.called:
                    waiting.callback(None)
            return sum(data.count(b"\n") for data in taken)

        self.run_group("seq 100000; echo end > $D/end", Output("a", write))
        await self.eventually(lambda: writes)
        await self.turn(0.02)
        self.assertEqual(len(writes), 1)
        self.assertEqual(self.lines("end"), [])
        await self.eventually(lambda: taken_lines() == 100_000)
        await self.eventually(lambda: self.lines("end"))
        self.assertTrue(taken[-1].endswith(b"a | 100000\n"))


class Lines(LogCase):
    """``Output`` on its own."""

    def setUp(self) -> None:
        super().setUp()
        self.text = b""
        self.output = Output("x", self.write)
        self.pauses = 0
        self.output.attach(self)

    def pauseProducing(self) -> None:
        """IPushProducer."""
        self.pauses += 1

    def resumeProducing(self) -> None:
        """IPushProducer."""
        self.pauses -= 1

    def write(self, descriptor: int, data: bytes) -> Any:
        self.text += data
        return succeed(None)

    def test_lines_are_kept_together_however_they_come(self) -> None:
        for piece in (b"on", b"e\ntw", b"o", b"\n\nthree"):
            self.output.received(1, piece)
        self.assertEqual(self.text, b"x | one\nx | two\nx | \n")
        self.output.ended(1)
        self.assertEqual(self.text, b"x | one\nx | two\nx | \nx | three\n")
        self.assertEqual(self.pauses, 0)

    def test_a_line_without_an_end_is_cut(self) -> None:
        self.output.received(1, b"a" * (MAX_LINE_BYTES + 5))
        self.assertEqual(self.text, b"x | " + b"a" * MAX_LINE_BYTES + b"\n")
        self.output.received(1, b"\n")
        self.assertTrue(self.text.endswith(b"\nx | aaaaa\n"))

    def test_output_that_nobody_takes_is_dropped_with_one_warning(self) -> None:
        """Design: ``iii | head``."""

        def refuse(descriptor: int, data: bytes) -> Deferred[None]:
            refused: Deferred[None] = Deferred()
            refused.errback(BrokenPipeError(32, "Broken pipe"))
            return refused

        self.output._write = refuse
        for _ in range(3):
            self.output.received(1, b"line\n")
        self.assertEqual(len(self.logged("can't be shown any more: [Errno 32]", "warn")), 1)
        self.assertEqual(self.pauses, 0)


class Leaders(SynchronousTestCase):
    """What stands before the shell."""

    def test_setsid_where_it_is(self) -> None:
        self.assertEqual(groups.leader("/usr/bin/setsid"), ("/usr/bin/setsid",))
        self.assertIn("os.setsid()", groups.leader(None)[-1])
