"""A hundred kills of brokers and of engines under load (issue 7).

About three quarters of an hour, most of it starts of RabbitMQ and of engines.
"""

from __future__ import annotations

from tests.durability.broker_kills import BrokerKillsCase
from tests.durability.brokers import DurableRedis, RabbitMQ
from tests.durability.cron_watch import CronWatchCase

KILLS = 100


class OnRedis(BrokerKillsCase):
    """``appendonly yes``, ``appendfsync always``."""

    broker_class = DurableRedis
    timeout = 1200

    def test_a_hundred_kills_of_redis(self) -> None:
        """0 acknowledged messages lost."""
        engine = self.engine()
        self.begin(engine)
        self.kill_broker(KILLS, engine)

    def test_a_hundred_kills_of_the_engine(self) -> None:
        """0 acknowledged messages lost."""
        engine = self.engine()
        self.begin(engine)
        self.kill_engines(KILLS, engine)


class OnRabbitMQ(BrokerKillsCase):
    """With publisher confirms."""

    broker_class = RabbitMQ
    timeout = 3600
    away_s = (0.0, 1.0)

    def test_a_hundred_kills_of_rabbitmq(self) -> None:
        """0 acknowledged messages lost."""
        engine = self.engine()
        self.begin(engine)
        self.kill_broker(KILLS, engine)

    def test_a_hundred_kills_of_the_engine(self) -> None:
        """0 acknowledged messages lost."""
        engine = self.engine()
        self.begin(engine)
        self.kill_engines(KILLS, engine)


class TwoEngines(CronWatchCase):
    """On one Redis, killed in turn."""

    broker_class = DurableRedis
    timeout = 1800

    def test_fifty_kills_of_each(self) -> None:
        """0 lost, no tick claimed twice, exactly one run per tick outside the kills."""
        self.kill_in_turn(KILLS)
