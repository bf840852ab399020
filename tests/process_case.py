"""A case that runs the ``iii`` command and engines as processes, in an empty directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import TestCase

from tests.support.signals import hang_up_counts

ROOT = Path(__file__).parent.parent
LIMIT_S = 30.0


def environment(**changes: str | None) -> dict[str, str]:
    """The environment of a child: ours, without what would configure an engine."""
    drop = ("III_HOST", "III_URL", "III_BRIDGE_URL", "III_IN_MEMORY", "RUST_LOG", "NOTIFY_SOCKET")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    kept["PYTHONPATH"] = str(ROOT)
    merged = kept | {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in merged.items() if changes.get(name, "") is not None}


class Child:
    """A running engine process.

    :ivar ready: its ready line
    """

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any], log: Path) -> None:
        self.process = process
        self.ready = ready
        self._log = log

    @property
    def output(self) -> str:
        """Everything it wrote to stdout and stderr so far."""
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        return self.process.wait(LIMIT_S)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT_S)


class ProcessCase(TestCase):
    """Every test has a directory of its own, in which its children work."""

    timeout = 120 if os.environ.get("III_SOAK") != "1" else 600

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="iii-test-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)

    def write(self, name: str, text: str) -> Path:
        """A file in the directory."""
        path = self.directory / name
        path.write_text(text)
        return path

    def run_python(
        self, *arguments: str, env: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python program to its end."""
        return subprocess.run(
            (sys.executable, *arguments),
            cwd=self.directory,
            env=dict(env or environment()),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def iii(self, *arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        """Run ``iii`` to its end."""
        return self.run_python("-m", "iii", *arguments, env=environment(**changes))

    def start(
        self,
        *arguments: str,
        program: tuple[str, ...] = ("-m", "iii"),
        command: tuple[str | Path, ...] | None = None,
        **changes: str | None,
    ) -> Child:
        """Start an engine and wait for its ready line.

        :param program: what our Python runs
        :param command: what is run instead
        """
        readable, writable = os.pipe()
        ready = ("--ready-fd", str(writable))
        log = self.directory / f"engine-{readable}.log"
        with log.open("w") as output, os.fdopen(readable) as pipe:
            process = subprocess.Popen(
                (*(command or (sys.executable, *program)), *arguments, *ready),
                cwd=self.directory,
                env=environment(**changes),
                stdout=output,
                stderr=output,
                pass_fds=(writable,),
                text=True,
                preexec_fn=hang_up_counts,
            )
            os.close(writable)
            impatience = threading.Timer(LIMIT_S, process.kill)
            impatience.start()
            line = pipe.readline()
            impatience.cancel()
        child = Child(process, json.loads(line or "{}"), log)
        self.addCleanup(child.kill)
        if not line:
            self.fail(f"no ready line; exit code {child.wait()}:\n{child.output}")
        return child


def taken_port(case: TestCase) -> int:
    """A port that somebody else listens on until the test ends."""
    holder = socket.create_server(("127.0.0.1", 0))
    case.addCleanup(holder.close)
    port: int = holder.getsockname()[1]
    return port
