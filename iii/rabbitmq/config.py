"""The settings that every adapter on RabbitMQ has."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

DEFAULT_URL = "amqp://localhost:5672"


class RabbitConfig(Struct, frozen=True, kw_only=True):
    """``config:`` of an adapter on RabbitMQ.

    :ivar amqp_url: where it is, see ``iii.rabbitmq.address``
    """

    amqp_url: str = DEFAULT_URL

    def __repr__(self) -> str:
        """Without the password that may be in the URL."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
