"""What RabbitMQ alone can do: one connection, one durable queue, every message confirmed."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pika

from benchmarks.calls import message

QUEUE = "bench.alone"
PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="application/json")


class Confirms:
    """Publishes as fast as confirmations come, for a while.

    :param in_flight: messages that are not confirmed yet
    :ivar confirmed: how many were
    """

    def __init__(self, url: str, in_flight: int, seconds: float) -> None:
        self._in_flight = in_flight
        self._seconds = seconds
        self._sent = self.confirmed = 0
        self._until = 0.0
        self._channel: Any = None
        self._connection = pika.SelectConnection(
            pika.URLParameters(url), on_open_callback=self._opened
        )

    def per_second(self) -> float:
        """Do it."""
        self._connection.ioloop.start()
        return self.confirmed / self._seconds

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._declare)

    def _declare(self, channel: Any) -> None:
        self._channel = channel
        channel.queue_declare(QUEUE, durable=True, callback=self._select)

    def _select(self, _: Any) -> None:
        self._channel.confirm_delivery(self._confirm, callback=self._begin)

    def _begin(self, _: Any) -> None:
        self._until = perf_counter() + self._seconds
        self._publish()

    def _publish(self) -> None:
        while self._sent - self.confirmed < self._in_flight:
            self._sent += 1
            self._channel.basic_publish("", QUEUE, message(self._sent), PERSISTENT, mandatory=True)

    def _confirm(self, frame: Any) -> None:
        if perf_counter() >= self._until:
            self._connection.ioloop.stop()
            return
        method = frame.method
        # Single ones may come in any order; then the next multiple one catches up.
        self.confirmed = max(self.confirmed + 1, method.delivery_tag if method.multiple else 0)
        self._publish()
