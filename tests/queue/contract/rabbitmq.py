"""The adapter on RabbitMQ."""

from __future__ import annotations

from typing import Any

from tests.queue.contract.backend import (
    CANCEL,
    EVERYTHING,
    GLOBAL_ORDER,
    IDEMPOTENCY,
    PRIORITY,
    RESCHEDULE,
    Backend,
)
from tests.support.rabbitmq import broker, unique_prefix


class RabbitMQ(Backend):
    """``rabbitmq``, on a broker of the tests' own."""

    name = "rabbitmq"
    abilities = EVERYTHING - {CANCEL, RESCHEDULE, IDEMPOTENCY, PRIORITY, GLOBAL_ORDER}

    async def prepare(self) -> None:
        """Backend: a broker, and names that no other test has."""
        self.broker = broker()
        self.prefix = unique_prefix()
        self.before()

    def before(self) -> None:
        """What is on the broker before the first engine."""

    def adapter(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Backend: where it is."""
        return {"amqp_url": self.broker.url, "prefix": self.prefix, **settings}

    # 03 §1.12 --------------------------------------------------------------------------

    def named_attempts(self, max_retries: int) -> int:
        """Backend: ``max_retries`` come after the first attempt."""
        return max_retries + 1

    def named_gap_ms(self, backoff_ms: int, attempts: int) -> int:
        """Backend: the same after every attempt."""
        return backoff_ms
