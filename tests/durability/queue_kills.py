"""Engines with queues that are ended while messages come and go."""

from __future__ import annotations

import json
import random
import signal
from functools import partial

from tests.durability.queue_account import FIFO, MAX_ATTEMPTS
from tests.durability.queue_load import QueueLoad
from tests.process_case import ProcessCase

BACKOFF_MS = 20
RETRIES = {"max_retries": MAX_ATTEMPTS, "backoff_ms": BACKOFF_MS}


class QueueKillsCase(ProcessCase):
    """The scenario; how often is up to the subclass.

    :cvar running_s: the shortest and the longest time between first message and end
    """

    running_s = (0.02, 0.4)

    def setUp(self) -> None:
        super().setUp()
        self.seed = random.SystemRandom().randrange(10**9)
        self.chance = random.Random(self.seed)
        self.load = QueueLoad(self.chance)
        adapter = {
            "class": "modules::queue::BuiltinQueueAdapter",
            "config": {
                "file_path": "./data/queue",
                "max_attempts": MAX_ATTEMPTS,
                "backoff_ms": BACKOFF_MS,
            },
        }
        queues = {
            "jobs": RETRIES,
            FIFO: {"type": "fifo", "message_group_field": "g", **RETRIES},
        }
        module = {
            "class": "modules::queue::QueueModule",
            "config": {"queue_configs": queues, "adapter": adapter},
        }
        self.write("config.yaml", json.dumps({"port": 0, "modules": [module]}))

    def end_and_restart(self, *ends: signal.Signals) -> None:
        """End an engine with each of the signals; then everything owed must come."""
        for number in ends:
            engine = self.start()
            if not self.load.acknowledged:
                self.load.prepare(engine.ready["worker"])
            seconds = self.chance.uniform(*self.running_s)
            self.load.run(engine.ready["worker"], seconds, partial(engine.signal, number))
            expected = 0 if number == signal.SIGTERM else -number
            self.assertEqual(engine.wait(), expected, engine.output)
            self.assertNotIn("[ERROR]", engine.output)
            self.assertEqual(self.load.account.problems, [], f"seed {self.seed}")
        last = self.start()
        problems = self.load.drain(last.ready["worker"])
        self.assertEqual(problems, [], f"seed {self.seed}")
        self.assertNotIn("[ERROR]", last.output)
        self.assertGreater(self.load.acknowledged, 10 * len(ends))
        self.assertGreater(self.load.deliveries, 10 * len(ends))
