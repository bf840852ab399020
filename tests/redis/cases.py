"""Engines on one Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.redis import Redis, Script, parse_url
from tests.support.redis import RedisServer

WAIT_S = 10.0


class RedisCase(TestCase):
    """A Redis, and what an engine gives an adapter."""

    timeout = 60
    options: tuple[str, ...] = ()

    def setUp(self) -> Any:
        self.server = RedisServer(self, *self.options)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._note)
        self.addCleanup(globalLogPublisher.removeObserver, self._note)

    def _note(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("iii."):
            self.lines.append(formatEvent(event))

    def said(self, text: str) -> list[str]:
        """The lines of the log with ``text`` in it."""
        return [line for line in self.lines if text in line]

    def api(self, clock: Clock | None = None) -> ModuleApi:
        """What a module sees of an engine."""
        return ModuleApi(Engine(reactor, clock=clock), "iii-demo")

    async def redis(
        self,
        url: str | None = None,
        *,
        scripts: tuple[Script, ...] = (),
        clock: Clock | None = None,
    ) -> Redis:
        """A connected client."""
        redis = self.client(url, scripts, clock)
        self.addCleanup(redis.stop)
        await redis.start()
        return redis

    def client(
        self, url: str | None = None, scripts: tuple[Script, ...] = (), clock: Clock | None = None
    ) -> Redis:
        """One that has not connected yet."""
        return Redis(
            self.api(clock),
            parse_url(url or self.server.url),
            who="demo",
            without="nothing works",
            scripts=scripts,
        )

    async def eventually(self, there: Callable[[], Any], wait_s: float = WAIT_S) -> None:
        """Wait until ``there()``, polling: for what no message announces."""
        for _ in range(int(wait_s / 0.005)):
            if there():
                return
            passed: Deferred[None] = Deferred()
            reactor.callLater(0.005, passed.callback, None)  # type: ignore[attr-defined]
            await passed
        self.fail("it did not happen; the log:\n" + "\n".join(self.lines))
