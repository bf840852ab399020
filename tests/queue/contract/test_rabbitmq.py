"""The contract over the backend ``rabbitmq``."""

from __future__ import annotations

from tests.queue.contract.rabbitmq import RabbitMQ
from tests.queue.contract.suite import over

globals().update(over(RabbitMQ, __name__))
