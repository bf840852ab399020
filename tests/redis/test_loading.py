"""A Redis that was just started reads its files first: it is waited for."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from iii.errors import StartError
from tests.redis.cases import RedisCase

WORDS = b"-LOADING Redis is loading the dataset in memory\r\n"


class Loading(Protocol):
    """Says that it is loading, so many times; then it answers everything with OK."""

    def dataReceived(self, data: bytes) -> None:
        """Protocol: one answer for each command."""
        factory: LoadingFactory = self.factory  # type: ignore[assignment]
        for _ in range(data.count(b"*")):
            if factory.left:
                self.transport.write(WORDS)
            else:
                self.transport.write(b"+OK\r\n")
        factory.left = max(0, factory.left - 1)


class LoadingFactory(Factory):
    """Such a server."""

    protocol = Loading

    def __init__(self, times: int) -> None:
        self.left = times


class Waiting(RedisCase):
    """At the start of the engine, and after a restart of Redis."""

    def server_on(self, factory: LoadingFactory) -> str:
        """Listen; the URL."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return f"redis://127.0.0.1:{port.getHost().port}"

    async def test_the_start_waits(self) -> None:
        """Until it has its data."""
        factory = LoadingFactory(2)
        redis = await self.redis(self.server_on(factory))
        self.assertTrue(redis.up)
        self.assertEqual(factory.left, 0)

    async def test_a_stop_ends_the_wait(self) -> None:
        """The engine need not wait for a Redis it will not use."""
        redis = self.client(self.server_on(LoadingFactory(1_000)))
        starting = Deferred.fromCoroutine(redis.start())
        passed: Deferred[None] = Deferred()
        reactor.callLater(0.1, passed.callback, None)  # type: ignore[attr-defined]
        await passed
        self.assertNoResult(starting)
        await redis.stop()
        await self.assertFailure(starting, StartError)
