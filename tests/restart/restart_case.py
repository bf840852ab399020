"""A case with an engine on ports that stay, workers, and constant load."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from iii import III
from tests.process_case import LIMIT_S, Child, ProcessCase, environment
from tests.restart.load import Load, Outcome

PROGRAM = Path(__file__).with_name("worker.py")
#: Below the ports that the kernel gives to outgoing connections.
STEADY_PORTS = range(20_000, 32_000)


def steady_port() -> int:
    """A free port that nobody gets by chance while an engine is away."""
    for _ in range(1000):
        port = random.choice(STEADY_PORTS)
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no free port")


class RestartCase(ProcessCase):
    """Engine and workers are processes; the load runs here."""

    def setUp(self) -> None:
        super().setUp()
        self.worker_port, self.http_port = steady_port(), steady_port()
        self.configure()
        client = logging.getLogger("iii")
        self.addCleanup(client.setLevel, client.level)
        client.setLevel(logging.ERROR)  # each attempt to connect would be a line

    def configure(self, **http: Any) -> None:
        """Write the configuration, with these settings of the HTTP module."""
        adapter = {"name": "builtin", "config": {"file_path": "./data/queue"}}
        queues = {"work": {"type": "standard", "concurrency": 8, "backoff_ms": 50}}
        modules = [
            {
                "name": "iii-http",
                "config": {"port": self.http_port, "startup_grace_ms": 5000, **http},
            },
            {"name": "iii-queue", "config": {"queue_configs": queues, "adapter": adapter}},
            {"name": "iii-observability", "config": {"prometheus_port": 0}},
        ]
        new = self.write("config.new", json.dumps({"port": self.worker_port, "modules": modules}))
        new.rename(self.directory / "config.yaml")

    @property
    def diary(self) -> Counter[str]:
        """What the workers began to do, and how often."""
        return Counter((self.directory / "diary").read_text().split("\n")[:-1])

    def start_worker(self) -> subprocess.Popen[str]:
        """Start a worker and wait until it has registered everything."""
        with (self.directory / "workers.log").open("a") as complaints:
            worker = subprocess.Popen(
                (
                    *(sys.executable, str(PROGRAM)),
                    *(f"ws://127.0.0.1:{self.worker_port}", str(self.directory / "diary")),
                ),
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )
        self.addCleanup(self.end_worker, worker)
        assert worker.stdout is not None
        self.assertEqual(worker.stdout.readline(), "ready\n")
        return worker

    def end_worker(self, worker: subprocess.Popen[str]) -> int:
        """SIGTERM, which makes it leave in good order; its exit code."""
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
        assert worker.stdout is not None
        worker.stdout.close()
        return worker.wait(LIMIT_S)

    def stop_engine(self, engine: Child) -> None:
        """SIGTERM; it ends as it should."""
        engine.signal(signal.SIGTERM)
        self.assertEqual(engine.wait(), 0, engine.output)

    def under_load(self, scenario: Callable[[Load], Awaitable[None]]) -> Outcome:
        """Run ``scenario`` while clients are at work; what they saw, when all is done."""

        async def run() -> Outcome:
            load = Load(self.http_port, self.worker_port)
            try:
                await scenario(load)
            finally:
                outcome = await load.stop()
            return outcome

        return asyncio.run(run())

    def assert_nothing_lost(self, outcome: Outcome) -> None:
        """Every call that was accepted was answered, every message was handled, none is dead."""
        self.assertEqual(outcome.wrong, [])
        ends = time.monotonic() + LIMIT_S
        while left := {n for n in outcome.jobs if f"job {n}" not in self.diary}:
            if time.monotonic() > ends:
                self.fail(f"{len(left)} of {len(outcome.jobs)} messages were lost: {sorted(left)}")
            time.sleep(0.05)
        diary = self.diary
        dropped = sorted(number for number in outcome.broken if f"page {number}" in diary)
        self.assertEqual(dropped, [], "accepted, and not answered")
        self.assertEqual([line for line, n in diary.items() if line[0] == "p" and n > 1], [])
        self.assertEqual(asyncio.run(self._dead()), 0)

    async def all_back(self, workers: int) -> None:
        """Wait until so many workers offer everything again."""
        iii = III(f"ws://127.0.0.1:{self.worker_port}")
        await iii.connect()
        there = 0
        async with asyncio.timeout(LIMIT_S):
            while there < workers:
                listed = await iii.invoke("engine::workers::list", {})
                there = sum("work::page" in row["functions"] for row in listed["workers"])
        await iii.disconnect()

    async def _dead(self) -> int:
        iii = III(f"ws://127.0.0.1:{self.worker_port}")
        await iii.connect()
        stats = await iii.invoke("engine::queue::topic_stats", {"topic": "__fn_queue::work"})
        await iii.disconnect()
        depth: int = stats["dlq_depth"]
        return depth
