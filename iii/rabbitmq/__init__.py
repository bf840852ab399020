"""RabbitMQ, as an adapter on it needs it (docs/adapters.md)."""

from iii.rabbitmq.address import Address, parse_url
from iii.rabbitmq.broker import Broker
from iii.rabbitmq.config import RabbitConfig
from iii.rabbitmq.consumer import Consumer, Delivery
from iii.rabbitmq.desk import Desk, Got
from iii.rabbitmq.errors import BrokerAway, BrokerError, Unroutable
from iii.rabbitmq.frames import Headers, Properties

__all__ = [
    "Address",
    "Broker",
    "BrokerAway",
    "BrokerError",
    "Consumer",
    "Delivery",
    "Desk",
    "Got",
    "Headers",
    "Properties",
    "RabbitConfig",
    "Unroutable",
    "parse_url",
]
