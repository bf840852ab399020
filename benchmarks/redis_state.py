"""The suite of state and streams in Redis.

As in ``stores``, the yardstick is a call between two workers in the same run.  Redis is a
process of its own without persistence, on the same machine: it takes a part of the
processors that a call between workers leaves to others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.brokers import RedisServer
from benchmarks.configs import redis_stores_config
from benchmarks.processes import ENGINE
from benchmarks.stats import Figure
from benchmarks.stores import against_calls, calls
from benchmarks.suite import Plan, Situation, Suite


class RedisState(Suite):
    """Reading and writing values that all engines share."""

    name = "redis_state"
    measures = (
        against_calls("state::get on Redis, 64 in flight, 16 B", 0.3, partial(calls, "state::get")),
        against_calls(
            "state::set on Redis, 64 in flight, 16 B", 0.25, partial(calls, "state::set")
        ),
        against_calls(
            "stream::set on Redis, 64 in flight, 16 B, no subscriber",
            0.15,
            partial(calls, "stream::set"),
        ),
    )

    def __init__(self) -> None:
        self.redis = RedisServer()

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        config = redis_stores_config(self.redis.url)
        return (
            Situation(self.name, ENGINE, config=config),
            Situation("call between workers", ENGINE, config=config),
        )

    def run(self, plan: Plan, note: Callable[[str], None]) -> tuple[list[str], list[Figure]]:
        """Suite: with a Redis beside."""
        with self.redis:
            return super().run(plan, note)
