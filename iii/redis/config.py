"""The settings that all adapters on Redis have."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

DEFAULT_URL = "redis://localhost:6379"


class RedisConfig(Struct, frozen=True, kw_only=True):
    """``config:`` of an adapter on Redis.

    :ivar redis_url: where it is, see ``iii.redis.address``
    """

    redis_url: str = DEFAULT_URL

    def __repr__(self) -> str:
        """Without the password that may be in the URL."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
