"""The list of commands: run in order, watched over, started over.

All but the last are *steps*: each must succeed before the next one starts.  The last
is left running.  A change of a watched file ends what runs and starts the list over;
one that comes while a step runs waits for its end, so that no installation is torn in
two.  Background processes that a step left behind belong to the list and end with it.

What happens here is one thing at a time: ``_renewing`` says, while processes end, what
runs next, and whatever wants a new start meanwhile gets that one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.modules.shell.config import ExecConfig
from iii.modules.shell.group import Exit, Group, end

log = Logger()

FIRST_BACKOFF_S = 1.0
LAST_BACKOFF_S = 30.0
#: A command that ran this long before it ended did start well: the back-off begins anew.
RAN_WELL_S = 30.0

#: Starts a command; the second argument is what its output is labelled with.
Start = Callable[[str, str], Group]
What = Literal["list", "last"]

_ASSIGNMENT = re.compile(r"\w+=")
_PROGRAM = re.compile(r"[\w./+-]+")


def title(command: str) -> str:
    """The name of the program that ``command`` runs first.

    Arguments and assignments are left out of the log: they may be secrets.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that does not end: the shell will say so
        words = []
    programs = (word for word in words if word != "exec" and not _ASSIGNMENT.match(word))
    program = next(programs, "")
    return Path(program).name if _PROGRAM.fullmatch(program) else "sh"


class Pipeline:
    """Runs the commands of one module.

    :param start: starts one command
    :param base: the working directory; paths below it are shown relative to it
    """

    def __init__(self, clock: Clock, settings: ExecConfig, start: Start, base: str) -> None:
        self._clock = clock
        self._commands = settings.exec
        self._restart = settings.restart
        self._grace_s = settings.kill_timeout_ms / 1000
        self._watched = bool(settings.watch)
        self._start = start
        self._base = base
        self._groups: list[Group] = []
        self._step: str | None = None
        self._last: Group | None = None
        self._changed = False
        self._renewing: What | None = None
        self._closed = False
        self._delay_s = FIRST_BACKOFF_S
        self._backoff: Timer | None = None

    def start(self) -> None:
        """Run the list."""
        if not self._closed:
            Deferred.fromCoroutine(self._run()).addErrback(_broken)

    def changed(self, path: str, count: int) -> None:
        """Watched files have changed: start over.

        :param path: the first of them
        """
        if self._closed:
            return
        others = f" (and {count - 1} more)" if count > 1 else ""
        if self._renewing is not None:
            self._renewing = "list"
            what = "restarting pipeline as soon as what runs has ended"
        elif self._step is not None:
            self._changed = True
            what = f"restarting pipeline when {self._step} has ended"
        else:
            what = "restarting pipeline"
        log.info(
            "File change detected {path}{others} → {what}",
            path=path.removeprefix(f"{self._base}/"),
            others=others,
            what=what,
        )
        if self._renewing is None and self._step is None:
            self._delay_s = FIRST_BACKOFF_S
            self._renew("list")

    def close(self) -> None:
        """Start nothing any more; what runs goes on."""
        self._closed = True
        self._stop_backoff()

    def kill(self) -> None:
        """End everything this instant, as far as it has begun."""
        self._closed = True
        for group in self._groups:
            group.kill()

    async def stop(self) -> None:
        """End everything; cancelled, it kills what is left."""
        self.close()
        await self._end(self._groups)

    # Running ---------------------------------------------------------------------------

    async def _run(self) -> None:
        """The list from its first command."""
        self._changed = False
        for index in range(len(self._commands) - 1):
            succeeded = await self._run_step(index)
            if self._closed:
                return
            if self._changed:
                self._renew("list")
                return
            if not succeeded:
                return
        self._run_last()

    async def _run_step(self, index: int) -> bool:
        name = self._step = self._name(index)
        try:
            exit = await self._spawn(index).exited
            outcome, failed = str(exit), exit.failed
        except OSError as problem:
            outcome, failed = f"can't be started: {problem}", True
        self._step = None
        if failed and not self._closed and not self._changed:
            log.error(
                "Pipeline step failed, aborting pipeline: {step}: {outcome}; {what_now}",
                step=name,
                outcome=outcome,
                what_now=self._what_now,
            )
        return not failed

    def _run_last(self) -> None:
        index = len(self._commands) - 1
        began = self._clock.monotonic()
        try:
            group = self._spawn(index)
        except OSError as problem:
            self._last_ended(f"can't be started: {problem}", True, began)
            return
        self._last = group
        group.exited.addCallback(self._last_exited, group, began).addErrback(_broken)

    def _spawn(self, index: int) -> Group:
        self._groups = [group for group in self._groups if group.alive]
        command = self._commands[index]
        group = self._start(command, title(command))
        self._groups.append(group)
        log.info("exec: {step} runs, process {pid}", step=self._name(index), pid=group.pid)
        return group

    # Endings ---------------------------------------------------------------------------

    def _last_exited(self, exit: Exit, group: Group, began: float) -> None:
        # One that is being ended, or survived that for a while, is not the last any more.
        if not self._closed and group is self._last:
            self._last_ended(f"ended with {exit}", exit.failed, began)

    def _last_ended(self, outcome: str, failed: bool, began: float) -> None:
        ran_s = self._clock.monotonic() - began
        if ran_s >= RAN_WELL_S:
            self._delay_s = FIRST_BACKOFF_S
        again = self._restart == "always" or (failed and self._restart == "on-failure")
        if again:
            self._backoff = self._clock.call_later(self._delay_s, self._renew, "last")
            what = f"restarted in {self._delay_s:g} s (restart: {self._restart})"
            self._delay_s = min(2 * self._delay_s, LAST_BACKOFF_S)
        else:
            what = f"not restarted (restart: {self._restart}); {self._what_now}"
        left = sum(group.alive for group in self._groups)
        report = log.warn if failed else log.info
        report(
            "exec: {step} {outcome} after {ran:.1f} s{others}; it is {what}",
            step=self._name(len(self._commands) - 1),
            outcome=outcome,
            ran=ran_s,
            others=", processes started by the list go on" if left else "",
            what=what,
        )

    def _renew(self, what: What) -> None:
        """End what runs and run it again: the whole list, or only its last command."""
        self._stop_backoff()
        last, self._last = self._last, None
        self._renewing = what
        Deferred.fromCoroutine(self._end_and_run(last)).addErrback(_broken)

    async def _end_and_run(self, last: Group | None) -> None:
        try:
            if self._renewing == "last" and last is not None:
                await self._end([last])
            # A change that came meanwhile has made it the whole list.
            if self._renewing == "list":
                await self._end(self._groups)
        finally:
            what, self._renewing = self._renewing, None
        if self._closed:
            return
        if what == "list":
            await self._run()
        else:
            self._run_last()

    async def _end(self, groups: list[Group]) -> None:
        living = [group for group in groups if group.alive]
        for group in await end(self._clock, living, self._grace_s):
            log.warn(
                "exec: process group {pid} did not end in time after SIGTERM and was killed "
                "(kill_timeout_ms: {grace:g})",
                pid=group.pid,
                grace=self._grace_s * 1000,
            )

    def _stop_backoff(self) -> None:
        if self._backoff is not None and self._backoff.active():
            self._backoff.cancel()

    # Words -----------------------------------------------------------------------------

    def _name(self, index: int) -> str:
        return f"command {index + 1} of {len(self._commands)} ({title(self._commands[index])})"

    @property
    def _what_now(self) -> str:
        return "the next change starts the list over" if self._watched else "nothing is watched"


def _broken(failure: Failure) -> None:
    log.failure("exec: the commands are not watched over any more", failure)
