"""The adapter ``rabbitmq``: queues on a broker, shared by every engine on it."""

from iii.modules.queue.adapters.rabbitmq.adapter import RabbitAdapter

__all__ = ["RabbitAdapter"]
