"""``twistd iii``: the engine under Twisted's own daemon runner.

twistd gives what ``iii`` leaves to others: it daemonises, keeps a pid file, rotates
log files, changes the user.  Everything else is the same ``EngineProcess``.

The configuration is read here, before twistd detaches, so a faulty one is told on
the terminal.  Log lines have the engine's format also under twistd, unless
``--logger`` or ``--syslog`` asks for another.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from iii._version import __version__
from iii.catalogue import Catalogue
from iii.cli.output import tell_error
from iii.config import load
from iii.entries import Configuration
from iii.errors import IIIError
from iii.logging import LogOutput
from iii.process import EngineProcess, ReadyLine
from iii.reload import Source, source_of
from iii.service import EngineService, with_port

log = Logger()


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(f"{number} is no port")
    return number


class Options(usage.Options):
    """What stands behind ``twistd iii``."""

    synopsis = "[options]"
    optFlags = [
        ["use-default-config", None, "Run the default modules, read no file."],
        ["no-watch", None, "Do not reload the configuration when its file changes."],
    ]
    optParameters = [
        ["config", "c", None, "Configuration file.  [default: config.yaml]"],
        ["port", None, None, "Worker port instead of the configured one.", _port],
        ["ready-fd", None, None, "Write the ready line to this file descriptor.", int],
        ["ready-file", None, None, "Write the ready line to this file."],
    ]

    configuration: Configuration
    source: Source | None = None
    output: LogOutput | None = None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(__version__)
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Read the configuration and choose the log.

        :raises usage.UsageError: the configuration is wrong
        """
        if self["use-default-config"] and self["config"]:
            raise usage.UsageError("--use-default-config and --config exclude each other.")
        path = None if self["use-default-config"] else Path(self["config"] or "config.yaml")
        catalogue = Catalogue.with_entry_points()
        if path is not None:
            # twistd changes the working directory when it detaches.
            self.source = source_of(
                path.absolute(),
                environ=os.environ,
                catalogue=catalogue,
                finish=lambda configuration: with_port(configuration, self["port"]),
                watch=not self["no-watch"],
            )
        try:
            configuration = load(path, environ=os.environ, catalogue=catalogue)
        except IIIError as error:
            tell_error(error)
            raise SystemExit(1) from error
        self.configuration = with_port(configuration, self["port"])
        self._choose_log(self.parent)

    def _choose_log(self, twistd: Any) -> None:
        """Our observer instead of twistd's, unless the operator chose one."""
        if twistd is not None and not twistd.get("logger") and not twistd.get("syslog"):
            self.output = LogOutput.from_environment(_log_stream(twistd), os.environ)


def makeService(options: Options) -> EngineProcess:
    """The service twistd runs."""
    from twisted.internet import reactor

    service = EngineService(
        reactor,
        options.configuration,
        environ=os.environ,
        output=options.output,
        source=options.source,
    )
    ready_file = options["ready-file"]
    process = TwistdProcess(
        reactor,
        service,
        environ=os.environ,
        say=options.output.say if options.output is not None else _say_in_log,
        ready=ReadyLine(options["ready-fd"], Path(ready_file) if ready_file else None),
    )
    process.output = options.output
    process.detached = not (options.parent and options.parent.get("nodaemon"))
    return process


class TwistdProcess(EngineProcess):
    """An ``EngineProcess`` that brings twistd its log and its exit code."""

    output: Any = None
    detached = True

    def startService(self) -> None:
        """IService: start the engine.

        A failure is an exception only for a daemon, whose parent waits to be told.  In the
        foreground a traceback would hide the one line that matters.
        """
        try:
            super().startService()
        except Exception as error:
            if self.detached:
                raise
            tell_error(error, sys.__stderr__)
            self._reactor.callWhenRunning(self._reactor.stop)

    def setServiceParent(self, parent: Any) -> None:
        """IService: joins the application, which is where twistd looks for an observer."""
        if self.output is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.output)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[None]:
        """IService: stop in good order."""
        if self.exit_code:
            # After twistd has removed its pid file, as the very last thing.
            atexit.register(_exit, self.exit_code)
        return super().stopService()


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say_in_log(text: str) -> None:
    for line in filter(None, (line.strip() for line in text.splitlines())):
        log.info("{line}", line=line)


def _log_stream(twistd: Mapping[str, Any]) -> Any:
    """Where twistd would log to: a terminal in the foreground, else a file."""
    name = twistd.get("logfile")
    if name == "-" and not twistd.get("nodaemon"):
        raise usage.UsageError("a daemon has no terminal to log to; give --logfile a name")
    if twistd.get("nodaemon") and name in (None, "", "-"):
        return sys.stdout
    file = LogFile.fromFullPath(name or "twistd.log")

    def rotate(number: int, frame: Any) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(file.rotate)

    signal.signal(signal.SIGUSR1, rotate)
    return file
