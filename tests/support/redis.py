"""A Redis of a test's own: on a free port, in a directory that goes away with it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any
from unittest import SkipTest, TestCase

PROGRAM = "redis-server"
LIMIT_S = 10.0
#: What it says when it has read its files and listens.
READY = b"eady to accept connections"
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
        self._listener: Thread | None = None
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
        self._note(b"")
        process = self._process = subprocess.Popen(
            (
                *(PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self.directory), "--unixsocket", str(self.path)),
                *("--save", "", "--appendonly", "no", *self._options),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        ready: SimpleQueue[bool] = SimpleQueue()
        self._listener = Thread(target=self._listen, args=(process.stdout, ready), daemon=True)
        self._listener.start()
        try:
            if ready.get(timeout=LIMIT_S):
                return True
        except Empty:
            self._note(b"(it did not say that it is ready)\n")
        self.kill()
        return False

    def _listen(self, output: IO[bytes], ready: SimpleQueue[bool]) -> None:
        """In a thread: keep what it says, and tell when it is ready or has ended."""
        with output:
            for line in output:
                self._note(line)
                if READY in line:
                    ready.put(True)
        ready.put(False)

    def _note(self, line: bytes) -> None:
        with (self.directory / "log").open("ab") as log:
            log.write(line)

    def _end(self, how: Any) -> None:
        process, self._process = self._process, None
        if process is not None:
            how(process)
            process.wait(LIMIT_S)
        if self._listener is not None:
            self._listener.join(LIMIT_S)
            self._listener = None


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
