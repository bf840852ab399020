"""Engines on a broker; either dies while messages come and go."""

from __future__ import annotations

import json
import random
import signal
from typing import Any, ClassVar

from twisted.logger import Logger

from tests.durability.broker_account import BrokerAccount
from tests.durability.broker_load import BrokerLoad
from tests.durability.brokers import Broker
from tests.durability.queue_account import FIFO, MAX_ATTEMPTS
from tests.process_case import Child, ProcessCase

log = Logger()

BACKOFF_MS = 20
#: Acknowledged after each end, as a sign that everything goes on by itself.
KEPT = 10


class BrokerKillsCase(ProcessCase):
    """The scenarios; how often is up to the subclass.

    :cvar broker_class: which broker
    :cvar running_s: the shortest and the longest time between two ends
    :cvar away_s: how long a broker is away
    """

    broker_class: ClassVar[type[Broker]]
    running_s = (0.05, 0.6)
    away_s = (0.0, 0.3)

    def setUp(self) -> None:
        super().setUp()
        self.broker = self.broker_class(self)
        self.seed = random.SystemRandom().randrange(10**9)
        self.chance = random.Random(self.seed)
        self.account = BrokerAccount(ordered=self.broker.ordered)
        self.load = BrokerLoad(self.chance, self.account)
        self.load.delays, self.load.keys = self.broker.delays, self.broker.keys
        self.write("config.yaml", json.dumps({"port": 0, "modules": self.modules()}))

    def modules(self) -> list[dict[str, Any]]:
        """What the engines run."""
        again = {"max_retries": self.broker.max_retries, "backoff_ms": BACKOFF_MS}
        queues = {"jobs": again, FIFO: {"type": "fifo", "message_group_field": "g", **again}}
        topics = {"max_attempts": MAX_ATTEMPTS, "backoff_ms": BACKOFF_MS}
        adapter = {"class": self.broker.name, "config": {**self.broker.settings, **topics}}
        config = {"queue_configs": queues, "adapter": adapter}
        return [{"class": "modules::queue::QueueModule", "config": config}]

    def engine(self) -> Child:
        """One more engine."""
        return self.start("-c", "config.yaml")

    def begin(self, *engines: Child) -> None:
        """Make the topic's groups, and connect."""
        self.load.prepare(engines[0].ready["worker"])
        self.load.join([engine.ready["worker"] for engine in engines])

    def kill_engines(self, times: int, *engines: Child) -> None:
        """Kill one after the other, under load, and start another one in its place."""
        alive = list(engines)
        for number in range(times):
            place = number % len(alive)
            self.load.work(self.chance.uniform(*self.running_s))
            self.kill_one(alive, place)
        self.end(alive[0], *alive[1:])

    def kill_one(self, alive: list[Child], place: int) -> None:
        """Kill the engine at ``place``, start another one there."""
        alive[place].signal(signal.SIGKILL)
        self.load.engine_died(place)
        alive[place].wait()
        alive[place] = self.engine()
        self.load.rejoin(place, alive[place].ready["worker"])
        self.load.work_until_kept(KEPT, self.broker.back_s)

    def kill_broker(self, times: int, engine: Child) -> None:
        """Kill it again and again, under load, and start it a while later."""
        slowest = 0.0
        for _ in range(times):
            self.load.work(self.chance.uniform(*self.running_s))
            self.broker.server.kill()
            self.load.work(self.chance.uniform(*self.away_s))
            self.broker.server.start()
            slowest = max(slowest, self.load.work_until_kept(KEPT, self.broker.back_s))
        log.info("the slowest return took {seconds:.2f} s", seconds=slowest)
        self.end(engine)

    def end(self, engine: Child, *others: Child) -> None:
        """Everything owed must come."""
        self.load.leave()
        for other in others:
            other.signal(signal.SIGTERM)
            self.assertEqual(other.wait(), 0, other.output)
        problems = self.load.drain(engine.ready["worker"])
        self.assertEqual(problems, [], f"seed {self.seed}; {len(problems)} problems")
        for child in (engine, *others):
            self.assertNotIn("Traceback", child.output)
        log.info(
            "{acknowledged} acknowledged, {refused} refused, {deliveries} deliveries, "
            "{repeats} of them of what was handled before",
            acknowledged=self.load.acknowledged,
            refused=len(self.load.refused),
            deliveries=self.load.deliveries,
            repeats=self.account.repeats,
        )
