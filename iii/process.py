"""The engine as an operating-system process.

``EngineProcess`` is what ``iii`` and ``twistd iii`` have in common: file limit,
ready line, summary, systemd notifications, signals.  The first SIGTERM or SIGINT
stops the reactor, and with it the service, in good order; a second one ends the
process, and the programs it runs, at once with 130.  SIGHUP reloads what is on disk;
when it comes because the terminal is gone, it stops the engine like SIGTERM.

Python runs signal handlers between bytecodes of the main thread while the reactor
sleeps in the kernel, so the handler wakes it (``callFromThread``) and does nothing
else.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.cli.output import tell_error
from iii.engine.clock import Timer
from iii.errors import Code, IIIError, StartError
from iii.service import EngineService
from iii.summary import summary

log = Logger()

ENOUGH_FILES = 12_000
INTERRUPTED = 130
#: How soon a thread that has waited for the disk goes on beside a busy reactor.  A commit
#: takes the interpreter's lock back several times; at Python's 5 ms that is most of it.
SWITCH_INTERVAL_S = 0.000_05
#: So many new objects are looked through at once.  A request makes a dozen that are gone
#: or plain soon; at Python's 700 they are looked at again and again.
GC_THRESHOLD = 10_000
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def raise_file_limit() -> int:
    """Allow as many open files as the hard limit does; every worker is one.

    :returns: the limit now in force
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:
            # macOS refuses "unlimited"; the soft limit stays what it was.
            log.warn("the limit of open files stays at {soft}: {error}", soft=soft, error=error)
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_FILES:
        log.warn(
            "only {soft} files can be open at once, so at most about {soft} workers and HTTP "
            "clients together; raise it with `ulimit -n` or LimitNOFILE=",
            soft=soft,
        )
    return soft


class Notifier:
    """Tells systemd how the process is doing (``sd_notify``); silent without systemd."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        watched = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "")
        #: Seconds between two signs of life: half of what systemd allows.
        self.watchdog_s = int(usec) / 2_000_000 if watched and usec.isdigit() else 0.0

    def tell(self, state: str) -> None:
        """Send ``READY=1``, ``STOPPING=1``, ``WATCHDOG=1`` …"""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            # An abstract socket: the kernel wants a NUL where people write "@".
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.sendall(state.encode())
        except OSError as error:
            log.warn("systemd was not told {state}: {error}", state=state, error=error)


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """Where the ready line goes besides the log.

    :ivar fd: an open file descriptor, closed after the line
    :ivar path: a file, written whole or not at all
    """

    fd: int | None = None
    path: Path | None = None

    def write(self, ready: Mapping[str, Any]) -> None:
        """Tell whoever waits that the engine serves."""
        line = msgspec.json.encode(ready) + b"\n"
        if self.path is not None:
            write_whole(self.path, line)
        if self.fd is not None:
            with os.fdopen(self.fd, "wb") as pipe:
                pipe.write(line)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees a part of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class EngineProcess(Service):
    """Runs one ``EngineService`` as this process.

    :param say: shows a text to the person who started the engine
    :param ready: where the ready line goes
    :ivar exit_code: what the process should exit with, once the reactor has stopped
    """

    def __init__(
        self,
        reactor: Any,
        service: EngineService,
        *,
        environ: Mapping[str, str],
        say: Callable[[str], None],
        ready: ReadyLine = ReadyLine(),
    ) -> None:
        self.exit_code = 0
        self.failure: BaseException | None = None
        self._reactor = reactor
        self._service = service
        self._say = say
        self._ready = ready
        self._notifier = Notifier(environ)
        self._watchdog: Timer | None = None
        self._signals = 0
        self._on_terminal = False
        self._started: Deferred[None] | None = None
        self._told = False

    def startService(self) -> None:
        """IService: start the engine.

        :raises Exception: what failed at once; a later failure stops the reactor and sets
            ``exit_code``
        """
        super().startService()  # type: ignore[no-untyped-call]
        raise_file_limit()
        self._take_signals()
        # Again, because the reactor installs its own handlers when it starts.
        self._reactor.callWhenRunning(self._take_signals)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._started = Deferred.fromCoroutine(self._start())
        self._started.addErrback(self._failed)
        failure = self.failure or self._service.failure
        if failure is not None:
            # Whoever daemonised us hears of it only now.
            self._told = True
            raise failure

    def stopService(self) -> Deferred[None]:
        """IService: stop the engine in good order."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._watchdog is not None and self._watchdog.active():
            self._watchdog.cancel()
        self._notifier.tell("STOPPING=1")
        return self._service.stopService()

    def run(self) -> int:
        """Start, run the reactor until it is stopped, and return the exit code.

        :raises Exception: what failed before the reactor ran
        """
        try:
            self.startService()
        except Exception:
            if self._started is not None and not self._started.called:
                # What was started before the failure is still stopping: ``_failed`` ends this.
                self._reactor.run()
            raise
        self._reactor.addSystemEventTrigger("before", "shutdown", self.stopService)
        self._reactor.run()
        return self.exit_code

    async def _start(self) -> None:
        ready = await self._service.start()
        # Who reads the ready line may send a signal at once, so it is not written before
        # the reactor runs and signals lead to an orderly stop.
        self._reactor.callWhenRunning(self._announce, ready)

    def _announce(self, ready: dict[str, Any]) -> None:
        self._say(summary(self._service))
        log.info("ready: {ports}", ports=msgspec.json.encode(ready).decode())
        try:
            self._ready.write(ready)
        except OSError as error:
            # Who asked for the line would wait for it for ever.
            text = f"the ready line can't be written: {error}"
            self._failed(Failure(StartError(Code.CONFIG_ERROR, text)))
            return
        # What is here now stays: no collection need look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self._notifier.tell("READY=1")
        self._alive()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        assert error is not None
        if not self.running:
            return  # stopped while it started: nothing failed
        self.failure, self.exit_code = error, 1
        if not isinstance(error, IIIError):
            log.failure("the engine could not be started", failure)
        if self._reactor.running:
            if not self._told:
                tell_error(error, sys.__stderr__)
            self._reactor.stop()

    def _alive(self) -> None:
        if self._notifier.watchdog_s:
            self._notifier.tell("WATCHDOG=1")
            clock = self._service.engine.clock
            self._watchdog = clock.call_later(self._notifier.watchdog_s, self._alive)

    def _take_signals(self) -> None:
        self._on_terminal = has_terminal()
        for number in _STOPPING:
            self._take(number, self._signalled)
        self._take(signal.SIGHUP, self._hung_up)

    def _take(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        # Who ignores a signal on our behalf (nohup) means it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            try:
                self._service.abandon()
            finally:
                os._exit(INTERRUPTED)
        self._reactor.callFromThread(self._stop, number)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        if self._on_terminal and not has_terminal():
            self._signalled(number, frame)
        else:
            self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        log.info("SIGHUP: reading again what is on disk")
        self._service.reload().addErrback(_not_reloaded)

    def _stop(self, number: int) -> None:
        log.info("{signal}: stopping", signal=signal.Signals(number).name)
        if self._reactor.running:
            self._reactor.stop()


def _not_reloaded(failure: Failure) -> None:
    log.failure("reloading failed", failure)
