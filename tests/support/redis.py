"""A Redis of a test's own: on a free port, in a directory that goes away with it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest, TestCase

PROGRAM = "redis-server"
LIMIT_S = 10.0
_TRIES = 5


class RedisServer:
    """A server that a test may stop, kill and start again.

    :param options: further arguments of ``redis-server``
    :ivar port: where it listens, the same in all its lives
    :ivar path: its socket file
    """

    def __init__(self, case: TestCase, *options: str) -> None:
        if shutil.which(PROGRAM) is None:
            raise SkipTest(f"no {PROGRAM} on this machine")
        holder = tempfile.TemporaryDirectory(prefix="iii-redis-")
        case.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)
        self.path = self.directory / "redis.sock"
        self.port = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        case.addCleanup(self.kill)
        for _ in range(_TRIES):
            self.port = _free_port()
            if self._launch():
                return
        raise AssertionError(f"{PROGRAM} does not start:\n{self.log}")

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text()

    def start(self) -> None:
        """Start it again."""
        if not self._launch():
            raise AssertionError(f"{PROGRAM} does not start:\n{self.log}")

    def kill(self) -> None:
        """End it at once."""
        self._end(subprocess.Popen.kill)

    def stop(self) -> None:
        """End it in order."""
        self._end(subprocess.Popen.terminate)

    def freeze(self) -> None:
        """Let it answer nobody any more, as if the network had gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *parts: str) -> Any:
        """Run one command, from outside; texts, integers, lists and None come back."""
        with socket.create_connection(("127.0.0.1", self.port), LIMIT_S) as client:
            return _ask(client, parts)

    def _launch(self) -> bool:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                (
                    *(PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self.directory), "--unixsocket", str(self.path)),
                    *("--save", "", "--appendonly", "no", *self._options),
                ),
                stdout=log,
                stderr=log,
            )
        ends = time.monotonic() + LIMIT_S
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                self.ask("PING")
            except OSError:
                time.sleep(0.01)
            else:
                return True
        self.kill()
        return False

    def _end(self, how: Any) -> None:
        process, self._process = self._process, None
        if process is not None:
            how(process)
            process.wait(LIMIT_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
        return port


def _ask(client: socket.socket, parts: Sequence[str]) -> Any:
    out = f"*{len(parts)}\r\n" + "".join(f"${len(p.encode())}\r\n{p}\r\n" for p in parts)
    client.sendall(out.encode())
    with client.makefile("rb") as answers:
        return _read(answers)


def _read(answers: Any) -> Any:
    line = answers.readline().decode().rstrip()
    kind, rest = line[:1], line[1:]
    if kind == "$":
        size = int(rest)
        return None if size < 0 else answers.read(size + 2)[:-2].decode()
    if kind == "*":
        return [_read(answers) for _ in range(int(rest))]
    if not kind:
        raise ConnectionError("no answer")
    return int(rest) if kind == ":" else rest
