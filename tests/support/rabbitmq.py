"""A RabbitMQ of the tests' own: on free ports, in a directory that goes away with it.

A broker takes seconds to start, so one serves all tests of a process (``broker``), which
keep apart by names of their own.  A test that stops or kills one starts its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any
from unittest import SkipTest

PROGRAM = "rabbitmq-server"
LIMIT_S = 60.0
_TRIES = 3

#: Small, quick, and no other program's business.
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
log.console = false
log.file.level = warning
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 1MB
management_agent.disable_metrics_collector = true
"""


class RabbitServer:
    """A broker that may be stopped, killed and started again.

    :ivar port: where it listens, the same in all its lives
    """

    def __init__(self) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise SkipTest(f"no {PROGRAM} on this machine")
        # Debian's wrapper changes to another user; the script below it does not.
        inner = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        self._program = str(inner) if inner.exists() else program
        self._holder = tempfile.TemporaryDirectory(prefix="iii-rabbit-", ignore_cleanup_errors=True)
        self.directory = Path(self._holder.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self.port = 0
        atexit.register(self.close)
        for _ in range(_TRIES):
            self.port = _free_port()
            if self._launch():
                return
        raise AssertionError(f"{PROGRAM} does not start:\n{self.log}")

    @property
    def url(self) -> str:
        """Its address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it said."""
        return "\n".join(path.read_text(errors="replace") for path in self.directory.glob("*log*"))

    def start(self) -> None:
        """Start it again, with what it had."""
        if not self._launch():
            raise AssertionError(f"{PROGRAM} does not start:\n{self.log}")

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it answer nobody any more, as if the network had gone."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and forget what it had."""
        atexit.unregister(self.close)
        self.kill()
        self._holder.cleanup()

    # Inside ----------------------------------------------------------------------------

    def _launch(self) -> bool:
        config = self.directory / "rabbitmq.conf"
        config.write_text(_CONFIG.format(port=self.port))
        (self.directory / "enabled_plugins").write_text("[].\n")
        environment = {
            **os.environ,
            "HOME": str(self.directory),
            "RABBITMQ_NODENAME": f"iii-{self.port}-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none",
        }
        with (self.directory / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                (self._program,),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ends = time.monotonic() + LIMIT_S
        while time.monotonic() < ends and self._process.poll() is None:
            if self._greets():
                return True
            time.sleep(0.05)
        self.kill()
        return False

    def _greets(self) -> bool:
        """Whether it answers AMQP."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as client:
                client.settimeout(2.0)
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(client.recv(1))
        except OSError:
            return False

    def _end(self, how: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # The script, the broker and its helpers are one session.
        self._send(process, how)
        try:
            process.wait(LIMIT_S)
        finally:
            self._send(process, signal.SIGKILL)

    def _signal(self, how: int) -> None:
        assert self._process is not None
        self._send(self._process, how)

    def _send(self, process: subprocess.Popen[Any], how: int) -> None:
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            return


_shared: RabbitServer | None = None


def broker() -> RabbitServer:
    """The broker that the tests of this process share; it runs.

    :raises SkipTest: there is no RabbitMQ on this machine
    """
    global _shared
    if _shared is None:
        _shared = RabbitServer()
    return _shared


def unique_prefix() -> str:
    """A prefix for names on the broker that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
        return port
