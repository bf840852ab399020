"""The adapter ``redis``: everybody who is connected to any engine on the same Redis.

A message is ``PUBLISH <topic> <data as JSON>``, the payload and nothing else, so engines
of the original and foreign programs publish and hear the same.  There is therefore no
place for a trace context.  The subscribers of the publishing engine hear through Redis
as well: everybody has the same order, and each engine gets a message exactly once.

Nothing is kept: what is published while an engine has lost its connection does not reach
its subscribers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.engine.module import ModuleApi
from iii.errors import Code, IIIError
from iii.modules.pubsub.adapter import Message, Received
from iii.redis import Redis, RedisConfig, RedisError, parse_url

log = Logger()

#: Redis cuts subscribers off that are behind by more than 32 MiB: one message must fit.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
REPORT_EVERY_S = 60.0

_skim = msgspec.json.Decoder(Raw)


class RedisAdapter:
    """Publishes to and hears from Redis channels named like the topics."""

    kind: ClassVar[str] = "redis"
    config = RedisConfig

    def __init__(self, settings: RedisConfig) -> None:
        self._address = parse_url(settings.redis_url)
        self._redis: Redis | None = None
        self._received: Received | None = None
        self._clock: Clock | None = None
        self._dropped = 0
        self._dropped_told_at: float | None = None

    async def start(self, engine: ModuleApi, received: Received) -> None:
        """Adapter: connect.

        :raises StartError: Redis is not there
        """
        self._received = received
        self._clock = engine.clock
        self._redis = Redis(
            engine,
            self._address,
            who="pubsub",
            without="publish fails, and subscribers miss what others publish",
        )
        await self._redis.start()

    def subscribe(self, topic: str) -> None:
        """Adapter: listen on its channel."""
        if self._redis is not None:
            self._redis.subscribe(topic, self._heard)

    def unsubscribe(self, topic: str) -> None:
        """Adapter: listen no more."""
        if self._redis is not None:
            self._redis.unsubscribe(topic)

    def publish(self, message: Message) -> Deferred[None]:
        """Adapter: hand ``message`` to Redis.

        :raises IIIError: it is too large
        """
        assert self._redis is not None
        size = memoryview(message.data).nbytes
        if size > MAX_MESSAGE_BYTES:
            text = f"a message of {size} bytes; at most {MAX_MESSAGE_BYTES} go through Redis"
            raise IIIError(Code.PAYLOAD_TOO_LARGE, text)
        # Who subscribes and then publishes here must hear it: the two take different ways.
        ready = self._redis.subscribed(message.topic)
        sent: Deferred[Any] = ready.addCallback(lambda _: self._send(message))
        return sent.addCallbacks(_sent, _failed)

    def stop(self) -> Deferred[None] | None:
        """Adapter: disconnect."""
        self._received = None
        return None if self._redis is None else self._redis.stop()

    def _send(self, message: Message) -> Deferred[Any]:
        assert self._redis is not None
        return self._redis.call("PUBLISH", message.topic, bytes(message.data))

    def _heard(self, channel: bytes, body: bytes) -> None:
        """Somebody published; it may be anybody, and anything."""
        problem = _problem(body)
        if problem is not None:
            self._drop(channel, problem)
        elif self._received is not None:
            self._received(Message(channel.decode(), Raw(body)))

    def _drop(self, channel: bytes, problem: str) -> None:
        assert self._clock is not None
        self._dropped += 1
        now, told_at = self._clock.monotonic(), self._dropped_told_at
        if told_at is not None and now - told_at < REPORT_EVERY_S:
            return
        log.warn(
            "pubsub: dropped {dropped} message(s) from Redis since the last such line, the last"
            " one on {topic}: {problem}",
            dropped=self._dropped,
            topic=channel.decode(),
            problem=problem,
        )
        self._dropped = 0
        self._dropped_told_at = now


def _problem(body: bytes) -> str | None:
    """Why ``body`` can't be handed to a function."""
    if len(body) > MAX_MESSAGE_BYTES:
        return f"{len(body)} bytes; at most {MAX_MESSAGE_BYTES} are taken"
    try:
        body.decode()
        _skim.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        return f"it is no JSON ({error})"
    return None


def _sent(_: Any) -> None:
    return None


def _failed(failure: Failure) -> Failure:
    failure.trap(RedisError)
    raise IIIError(
        Code.PUBLISH_FAILED, f"the message was not published: {failure.getErrorMessage()}"
    )
