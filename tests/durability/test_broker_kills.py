"""Nothing acknowledged is lost, whatever dies (issue 7); long form: ``tests.soak.broker_kills``."""

from __future__ import annotations

from tests.durability.broker_kills import BrokerKillsCase
from tests.durability.brokers import DurableRedis


class OnRedis(BrokerKillsCase):
    """Redis that writes before it answers."""

    broker_class = DurableRedis

    def test_nothing_is_lost_when_redis_is_killed(self) -> None:
        """And the engine goes on by itself."""
        engine = self.engine()
        self.begin(engine)
        self.kill_broker(3, engine)

    def test_nothing_is_lost_when_engines_are_killed(self) -> None:
        """Two on one Redis, in turn."""
        engines = self.engine(), self.engine()
        self.begin(*engines)
        self.kill_engines(3, *engines)
