"""The adapter ``redis``: streams that all engines on one Redis share.

A group is the hash ``stream:<stream>:<group>``, item → value as JSON, and what happens is
published on the channel ``stream::events``, as engines of the original have it.  Every
engine hears of everything there, of its own writes too, and tells its subscribers.

A write and its message are one step inside Redis, so the messages of an item come in the
order in which it was written, whichever engines wrote.  What was published while the
channel was not heard is lost; then subscriptions begin anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.modules.stream.adapter import Announcer, Heard
from iii.modules.stream.adapters.redis_names import StreamLayout
from iii.modules.stream.events import Event, Timestamps, Told
from iii.redis import Redis, RedisConfig, RedisError, parse_url, warn_of_loss
from iii.redis.hash_scripts import hash_scripts
from iii.redis.hashes import HashStore, Telling
from iii.storage.store import Bucket, Store, StoreError

log = Logger()

CHANNEL = "stream::events"
#: Redis cuts listeners off that are behind by more than 32 MiB: one message must fit.
MAX_EVENT_BYTES = 16 * 1024 * 1024
REPORT_EVERY_S = 60.0

_READ = msgspec.json.Decoder(Told).decode
_TEXT = msgspec.json.Encoder().encode
_MIDDLE = '","data":'

# Their last two arguments are the message up to the kind, and behind the data.
SCRIPTS = hash_scripts(
    written=f"""redis.call('PUBLISH', ARGV[3],
  ARGV[4] .. (old and 'update' or 'create') .. '{_MIDDLE}' .. ARGV[2] .. ARGV[5])""",
    deleted=f"""redis.call('PUBLISH', ARGV[2],
    ARGV[3] .. 'delete{_MIDDLE}' .. old .. ARGV[4])""",
)
_START = b'{"type":"stream","timestamp":%d,"streamName":%b,"groupId":%b,"id":%b,"event":{"type":"'
_END = b"}}"
_BRACE = ord("{")


class StreamTelling(Telling):
    """What is told of a write: the envelope.

    :ivar stamps: where its timestamp is from
    """

    scripts = SCRIPTS
    channel = CHANNEL
    max_value_bytes = MAX_EVENT_BYTES

    def __init__(self, clock: Clock) -> None:
        self.stamps = Timestamps(clock)

    def parts(self, bucket: Bucket, key: str) -> tuple[bytes | str, ...]:
        """Telling: the kind and the data are known inside Redis."""
        return (CHANNEL, self._start(bucket, key), _END)

    def text(self, bucket: Bucket, key: str, old: bytes | None, new: bytes | None) -> bytes | None:
        """Telling: the whole."""
        data = old if new is None else new
        if data is None:
            return None
        kind = "delete" if new is None else "create" if old is None else "update"
        return b"".join((self._start(bucket, key), kind.encode(), _MIDDLE.encode(), data, _END))

    def _start(self, bucket: Bucket, key: str) -> bytes:
        stream, group = bucket
        timestamp = self.stamps.next(stream, group, key)
        return _START % (timestamp, _TEXT(stream), _TEXT(group), _TEXT(key))


class RedisStreamStore(HashStore, Announcer):
    """The store.

    :param redis: connected
    """

    def __init__(self, engine: ModuleApi, redis: Redis) -> None:
        telling = StreamTelling(engine.clock)
        super().__init__(engine, redis, StreamLayout(), telling)
        self._stream_telling = telling
        self._clock = engine.clock
        self._told: Heard | None = None
        self._missed: Callable[[], None] | None = None
        self._dropped = 0
        self._dropped_told_at: float | None = None

    def subscribe(self) -> Deferred[None]:
        """Hear of events; the Deferred fires when Redis knows."""
        self._redis.on_back.append(self._again)
        self._redis.subscribe(CHANNEL, self._heard, self._again)
        return self._redis.subscribed(CHANNEL)

    def listen(self, stamps: Timestamps, heard: Heard, missed: Callable[[], None]) -> None:
        """Announcer: who is told from now on."""
        self._stream_telling.stamps = stamps
        self._told = heard
        self._missed = missed

    def announce(self, event: Event) -> Deferred[None]:
        """Announcer: publish it."""
        size = len(event.payload)
        if size > MAX_EVENT_BYTES:
            text = f"an event of {size} bytes; at most {MAX_EVENT_BYTES} go through Redis"
            return fail(StoreError(Code.PAYLOAD_TOO_LARGE, text))
        sent = self._redis.call("PUBLISH", CHANNEL, event.payload)
        return sent.addCallbacks(_done, _failed)

    def _again(self) -> None:
        """The channel is heard, or values can be read again: when both, subscriptions begin anew.

        The first time nobody has missed anything, because there is nobody.
        """
        if self._missed is not None and self._redis.up and self._redis.hears(CHANNEL):
            self._missed()

    def _heard(self, channel: bytes, body: bytes) -> None:
        """An engine, or anybody, has published something."""
        try:
            body.decode()
            told = _READ(body)
        except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError) as error:
            self._drop(str(error))
            return
        if memoryview(told.event)[0] != _BRACE:
            self._drop("its event is no object")
        elif self._told is not None:
            self._told(told, body)

    def _drop(self, problem: str) -> None:
        self._dropped += 1
        now, told_at = self._clock.monotonic(), self._dropped_told_at
        if told_at is not None and now - told_at < REPORT_EVERY_S:
            return
        log.warn(
            "stream: dropped {dropped} message(s) from Redis since the last such line, the last"
            " one is no event: {problem}",
            dropped=self._dropped,
            problem=problem,
        )
        self._dropped = 0
        self._dropped_told_at = now


def _done(_: Any) -> None:
    return None


def _failed(failure: Failure) -> Failure:
    error = failure.value
    if isinstance(error, RedisError):
        return Failure(StoreError(error.code, error.message))
    return failure


class RedisStreams:
    """Opens the store."""

    config = RedisConfig

    def __init__(self, settings: RedisConfig) -> None:
        self._address = parse_url(settings.redis_url)

    def open(self, engine: ModuleApi, name: str, stores: dict[str, str]) -> Deferred[Store]:
        """The store, once Redis is there and events are heard.

        The Deferred fails with ``StartError``: it is not, or refuses.
        """
        redis = Redis(
            engine,
            self._address,
            who=name,
            without="reads and writes fail, and subscribers hear of nothing",
            scripts=SCRIPTS.all,
        )
        stores[name] = str(self._address)
        return Deferred.fromCoroutine(self._connected(engine, redis, name))

    async def _connected(self, engine: ModuleApi, redis: Redis, name: str) -> Store:
        store = RedisStreamStore(engine, redis)
        try:
            await redis.start()
            await warn_of_loss(engine, redis, name)
            await store.subscribe()
        except BaseException:
            await redis.stop()
            raise
        return store
