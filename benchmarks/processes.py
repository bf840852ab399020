"""The processes of a benchmark: engine or baseline, raw workers of all kinds, wrk.

Each is a process of its own on free ports of the loopback interface and ended with the
``with`` block that started it.  Servers work in a temporary directory of the checkout's
disk: ``/tmp`` may be memory, and what a store costs would not show there.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from benchmarks.calls import CONSUMER, KEY, MESSAGE, SCOPE, STORED_BYTES, value
from benchmarks.configs import HTTP_CONFIG, PLAIN_QUEUE, QUEUE_DIRECTORY, STATE_DIRECTORY

REPOSITORY = Path(__file__).resolve().parent.parent
WORK = Path(__file__).parent / ".work"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
FILL_TIMEOUT_S = 600.0
POLL_S = 0.02
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """A run that has no result: a process that failed, errors in the answers."""


@dataclass(frozen=True)
class Program:
    """What to start: the engine of a source tree, or the baseline."""

    name: str
    tree: Path = REPOSITORY
    is_baseline: bool = False

    def arguments(self, directory: Path, config_text: str = HTTP_CONFIG) -> list[str]:
        ready = ["--ready-file", str(directory / "ready.json")]
        if self.is_baseline:
            return ["-m", "benchmarks.baseline", *ready]
        config = directory / "config.yaml"
        config.write_text(config_text, encoding="utf-8")
        return ["-m", "iii", "-c", str(config), *ready]

    def environment(self) -> dict[str, str]:
        # Own variables only: III_HOST, III_IN_MEMORY and the like would change the engine.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("III_")}
        return kept | {"PYTHONPATH": str(self.tree)}


ENGINE = Program("engine")
BASELINE = Program("baseline", is_baseline=True)


class Server:
    """A running engine or baseline.

    :ivar directory: where it works
    :param python_options: put before the program, e.g. ``-m cProfile -o FILE``
    :param config: the engine's configuration file
    :param prepare: called with the working directory before the first start
    """

    def __init__(
        self,
        program: Program,
        python_options: tuple[str, ...] = (),
        config: str = HTTP_CONFIG,
        prepare: Callable[[Path], None] | None = None,
    ) -> None:
        self.program = program
        self._python_options = python_options
        self._config = config
        self._prepare = prepare

    def __enter__(self) -> Self:
        WORK.mkdir(exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="iii-bench-", dir=WORK))
        self._log = (self.directory / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if self._prepare:
                self._prepare(self.directory)
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._log.close()
        shutil.rmtree(self.directory)

    def restart(self) -> float:
        """Stop it and start it on the same files; how long the start took, in seconds."""
        self._stop()
        started = monotonic()
        self._start()
        return monotonic() - started

    def _start(self) -> None:
        (self.directory / "ready.json").unlink(missing_ok=True)
        program = self.program.arguments(self.directory, self._config)
        self._process = subprocess.Popen(
            [sys.executable, *self._python_options, *program],
            cwd=self.directory,
            env=self.program.environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self.ports = self._ready()
        self.worker_url = f"ws://127.0.0.1:{self.ports['worker']}/"
        if "http" in self.ports:
            self.http_url = f"http://127.0.0.1:{self.ports['http']}"

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ready(self) -> dict[str, Any]:
        """The ready file's content, once it is there and whole."""
        path = self.directory / "ready.json"
        deadline = monotonic() + START_TIMEOUT_S
        while monotonic() < deadline:
            text = path.read_text() if path.exists() else ""
            if text.rstrip().endswith("}"):
                ready: dict[str, Any] = json.loads(text)
                return ready
            if self._running.poll() is not None:
                break
            select.select([], [], [], POLL_S)
        raise BenchmarkError(f"{self.program.name} did not start:\n{self.log_tail()}")

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def log_tail(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-3000:]

    def cpu_seconds(self) -> float:
        """Processor time used so far, user and system, all threads."""
        stat = Path(f"/proc/{self._running.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


class Companion:
    """A program of the suite that takes commands and answers them, one JSON line each.

    :param module: what Python runs
    :param server: whose last words are shown when it ends
    """

    def __init__(self, module: str, server: Server, *arguments: str) -> None:
        self._name = " ".join((module.rpartition(".")[2], *arguments[:1]))
        self._server = server
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            self._line(timeout_s=120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.terminate()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def ask(self, command: dict[str, Any], timeout_s: float = 120) -> dict[str, Any]:
        """Give it a command and wait for its answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return self._line(timeout_s)

    def _line(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise BenchmarkError(f"{self._name}: no answer for {timeout_s} s")
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(
                f"{self._name} has ended, see its message above. "
                f"The last words of {self._server.program.name}:\n{self._server.log_tail()}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def worker(role: str, server: Server, *options: str) -> Companion:
    """A ``benchmarks.worker``."""
    return Companion("benchmarks.worker", server, role, "--url", server.worker_url, *options)


def subscribers(server: Server, connections: int) -> Companion:
    """A ``benchmarks.subscriber`` with so many sockets on the stream port."""
    port = str(server.ports["stream"])
    return Companion("benchmarks.subscriber", server, "--port", port, "--sockets", str(connections))


def producer(server: Server) -> Companion:
    """A ``benchmarks.producer``."""
    return Companion("benchmarks.producer", server, "--url", server.worker_url)


def span_sender(server: Server) -> Companion:
    """A ``benchmarks.spans``."""
    return Companion("benchmarks.spans", server, "--port", str(server.ports["worker"]))


def timekeeper(server: Server) -> Companion:
    """A ``benchmarks.timekeeper``."""
    return Companion("benchmarks.timekeeper", server, "--url", server.worker_url)


def fill_state(program: Program, directory: Path, keys: int) -> None:
    """Put ``keys`` values where an engine in ``directory`` will keep its state."""
    what = (SCOPE, KEY.decode(), value(STORED_BYTES).decode())
    _fill("fill.py", program, directory / STATE_DIRECTORY, keys, *what)


def fill_queue(program: Program, directory: Path, messages: int) -> None:
    """Put ``messages`` on a named queue of an engine that will run in ``directory``."""
    what = (PLAIN_QUEUE, CONSUMER, MESSAGE.decode())
    _fill("fill_queue.py", program, directory / QUEUE_DIRECTORY, messages, *what)


def _fill(name: str, program: Program, directory: Path, count: int, *what: str) -> None:
    # By its path: the program's tree may be another revision with other benchmarks.
    script = str(Path(__file__).with_name(name))
    done = subprocess.run(
        [sys.executable, script, str(directory), str(count), *what],
        cwd=directory.parent,
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=FILL_TIMEOUT_S,
    )
    if done.returncode:
        raise BenchmarkError(f"{name} with {count:,}: {done.stderr[-3000:]}")


def wrk(
    server: Server, connections: int, seconds: int, method: str = "GET", routes: int = 0
) -> dict[str, float]:
    """Requests/s and latencies of one run; any error or status above 399 fails it."""
    script = ("-s", str(Path(__file__).with_name("http.lua")))
    arguments = (server.http_url, "--", method, str(routes))
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *script, *arguments],
        capture_output=True,
        text=True,
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if done.returncode or line is None:
        raise BenchmarkError(f"wrk failed: {done.stdout}{done.stderr}")
    result = json.loads(line.removeprefix("RESULT "))
    if result["errors"] or not result["requests"]:
        raise BenchmarkError(f"wrk against {server.program.name} had errors: {result}")
    return {
        "requests_per_s": result["requests"] / result["duration_us"] * 1e6,
        "p50_ms": result["p50_us"] / 1000,
        "p99_ms": result["p99_us"] / 1000,
    }
