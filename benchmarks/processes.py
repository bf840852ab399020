"""The processes of a benchmark: engine or baseline, raw workers, wrk.

Each is a process of its own on free ports of the loopback interface, started in a
temporary directory and ended with the ``with`` block that started it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = """\
port: 0
modules:
  - class: modules::api::RestApiModule
    config: {host: 127.0.0.1, port: 0}
"""
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
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

    def arguments(self, directory: Path) -> list[str]:
        ready = ["--ready-file", str(directory / "ready.json")]
        if self.is_baseline:
            return ["-m", "benchmarks.baseline", *ready]
        config = directory / "config.yaml"
        config.write_text(CONFIG, encoding="utf-8")
        return ["-m", "iii", "-c", str(config), *ready]


ENGINE = Program("engine")
BASELINE = Program("baseline", is_baseline=True)


class Server:
    """A running engine or baseline.

    :param python_options: put before the program, e.g. ``-m cProfile -o FILE``
    """

    def __init__(self, program: Program, python_options: tuple[str, ...] = ()) -> None:
        self.program = program
        self.python_options = python_options

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="iii-bench-"))
        self._log = (self._directory / "log").open("wb")
        # Own variables only: III_HOST, III_IN_MEMORY and the like would change the engine.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("III_")}
        environment["PYTHONPATH"] = str(self.program.tree)
        self._process = subprocess.Popen(
            [sys.executable, *self.python_options, *self.program.arguments(self._directory)],
            cwd=self._directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            ready = self._ready()
        except BaseException:
            self.__exit__()
            raise
        self.worker_url = f"ws://127.0.0.1:{ready['worker']}/"
        self.http_url = f"http://127.0.0.1:{ready['http']}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        shutil.rmtree(self._directory)

    def _ready(self) -> dict[str, Any]:
        """The ready file's content, once it is there and whole."""
        path = self._directory / "ready.json"
        deadline = monotonic() + START_TIMEOUT_S
        while monotonic() < deadline:
            text = path.read_text() if path.exists() else ""
            if text.rstrip().endswith("}"):
                ready: dict[str, Any] = json.loads(text)
                return ready
            if self._process.poll() is not None:
                break
            select.select([], [], [], POLL_S)
        raise BenchmarkError(f"{self.program.name} did not start:\n{self.log_tail()}")

    def log_tail(self) -> str:
        return (self._directory / "log").read_text(errors="replace")[-3000:]

    def cpu_seconds(self) -> float:
        """Processor time used so far, user and system, all threads."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


class Worker:
    """A running ``benchmarks.worker``."""

    def __init__(self, role: str, server: Server, *options: str) -> None:
        self._server = server
        self._arguments = [role, "--url", server.worker_url, *options]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *self._arguments],
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
            raise BenchmarkError(f"worker {self._arguments[0]}: no answer for {timeout_s} s")
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(
                f"worker {self._arguments[0]} has ended, see its message above. "
                f"The last words of {self._server.program.name}:\n{self._server.log_tail()}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


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
