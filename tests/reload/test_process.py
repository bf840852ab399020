"""The ``iii`` command: SIGHUP, a changed file, a terminal that goes away, a second signal."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from pathlib import Path

from tests.process_case import LIMIT_S, ProcessCase, environment

CONFIG = """\
port: 0
modules:
  - class: iii-http
    config: {{port: 0, request_id_header: {header}}}
  - class: iii-observability
    config: {{prometheus_port: 0, level: {level}}}
"""
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


def eventually(there: object, what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + LIMIT_S
    while not there():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen")
        time.sleep(0.02)


class Running(ProcessCase):
    """An engine whose file is rewritten under it."""

    def configure(self, header: str = "x-one", level: str = "info") -> None:
        self.write("config.yaml", CONFIG.format(header=header, level=level))

    def test_sighup_reads_the_file_again(self) -> None:
        self.configure()
        child = self.start("--no-watch")
        self.configure(header="x-two")
        self.assertNotIn("configuration reloaded", child.output)
        child.signal(signal.SIGHUP)
        reloaded = "configuration reloaded: changed iii-http"
        eventually(lambda: reloaded in child.output, reloaded)
        self.assertNotIn("[UNREGISTERED]", child.output)
        child.signal(signal.SIGHUP)
        eventually(lambda: "nothing differs" in child.output, "the second look")
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 0)

    def test_a_renamed_file_is_noticed(self) -> None:
        self.configure()
        child = self.start()
        self.write("config.yaml.new", CONFIG.format(header="x-one", level="debug"))
        (self.directory / "config.yaml.new").rename(self.directory / "config.yaml")
        reloaded = "configuration reloaded: changed iii-observability"
        eventually(lambda: reloaded in child.output, reloaded)
        self.write("config.yaml", "port: [")
        refused = "configuration not reloaded, the running one stays: config.yaml:1: "
        eventually(lambda: refused in child.output, refused)
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 0)

    def test_under_twistd(self) -> None:
        self.configure()
        child = self.start("--no-watch", program=("-c", TWISTD, "-n", "iii"))
        self.configure(header="x-two")
        child.signal(signal.SIGHUP)
        reloaded = "configuration reloaded: changed iii-http"
        eventually(lambda: reloaded in child.output, reloaded)


class Terminal(ProcessCase):
    """SIGHUP still ends an engine whose terminal is closed."""

    def test_the_engine_ends_with_its_terminal(self) -> None:
        self.write("config.yaml", CONFIG.format(header="x-one", level="info"))
        ready = self.directory / "ready.json"
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.directory)
            arguments = (sys.executable, "-m", "iii", "--ready-file", str(ready))
            os.execve(sys.executable, arguments, environment())
        self.addCleanup(self.end, child)
        eventually(ready.exists, "the start")
        os.kill(child, signal.SIGHUP)
        eventually(lambda: b"nothing differs" in self.read(terminal), "the reload")
        os.close(terminal)
        ended: list[int] = []

        def has_ended() -> bool:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(pid)

        eventually(has_ended, "the end")
        self.assertEqual(ended, [0])

    seen = b""

    def read(self, terminal: int) -> bytes:
        """Everything the terminal has shown."""
        os.set_blocking(terminal, False)
        try:
            self.seen += os.read(terminal, 65536)
        except BlockingIOError:
            pass
        return self.seen

    def end(self, child: int) -> None:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


class SecondSignal(ProcessCase):
    """08 §4: a second signal ends everything, programs of the exec module included."""

    def test_programs_end_with_the_engine(self) -> None:
        pids = self.directory / "pids"
        self.write(
            "config.yaml",
            "port: 0\n"
            "modules:\n"
            "  - class: iii-exec\n"
            "    config:\n"
            "      kill_timeout_ms: 30000\n"
            "      exec:\n"
            f"        - trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >> {pids}; sleep 600' & "
            f"echo $$ >> {pids}; sleep 600\n"
            "  - class: iii-observability\n"
            "    config: {prometheus_port: 0}\n",
        )
        child = self.start()
        eventually(lambda: len(self.written(pids)) == 2, "the programs")
        child.signal(signal.SIGTERM)
        eventually(lambda: "SIGTERM: stopping" in child.output, "the stop")
        running = [pid for pid in self.written(pids) if self.runs(pid)]
        self.assertEqual(len(running), 2)
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 130)
        eventually(lambda: not any(map(self.runs, running)), "the end of the programs")

    def written(self, path: Path) -> list[int]:
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def runs(self, pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
        except FileNotFoundError:
            return False
        return state not in "ZX"
