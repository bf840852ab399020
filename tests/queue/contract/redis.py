"""The adapter on Redis: everything the embedded one can, for several engines."""

from __future__ import annotations

from typing import Any

from tests.queue.contract.backend import Backend
from tests.support.shared_redis import empty_redis


class Redis(Backend):
    """``redis``, on a server of the tests' own."""

    name = "redis"

    async def prepare(self) -> None:
        """Backend: a server with nothing in it."""
        self.server = empty_redis()

    def adapter(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Backend: where it is."""
        return {"redis_url": self.server.url, **settings}
