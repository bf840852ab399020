"""The suites of queues on brokers.

As in ``queues``, the yardstick is a call between two workers in the same run, and a message
counts from its enqueue until it is handled.  The broker is a process of its own on the
same machine: it takes a part of the processors that calls between workers leave to
others.  The yardstick's engine doesn't know the broker, or it would share its queues.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.brokers import RabbitServer, RedisServer
from benchmarks.configs import queue_config, rabbitmq_config, redis_queue_config
from benchmarks.confirms import Confirms
from benchmarks.processes import ENGINE, BenchmarkError
from benchmarks.queues import drained, enqueues, flow
from benchmarks.stats import Figure, Rounds
from benchmarks.stores import IN_FLIGHT, plain_calls
from benchmarks.suite import Measure, Plan, Side, Situation, Suite, ratio_at_least


def acknowledged(bound: float) -> Measure:
    """Receipts/s of messages that nobody takes."""
    name = "enqueue acknowledged, 64 in flight"
    return Measure(name, "enqueues/s", ratio_at_least(bound), enqueues, plain_calls)


class BrokerQueue(Suite):
    """The queues of an engine on a broker."""

    def __init__(self, broker: RedisServer | RabbitServer, config: Callable[[str], str]) -> None:
        self.broker = broker
        self._config = config

    def situations(self, plan: Plan) -> tuple[Situation, ...]:
        return (
            Situation(self.name, ENGINE, config=self._config(self.broker.url)),
            Situation("call between workers", ENGINE, config=queue_config("os")),
        )

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """How long one message takes when nothing else happens."""
        middle, worst = Rounds(), Rounds()
        for _ in range(plan.rounds):
            done = sides[0].queue("topic", plan.seconds, do="latency")
            middle.add(done["p50_ms"], 0.0)
            worst.add(done["p99_ms"], 0.0)
        name = "idle latency, enqueue to handler"
        return [
            Figure(f"{name}: p50", "ms", None, middle),
            Figure(f"{name}: p99", "ms", None, worst),
        ]

    def run(self, plan: Plan, note: Callable[[str], None]) -> tuple[list[str], list[Figure]]:
        """Suite: with the broker beside.

        :raises BenchmarkError: two revisions are to be compared, which would share the queues
        """
        if plan.against is not None:
            raise BenchmarkError(f"{self.name} has no --against: both would share one broker")
        with self.surroundings():
            return super().run(plan, note)

    def surroundings(self) -> AbstractContextManager[object]:
        """Suite: the broker."""
        return self.broker


class RedisQueue(BrokerQueue):
    """Redis without persistence: what engine and scripts cost."""

    name = "redis_queue"
    measures = (
        acknowledged(0.15),
        flow("named queue, concurrency 50, enqueue to handled", "plain", 0.08),
        flow("topic, enqueue to handled", "topic", None),
        flow("FIFO queue, 100 groups, enqueue to handled", "fifo", None),
        Measure("named queue, 1,000 that wait", "messages/s", None, drained, plain_calls),
    )

    def __init__(self) -> None:
        super().__init__(RedisServer(), redis_queue_config)


class RabbitQueue(BrokerQueue):
    """RabbitMQ with confirms."""

    name = "rabbitmq"
    measures = (
        acknowledged(0.1),
        flow("named queue, concurrency 50, enqueue to handled", "plain", 0.06),
        flow("topic, enqueue to handled", "topic", None),
    )

    def __init__(self) -> None:
        super().__init__(RabbitServer(), rabbitmq_config)

    def once(self, sides: list[Side], plan: Plan) -> list[Figure]:
        """BrokerQueue: and what the broker can do when it has nothing else to do."""
        alone = Rounds()
        for _ in range(plan.rounds):
            alone.add(Confirms(self.broker.url, IN_FLIGHT, plan.seconds).per_second(), 1.0)
        name = "RabbitMQ alone, publishes confirmed, 64 in flight"
        return [*super().once(sides, plan), Figure(name, "publishes/s", None, alone)]
