"""08 §4: restarts under constant load lose nothing.  Longer in ``tests.soak.restarts``."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.process_case import LIMIT_S, Child
from tests.restart.load import Load
from tests.restart.restart_case import RestartCase


class Engine(RestartCase):
    """The engine stops and starts; its workers come back by themselves."""

    restarts = 1

    def test_stop_and_start(self) -> None:
        engines = [self.start()]
        workers = [self.start_worker() for _ in range(2)]

        async def scenario(load: Load) -> None:
            await load.progress(0.3)
            for _ in range(self.restarts):
                await asyncio.to_thread(self.stop_engine, engines[-1])
                engines.append(await asyncio.to_thread(self.start))
                await load.progress(0.3)

        outcome = self.under_load(scenario)
        self.assertGreater(outcome.refused, 0)
        self.assert_nothing_lost(outcome)
        for worker in workers:
            self.assertEqual(self.end_worker(worker), 0)


class Workers(RestartCase):
    """Workers are replaced one after the other; nobody notices."""

    rounds = 1

    def test_one_after_the_other(self) -> None:
        self.start()
        workers = [self.start_worker() for _ in range(2)]

        async def scenario(load: Load) -> None:
            await load.progress(0.2)
            for index in list(range(2)) * self.rounds:
                ended = await asyncio.to_thread(self.end_worker, workers[index])
                self.assertEqual(ended, 0)
                workers[index] = await asyncio.to_thread(self.start_worker)
                await load.progress(0.2)

        outcome = self.under_load(scenario)
        self.assertEqual((outcome.refused, outcome.broken), (0, set()))
        self.assert_nothing_lost(outcome)
        self.assertEqual([line for line, n in self.diary.items() if n > 1], [], "done twice")


class Configuration(RestartCase):
    """01 §17.8: the configuration changes; nobody notices."""

    reloads = 2

    def reloaded(self, engine: Child, times: int) -> None:
        """Wait until the engine has said so."""
        ends = time.monotonic() + LIMIT_S
        while engine.output.count("configuration reloaded: changed iii-http") < times:
            self.assertLess(time.monotonic(), ends, engine.output)
            time.sleep(0.02)

    def test_reload(self) -> None:
        engine = self.start("--no-watch")
        self.start_worker()

        async def scenario(load: Load) -> None:
            for number in range(self.reloads):
                await load.progress(0.1)
                self.configure(default_timeout=20_000 + number, body_limit=1000 + number)
                engine.signal(signal.SIGHUP)
                await asyncio.to_thread(self.reloaded, engine, number + 1)
            await load.progress(0.1)

        outcome = self.under_load(scenario)
        self.assertEqual((outcome.refused, outcome.broken), (0, set()))
        self.assert_nothing_lost(outcome)
