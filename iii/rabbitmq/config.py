"""The settings that every adapter on RabbitMQ has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from iii.checking import Fault
from iii.errors import StartError
from iii.rabbitmq.address import parse_url

DEFAULT_URL = "amqp://localhost:5672"


class RabbitConfig(Struct, frozen=True, kw_only=True):
    """``config:`` of an adapter on RabbitMQ.

    :ivar amqp_url: where it is, see ``iii.rabbitmq.address``
    """

    amqp_url: str = DEFAULT_URL

    def faults(self) -> Iterator[Fault]:
        """A URL that can't be read, or the file it names."""
        try:
            parse_url(self.amqp_url).authority()
        except StartError as error:
            yield Fault(error.message, ("amqp_url",))

    def __repr__(self) -> str:
        """Without the password that may be in the URL."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
