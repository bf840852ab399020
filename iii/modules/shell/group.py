"""One command: a process of our own session, and everything that it starts.

The command is the leader of a new session and process group, so one signal reaches
all that belongs to it.  Twisted starts programs with ``posix_spawn``, which makes no
session, and forking the engine to run Python between ``fork`` and ``exec`` is neither
cheap nor safe with threads.  So a tiny program stands in front: ``setsid``, which
becomes the shell and keeps the process id.  Where there is none (macOS), Python does
the same.

A group lives as long as one process in it does, also when its leader has gone.  The
number of a group that is over may be given away again: after the leader has been
reaped, a process of that number is a stranger, and nothing is ever sent to it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.modules.shell.output import Output

log = Logger()

POLL_S = 0.02
#: How long SIGKILL may take: a process in the middle of a disk access does not die at once.
KILLED_S = 1.0

_SETSID = (
    "import os, signal, sys\n"
    "os.setsid()\n"
    # Python ignores these, and a program it becomes would go on to.
    "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


#: Where the system tells about processes, if it does.
_PROC = Path("/proc") if Path("/proc/self/stat").exists() else None
_SIGNALS = {number.value: number.name for number in signal.Signals}


def leader(setsid: str | None) -> tuple[str, ...]:
    """What stands before a command to make it the leader of a session.

    :param setsid: the path of the program, None when there is none
    """
    if setsid is not None:
        return (setsid,)
    return (sys.executable, "-I", "-S", "-c", _SETSID)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended.

    :ivar signal: what ended it; None when it ended by itself
    """

    code: int | None
    signal: int | None = None

    @property
    def failed(self) -> bool:
        return self.code != 0

    def __str__(self) -> str:
        if self.signal is not None:
            return f"signal {_SIGNALS.get(self.signal, self.signal)}"
        return f"exit code {self.code}"


class Group(ProcessProtocol):
    """A running command.

    :param output: where its output goes; None lets it write to ours
    :ivar exit: how the leader ended, None as long as it runs
    :ivar exited: fires with ``exit``
    """

    def __init__(self, output: Output | None = None) -> None:
        self.exit: Exit | None = None
        self.exited: Deferred[Exit] = Deferred()
        self.terminated = False
        self.pid = 0
        self._output = output
        self._over = False

    def start(self, reactor: Any, command: str) -> None:
        """Run ``command`` in the shell.

        :raises OSError: it can't be started
        """
        arguments = (*leader(shutil.which("setsid")), "sh", "-c", command)
        out: Any = "r" if self._output is not None else None
        descriptors = {0: 0, 1: out or 1, 2: out or 2}
        reactor.spawnProcess(self, arguments[0], arguments, env=None, childFDs=descriptors)

    # What its processes do -------------------------------------------------------------

    def connectionMade(self) -> None:
        """IProcessProtocol: it runs."""
        assert self.transport is not None
        self.pid = self.transport.pid
        if self._output is not None:
            self._output.attach(self.transport)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """IProcessProtocol: output, of the leader or of another process of the group."""
        if self._output is not None:
            self._output.received(childFD, data)

    def childConnectionLost(self, childFD: int) -> None:
        """IProcessProtocol: nobody has this pipe open any more."""
        if self._output is not None:
            self._output.ended(childFD)

    def processExited(self, reason: Failure) -> None:
        """IProcessProtocol: the leader has ended, the others may go on."""
        ended: Any = reason.value
        self.exit = Exit(ended.exitCode, ended.signal)
        self.exited.callback(self.exit)

    # What is done with them ------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether any process of the group is left."""
        if self.exit is None or self._over:
            return not self._over
        self._over = not _has_members(self.pid)
        return not self._over

    def terminate(self) -> None:
        """Ask all of it to end, once: a second SIGTERM means haste to many programs."""
        if not self.terminated:
            self.terminated = True
            self._signal(signal.SIGTERM)
            # One that was stopped could not hear it.
            self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of it."""
        self._signal(signal.SIGKILL)

    def let_go(self) -> None:
        """Close our ends of its pipes; a daemon that left the group may hold the others."""
        transport: Any = self.transport
        if transport is not None and self._output is not None:
            transport.loseConnection()

    def _signal(self, number: signal.Signals) -> None:
        if not self.alive:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # So young that it has no session yet.
            if self.exit is None:
                os.kill(self.pid, number)
        except PermissionError:
            log.error(
                "exec: process group {pid} can't be sent {signal}: it runs as another user",
                pid=self.pid,
                signal=number.name,
            )


def _has_members(group: int) -> bool:
    """Whether processes of ``group`` are left, whose leader has been reaped."""
    with suppress(ChildProcessError):
        # Where the engine is process 1 of a container, orphans are its children.
        while os.waitpid(-group, os.WNOHANG)[0]:
            continue
    if _exists(os.kill, group):
        return False  # a stranger has the number: the group is over
    return _exists(os.killpg, group) and (_PROC is None or _any_runs(group, _PROC))


def _exists(send: Callable[[int, int], None], number: int) -> bool:
    try:
        send(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _any_runs(group: int, proc: Path) -> bool:
    """Whether one of them runs: in many containers nobody reaps the orphans that ended."""
    with os.scandir(proc) as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        try:
            if os.getpgid(pid) == group:
                status = (proc / str(pid) / "stat").read_bytes()
                if status.rpartition(b") ")[2][:1] not in (b"Z", b"X"):
                    return True
        except (ProcessLookupError, FileNotFoundError):
            continue  # it ended just now
    return False


async def end(clock: Clock, groups: list[Group], grace_s: float) -> list[Group]:
    """End these groups: SIGTERM, ``grace_s`` of patience for all together, SIGKILL.

    When this is cancelled, patience ends at once.

    :returns: those that had to be killed
    """
    for group in groups:
        group.terminate()
    try:
        await _until(clock, grace_s, lambda: not any(group.alive for group in groups))
    except CancelledError:
        log.warn("exec: the time for stopping is over")
    killed = [group for group in groups if group.alive]
    for group in killed:
        group.kill()
    if not await _until(clock, KILLED_S, lambda: not any(group.alive for group in groups)):
        for group in groups:
            if group.alive:
                log.error("exec: process group {pid} survives SIGKILL and is left", pid=group.pid)
    for group in groups:
        group.let_go()
    return killed


async def _until(clock: Clock, limit_s: float, there: Callable[[], bool]) -> bool:
    ends = clock.monotonic() + limit_s
    while not there():
        if clock.monotonic() >= ends:
            return False
        await clock.pause(POLL_S)
    return True
