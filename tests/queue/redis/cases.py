"""Engines with their queues on one Redis of the test's own."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.queue.contract.case import ContractCase
from tests.queue.contract.node import Node
from tests.queue.contract.redis import Redis
from tests.support.redis import RedisServer


class RedisQueueCase(ContractCase):
    """An engine, a caller beside it, and a Redis that the test may end.

    :cvar options: further arguments of the server
    """

    backend_class = Redis
    options: ClassVar[tuple[str, ...]] = ()

    @property
    def server(self) -> RedisServer:
        """The Redis."""
        server: RedisServer = self.backend.server  # type: ignore[attr-defined]
        return server

    async def setUp(self) -> None:
        options = self.options

        class Backend(Redis):
            """With the options of the test."""

            async def prepare(self) -> None:
                """Backend: a server."""
                self.server = RedisServer(self.case, *options)

        self.backend_class = Backend  # type: ignore[misc]
        await super().setUp()

    def up(self, node: Node | None = None) -> bool:
        """Whether an engine is connected to Redis."""
        adapter: Any = (node or self.node).module.adapter
        is_up: bool = adapter._hub.redis.up
        return is_up

    async def away(self) -> None:
        """Wait until the engine knows that Redis has gone."""

        async def so() -> bool:
            return not self.up()

        await self.until(so, "a Redis that is away")

    async def back(self) -> None:
        """Wait until the engine is connected again."""

        async def so() -> bool:
            return self.up()

        await self.until(so, "a Redis that is back")

    def cut(self, node: Node) -> None:
        """From now on an engine can't reach Redis any more, and does not know why."""
        adapter: Any = node.module.adapter
        for link in (adapter._hub.redis._commands, adapter._hub.redis._channels):
            link._address = _NOWHERE
            link.wire.abort("the test cut it")


class _Nowhere:
    """An address that nobody answers."""

    def __str__(self) -> str:
        return "nowhere"

    def endpoint(self, reactor: Any, limit_s: float) -> Any:
        from twisted.internet.endpoints import TCP4ClientEndpoint

        return TCP4ClientEndpoint(reactor, "127.0.0.1", 1, timeout=1)


_NOWHERE = _Nowhere()
