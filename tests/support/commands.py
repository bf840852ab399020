"""Commands as processes, beside an engine in this one."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.process_case import environment


class Command(ProcessProtocol):
    """One run of ``iii``.

    :ivar code: its exit code, once ``ended`` has fired
    """

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.out = b""
        self.err = b""
        self.code: int | None = None
        self.ended: Deferred[None] = Deferred()
        command = (sys.executable, "-m", "iii", *arguments)
        self.process: Any = reactor.spawnProcess(  # type: ignore[attr-defined]
            self, sys.executable, command, environment()
        )

    def outReceived(self, data: bytes) -> None:
        """It wrote to stdout."""
        self.out += data

    def errReceived(self, data: bytes) -> None:
        """It wrote to stderr."""
        self.err += data

    def processEnded(self, reason: Failure) -> None:
        """It is over."""
        failed = reason.check(ProcessTerminated)
        self.code = reason.value.exitCode if failed else 0
        self.ended.callback(None)

    @property
    def lines(self) -> list[str]:
        """What it wrote to stdout."""
        return self.out.decode().splitlines()

    @property
    def errors(self) -> list[str]:
        """What it wrote to stderr."""
        return self.err.decode().splitlines()


class Commands(TestCase):
    """Runs ``iii`` against the engine whose worker port is ``self.port``."""

    port: int

    def begin(self, *arguments: str) -> Command:
        """Start a command that the end of the test ends."""
        command = Command((*arguments, "--port", str(self.port)))
        self.addCleanup(self.end, command)
        return command

    async def end(self, command: Command) -> None:
        """Kill it, if it is still there."""
        if command.code is None:
            command.process.signalProcess("KILL")
            await command.ended

    async def iii(self, *arguments: str) -> Command:
        """Run a command to its end."""
        command = self.begin(*arguments)
        await command.ended
        return command

    async def done(self, *arguments: str) -> Command:
        """Run a command that is to succeed."""
        command = await self.iii(*arguments)
        self.assertEqual(command.code, 0, command.err)
        return command
