"""Two engines that share messages and a cron job, and are killed in turn."""

from __future__ import annotations

from time import time
from typing import Any

from twisted.logger import Logger

from tests.durability.broker_kills import BrokerKillsCase
from tests.durability.broker_load import BrokerLoad
from tests.durability.ticks import Ticks
from tests.process_case import Child

log = Logger()

LOCK_TTL_MS = 3_000


class CronWatchCase(BrokerKillsCase):
    """The scenario; how often is up to the subclass."""

    running_s = (0.5, 6.0)

    def setUp(self) -> None:
        super().setUp()
        self.ticks = Ticks()
        self.load = BrokerLoad(self.chance, self.account, self.ticks)

    def modules(self) -> list[dict[str, Any]]:
        """BrokerKillsCase: and cron."""
        config = {"redis_url": self.broker.settings["redis_url"], "lock_ttl_ms": LOCK_TTL_MS}
        adapter = {"class": "modules::cron::RedisCronAdapter", "config": config}
        cron = {"class": "modules::cron::CronModule", "config": {"adapter": adapter}}
        return [*super().modules(), cron]

    def kill_one(self, alive: list[Child], place: int) -> None:
        """BrokerKillsCase: and note when."""
        killed_s = time()
        super().kill_one(alive, place)
        self.ticks.killed(place, killed_s, time())

    def kill_in_turn(self, times: int) -> None:
        """Kill one of two, again and again, and look at messages and ticks."""
        engines = self.engine(), self.engine()
        self.begin(*engines)
        since_s = time()
        self.kill_engines(times, *engines)
        self.assertEqual(self.ticks.problems(since_s, self.ended_s), [], f"seed {self.seed}")
        self.assertGreater(self.ticks.undisturbed, times // 10)
        log.info(
            "{undisturbed} ticks near no kill ran once each; {again} runs of a tick whose "
            "engine had died with it",
            undisturbed=self.ticks.undisturbed,
            again=self.ticks.again,
        )

    def end(self, engine: Child, *others: Child) -> None:
        """BrokerKillsCase: the job ends with the connections."""
        self.ended_s = time()
        super().end(engine, *others)
