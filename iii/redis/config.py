"""The settings that all adapters on Redis have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from iii.checking import Fault
from iii.errors import StartError
from iii.redis.address import parse_url

DEFAULT_URL = "redis://localhost:6379"


class RedisConfig(Struct, frozen=True, kw_only=True):
    """``config:`` of an adapter on Redis.

    :ivar redis_url: where it is, see ``iii.redis.address``
    """

    redis_url: str = DEFAULT_URL

    def faults(self) -> Iterator[Fault]:
        """A URL that can't be read, or the file it names."""
        try:
            parse_url(self.redis_url).authority()
        except StartError as error:
            yield Fault(error.message, ("redis_url",))

    def __repr__(self) -> str:
        """Without the password that may be in the URL."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
