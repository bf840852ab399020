"""Engines that are ended while four connections write, at an instant nobody chose."""

from __future__ import annotations

import random
import signal
from functools import partial

from tests.durability.durability_case import DurabilityCase
from tests.durability.load import Load


class KillsCase(DurabilityCase):
    """The scenario; how often is up to the subclass.

    :cvar writing_s: the shortest and the longest time between first write and end
    """

    writing_s = (0.02, 0.4)

    def setUp(self) -> None:
        super().setUp()
        self.seed = random.SystemRandom().randrange(10**9)
        self.chance = random.Random(self.seed)
        self.load = Load(self.chance)

    def end_and_restart(self, number: signal.Signals, times: int) -> None:
        """End an engine ``times`` times; after each start every value must be right."""
        self.configure(stream={"durability": "fsync"}, kv={"store_method": "file_based"})
        for round_number in range(times + 1):
            engine = self.start()
            port = engine.ready["worker"]
            problems = self.load.check(port)
            self.assertEqual(problems, [], f"after {round_number} ends, seed {self.seed}")
            if round_number < times:
                seconds = self.chance.uniform(*self.writing_s)
                self.load.run(port, seconds, partial(engine.signal, number))
                expected = 0 if number == signal.SIGTERM else -number
                self.assertEqual(engine.wait(), expected, engine.output)
            else:
                engine.kill()
            self.assertNotIn("[ERROR]", engine.output)
        self.assertGreater(self.load.acknowledged, 10 * times)
