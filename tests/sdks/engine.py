"""The engine under test, as a process of its own.

The ports are chosen once and stay the same over a restart, because that is what
the programs reconnect to.  They are picked by binding port 0 and letting go: the
system hands out such ports in turn, so nobody gets the same one soon after.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.signals import hang_up_counts

CHECKOUT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 20.0
STOP_LIMIT_S = 15.0

CONFIG = """\
port: {worker}
modules:
  - class: modules::api::RestApiModule
    config:
      host: 127.0.0.1
      port: {http}
  - class: modules::state::StateModule
    config:
      adapter:
        class: modules::state::adapters::KvStore
        config:
          store_method: file_based
          file_path: ./data/state_store.db
  - class: modules::stream::StreamModule
    config:
      host: 127.0.0.1
      port: {stream}
      adapter:
        class: modules::stream::adapters::KvStore
        config:
          store_method: file_based
          file_path: ./data/stream_store.db
  - class: modules::kv_server::KvServer
    config:
      store_method: file_based
      file_path: ./data/kv_store.db
  - class: modules::queue::QueueModule
    config:
      queue_configs:
        orders: {{ type: standard, concurrency: 4, max_retries: 2, backoff_ms: 50 }}
        ledger: {{ type: fifo, message_group_field: account, backoff_ms: 50 }}
      adapter:
        class: modules::queue::BuiltinQueueAdapter
        config:
          store_method: file_based
          file_path: ./data/queue_store
  - class: modules::pubsub::PubSubModule
    config:
      adapter:
        class: modules::pubsub::LocalAdapter
  - class: modules::cron::CronModule
    config:
      adapter:
        class: modules::cron::KvCronAdapter
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def outside_environment(**extra: str) -> dict[str, str]:
    """Our environment without what would change an engine's or an SDK's defaults."""
    own = ("III_", "OTEL_", "PYTHONPATH", "VIRTUAL_ENV", "NODE_OPTIONS")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**clean, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **extra}


def read_ready(path: Path) -> dict[str, Any] | None:
    """The ready line, once the engine has written it."""
    if not path.exists():
        return None
    told: dict[str, Any] = json.loads(path.read_text())
    return told


class EngineFailed(Exception):
    """The engine did not start or did not stop as it should."""


@dataclass
class Ports:
    """Where an engine listens; ``stream`` is None when its configuration has no streams."""

    worker: int
    http: int
    stream: int | None = None

    @classmethod
    def free(cls) -> Ports:
        return cls(free_port(), free_port(), free_port())

    @property
    def ready(self) -> dict[str, int]:
        """What the ready file must say."""
        named = {"worker": self.worker, "http": self.http, "stream": self.stream}
        return {name: port for name, port in named.items() if port is not None}


class Engine:
    """One engine with a folder of its own."""

    def __init__(
        self, folder: Path, *, ports: Ports | None = None, config: str | None = None
    ) -> None:
        self.folder = folder
        self.ports = ports or Ports.free()
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.ports.worker}"

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.ports.stream}"

    @property
    def log(self) -> str:
        path = self.folder / "engine.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self) -> None:
        """Run it and wait for its ready file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yaml"
        text = self._config or CONFIG.format(**self.ports.ready)
        config.write_text(text)
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.folder / "engine.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "iii", "-c", str(config), "--ready-file", str(ready)),
                cwd=self.folder,
                # Several engines at a time: none of them takes the one port for Prometheus.
                env=outside_environment(PYTHONPATH=str(CHECKOUT), PROMETHEUS_PORT="0"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=hang_up_counts,
            )
        self.starts += 1
        told = await self._ready(ready)
        if {name: told.get(name) for name in self.ports.ready} != self.ports.ready:
            raise EngineFailed(f"listens elsewhere: asked for {self.ports}, ready file says {told}")

    async def _ready(self, path: Path) -> dict[str, Any]:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + START_LIMIT_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process.returncode is not None:
                raise EngineFailed(f"ended with {self._process.returncode} before it was ready")
            told = read_ready(path)
            if told is not None:
                return told
            await asyncio.sleep(0.05)
        raise EngineFailed(f"not ready after {START_LIMIT_S:.0f} s")

    def hang_up(self) -> None:
        """SIGHUP: it reads again what is on disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise EngineFailed(f"still running {STOP_LIMIT_S:.0f} s after SIGTERM") from None
        finally:
            self._process = None
        return code
