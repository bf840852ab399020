"""Engines on a RabbitMQ, and a client beside them that is no engine."""

from __future__ import annotations

from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from tests.queue.contract.case import ContractCase
from tests.queue.contract.rabbitmq import RabbitMQ


class Beside:
    """A plain AMQP client, as an engine of the original or an operator's tool.

    :param prefix: of all names
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self.prefix = prefix

    def close(self) -> None:
        """Leave."""
        self._connection.close()

    def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        headers: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Publish as the original does."""
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, headers=headers, **more
        )
        self._channel.basic_publish(exchange, key, body, properties)

    def get(self, queue: str) -> tuple[Any, bytes] | None:
        """Take a message: properties and body."""
        method, properties, body = self._channel.basic_get(queue, auto_ack=True)
        return None if method is None else (properties, body)

    def exchange(self, name: str, type: str) -> bool:
        """Declare an exchange; false: it is there otherwise."""
        return self._same(lambda c: c.exchange_declare(name, type, durable=True))

    def queue(self, name: str, **arguments: Any) -> bool:
        """Declare a queue; false: it is there with other arguments."""
        return self._same(lambda c: c.queue_declare(name, durable=True, arguments=arguments))

    def is_there(self, queue: str) -> bool:
        """Whether there is such a queue."""
        return self._same(lambda c: c.queue_declare(queue, passive=True))

    def _same(self, declare: Any) -> bool:
        channel = self._connection.channel()
        try:
            declare(channel)
        except ChannelClosedByBroker:
            return False
        channel.close()
        return True


class RabbitCase(ContractCase):
    """One engine on the broker of the tests."""

    backend_class = RabbitMQ
    backend: RabbitMQ

    def beside(self) -> Beside:
        """A client that is no engine."""
        client = Beside(self.backend.broker.url, self.backend.prefix)
        self.addCleanup(client.close)
        return client

    def named(self, name: str) -> str:
        """What the broker calls a named queue."""
        return f"{self.backend.prefix}.__fn_queue::{name}"
