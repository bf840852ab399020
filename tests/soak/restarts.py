"""The long part of ``tests.restart``: many restarts, and all kinds of them in turn."""

from __future__ import annotations

import asyncio
import random
import signal

from tests.restart import test_restart
from tests.restart.load import Load
from tests.restart.restart_case import RestartCase


class ManyEngineRestarts(test_restart.Engine):
    """Stopped and started again and again."""

    timeout = 1200
    restarts = 30


class ManyWorkerRestarts(test_restart.Workers):
    """One worker after the other, round and round."""

    timeout = 1200
    rounds = 20


class ManyReloads(test_restart.Configuration):
    """One configuration after the other."""

    timeout = 1200
    reloads = 200


class Everything(RestartCase):
    """Stops, rolling restarts and reloads, as they come."""

    timeout = 1800
    steps = 60

    def test_in_any_order(self) -> None:
        engines = [self.start("--no-watch")]
        workers = [self.start_worker() for _ in range(2)]
        chosen = random.Random(1)

        async def scenario(load: Load) -> None:
            for step in range(self.steps):
                await load.progress(0.1)
                match chosen.choice(("engine", "worker", "reload")):
                    case "engine":
                        await asyncio.to_thread(self.stop_engine, engines[-1])
                        engines.append(await asyncio.to_thread(self.start, "--no-watch"))
                    case "worker":
                        # Who takes the last one away may be told that nobody is there.
                        await self.all_back(len(workers))
                        index = step % len(workers)
                        await asyncio.to_thread(self.end_worker, workers[index])
                        workers[index] = await asyncio.to_thread(self.start_worker)
                    case "reload":
                        self.configure(body_limit=1000 + step)
                        engines[-1].signal(signal.SIGHUP)
            await load.progress(0.1)

        self.assert_nothing_lost(self.under_load(scenario))
