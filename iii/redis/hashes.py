"""Values in hashes of Redis (``Store``), shared by all engines that use the same one.

Values are the bytes that were given; what somebody else wrote there is looked at before it
is passed on, because it need not be JSON.  Nothing is remembered here: another engine
may write at any time.

How buckets are called is the ``Layout``'s business.  Scripts: ``hash_scripts``; updates:
``lanes``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from iii.engine.invocations import NULL
from iii.engine.module import ModuleApi
from iii.errors import Code
from iii.redis.client import Redis
from iii.redis.errors import RedisError
from iii.redis.hash_scripts import (
    EXIST,
    LIST,
    PAGE,
    SWAPPED,
    HashScripts,
    hash_scripts,
)
from iii.redis.lanes import Line, Round, Step, Write
from iii.storage.store import Bucket, Change, Compute, Page, StoreError

T = TypeVar("T")

#: Counts the positions of keys, in all stores of one Redis.
COUNTER = "iii:positions"
#: Keys looked at by one command.
SCAN_KEYS = 1000
#: How often an update is computed again because another engine was faster.
MAX_TRIES = 1000

PLAIN = hash_scripts()

_skim = msgspec.json.Decoder(Raw).decode


class Layout(Protocol):
    """What the buckets of a store are called in Redis."""

    def hash(self, bucket: Bucket) -> str:
        """The hash of a bucket."""
        ...

    def order(self, bucket: Bucket) -> str:
        """The order of its keys; no name of a hash of any store."""
        ...

    def pattern(self, first: str | None) -> str:
        """What the hashes of all buckets match, or of those that start with ``first``."""
        ...

    def buckets(self, hash: str) -> list[Bucket]:
        """Which buckets may have this hash, the likeliest first."""
        ...


class Telling:
    """What a store tells in the same step in which it writes; this one tells nothing.

    :cvar scripts: the writes, with the Lua that tells
    :cvar channel: where
    :ivar max_value_bytes: larger values can't be told, and are refused; None: no limit
    """

    scripts: HashScripts = PLAIN
    channel = ""
    max_value_bytes: int | None = None

    def parts(self, bucket: Bucket, key: str) -> tuple[bytes | str, ...]:
        """What the Lua takes."""
        return ()

    def text(self, bucket: Bucket, key: str, old: bytes | None, new: bytes | None) -> bytes | None:
        """The message of a write within an update; None: nothing is told."""
        return None


class HashStore:
    """A ``Store`` in Redis.

    :param redis: connected, and knows the scripts of ``telling``
    """

    def __init__(
        self, engine: ModuleApi, redis: Redis, layout: Layout, telling: Telling | None = None
    ) -> None:
        self._turn = engine.turn
        self._redis = redis
        self._layout = layout
        self._telling = telling or Telling()
        self._scripts = self._telling.scripts
        self._lanes: dict[tuple[Bucket, str], list[Write]] = {}
        self._line = Line()

    # Single values ---------------------------------------------------------------------

    def get(self, bucket: Bucket, key: str) -> Deferred[Raw | None]:
        """Store: the value."""
        if self._lanes and (bucket, key) in self._lanes:
            looked: Deferred[Any] = Deferred()
            self._wait(bucket, key, Write(_same, _teller(looked), writes=False))
            return looked.addCallbacks(self._looked, _refuse, callbackArgs=(bucket, key))
        asked = self._redis.call(b"HGET", self._layout.hash(bucket), key)
        return asked.addCallbacks(self._found, _refuse, callbackArgs=(bucket, key))

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store: keep ``value``."""
        data = bytes(value)
        telling = self._telling
        if telling.max_value_bytes is not None and len(data) > telling.max_value_bytes:
            return fail(_too_large(len(data), telling.max_value_bytes))
        if self._lanes and (bucket, key) in self._lanes:
            return self._queue(bucket, key, lambda _: data)
        layout = self._layout
        asked = self._redis.run(
            self._scripts.set,
            layout.hash(bucket),
            layout.order(bucket),
            COUNTER,
            key,
            data,
            *telling.parts(bucket, key),
        )
        return self._in_line(asked.addCallbacks(self._set, _refuse, callbackArgs=(Raw(data),)))

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Store: take the value out."""
        if self._lanes and (bucket, key) in self._lanes:
            return self._queue(bucket, key, _nothing)
        layout, telling = self._layout, self._telling
        asked = self._redis.run(
            self._scripts.delete,
            layout.hash(bucket),
            layout.order(bucket),
            COUNTER,
            key,
            *telling.parts(bucket, key),
        )
        return self._in_line(asked.addCallbacks(self._set, _refuse, callbackArgs=(None,)))

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Store: replace the value; no other engine writes it in between."""
        most = self._telling.max_value_bytes

        def step(old: bytes | None) -> bytes:
            if old is not None and not _is_json(old):
                raise _no_json(self._layout.hash(bucket), key)
            new = bytes(compute(None if old is None else Raw(old)))
            if most is not None and len(new) > most:
                raise _too_large(len(new), most)
            return new

        return self._queue(bucket, key, step)

    # Many values -----------------------------------------------------------------------

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store: all values."""
        return self._settled(lambda: self._list(bucket, "values").addCallback(self._raws, bucket))

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """Store: all keys."""
        return self._settled(lambda: self._list(bucket, "keys").addCallback(_names))

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store: a part of a bucket."""

        def ask() -> Deferred[Page]:
            asked = self._redis.run(PAGE, *self._keys(bucket), after, limit, max_bytes)
            return asked.addCallback(self._page, bucket, after)

        return self._settled(ask)

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store: buckets that hold something, also those of other engines."""
        return self._settled(lambda: Deferred.fromCoroutine(self._scan(first)))

    def close(self) -> Deferred[None]:
        """Store: finish all writes and disconnect."""
        last = self._line.behind(self._ping) if self._line else self._ping()
        return last.addCallback(lambda _: self._redis.stop())

    def _ping(self) -> Deferred[Any]:
        """Replies come in order: with this one everything sent before has been done."""
        return self._redis.call("PING").addErrback(lambda failure: failure.trap(RedisError))

    # Answers ---------------------------------------------------------------------------

    def _found(self, value: bytes | None, bucket: Bucket, key: str) -> Raw | None:
        # What is answered to workers leaves with all else that Redis answers just now.
        self._turn.begin()
        if value is None:
            return None
        if not _is_json(value):
            raise _no_json(self._layout.hash(bucket), key)
        return Raw(value)

    def _looked(self, change: tuple[bytes | None, bytes | None], *where: Any) -> Raw | None:
        return self._found(change[0], *where)

    def _set(self, old: bytes | None, new: Raw | None) -> Change:
        self._turn.begin()
        return Change(None if old is None else _as_raw(old), new)

    def _raws(self, values: list[bytes], bucket: Bucket) -> list[Raw]:
        for value in values:
            if not _is_json(value):
                raise _no_json(self._layout.hash(bucket), None)
        return [Raw(value) for value in values]

    def _page(self, found: list[Any], bucket: Bucket, after: int) -> Page:
        done, total, *rest = found
        entries: list[tuple[str, Raw]] = []
        for name, value in zip(rest[::3], rest[2::3], strict=True):
            key = _name(name)
            if not _is_json(value):
                raise _no_json(self._layout.hash(bucket), key)
            entries.append((key, Raw(value)))
        last = int(rest[-2]) if rest else after
        return Page(entries, last, bool(done), total)

    def _list(self, bucket: Bucket, what: str) -> Deferred[list[bytes]]:
        return self._redis.run(LIST, *self._keys(bucket), what)

    def _keys(self, bucket: Bucket) -> tuple[str, str, str]:
        return self._layout.hash(bucket), self._layout.order(bucket), COUNTER

    async def _scan(self, first: str | None) -> list[Bucket]:
        pattern = self._layout.pattern(first)
        found: set[Bucket] = set()
        cursor: bytes | int = 0
        while True:
            cursor, names = await self._redis.call(
                "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_KEYS
            )
            found.update(await self._buckets_of([_name(name) for name in names]))
            if int(cursor) == 0:
                return sorted(bucket for bucket in found if first in (None, bucket[0]))

    async def _buckets_of(self, hashes: list[str]) -> list[Bucket]:
        """The buckets; where a name can be read in several ways, those that were written."""
        found: list[Bucket] = []
        unclear: list[list[Bucket]] = []
        for hash in hashes:
            likely = self._layout.buckets(hash)
            if len(likely) == 1:
                found += likely
            elif likely:
                unclear.append(likely)
        if not unclear:
            return found
        orders = [self._layout.order(bucket) for likely in unclear for bucket in likely]
        known = iter(await self._redis.run(EXIST, len(orders), *orders))
        for likely in unclear:
            written = [bucket for bucket in likely if next(known)]
            found += written or likely[:1]
        return found

    # In order --------------------------------------------------------------------------

    def _in_line(self, asked: Deferred[Change]) -> Deferred[Change]:
        if not self._line:
            return asked
        place = self._line.join()
        asked.addBoth(place.settle)
        return place.answer

    def _settled(self, ask: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Ask when the updates that were asked for before are done."""
        answer: Deferred[T] = self._line.behind(ask) if self._line else ask()
        return answer.addCallbacks(self._answered, _refuse)

    def _answered(self, answer: T) -> T:
        self._turn.begin()
        return answer

    def _queue(self, bucket: Bucket, key: str, step: Step) -> Deferred[Change]:
        place = self._line.join()
        self._wait(bucket, key, Write(step, place.settle))
        return place.answer.addCallbacks(_change, _refuse)

    def _wait(self, bucket: Bucket, key: str, write: Write) -> None:
        lane = self._lanes.get((bucket, key))
        if lane is not None:
            lane.append(write)
            return
        self._lanes[bucket, key] = lane = [write]
        Deferred.fromCoroutine(self._work(bucket, key, lane))

    async def _work(self, bucket: Bucket, key: str, lane: list[Write]) -> None:
        """Do what waits in a lane, until nothing does."""
        value: bytes | None = None
        known = False
        while lane:
            try:
                if not known:
                    value = await self._look(bucket, key)
                # What was asked for while that was under way is done with it.
                round = await self._write(bucket, key, list(lane), value)
            except Exception:
                known, outcomes = False, [Failure()] * len(lane)
            else:
                known, value, outcomes = True, round.after, round.outcomes
            done = lane[: len(outcomes)]
            del lane[: len(outcomes)]
            if not lane:
                del self._lanes[bucket, key]
            self._turn.begin()
            for write, outcome in zip(done, outcomes, strict=True):
                write.done(outcome)

    async def _write(
        self, bucket: Bucket, key: str, writes: list[Write], value: bytes | None
    ) -> Round:
        """Do ``writes`` on ``value``, or on what has come in its place.

        :raises IIIError: Redis refused, or another engine was faster each time
        """
        for _ in range(MAX_TRIES):
            round = Round(writes, value)
            if round.writes:
                answer = await self._swap(bucket, key, value, round)
                if answer == SWAPPED:
                    return round
                [value] = answer
            else:
                seen = await self._look(bucket, key)
                if seen == value:
                    return round
                value = seen
        text = f"'{key}' of {self._layout.hash(bucket)} was written by others all the time"
        raise StoreError(Code.OVERLOADED, text)

    def _look(self, bucket: Bucket, key: str) -> Deferred[bytes | None]:
        return self._redis.call(b"HGET", self._layout.hash(bucket), key)

    def _swap(self, bucket: Bucket, key: str, before: bytes | None, round: Round) -> Deferred[Any]:
        telling = self._telling
        told = (telling.text(bucket, key, old, new) for old, new in round.changes)
        return self._redis.run(
            self._scripts.swap,
            *self._keys(bucket),
            key,
            *_flagged(before),
            *_flagged(round.after),
            telling.channel,
            *(text for text in told if text is not None),
        )


def _same(value: bytes | None) -> bytes | None:
    return value


def _nothing(_: bytes | None) -> None:
    return None


def _teller(answer: Deferred[Any]) -> Callable[[Any], None]:
    def tell(outcome: Any) -> None:
        if isinstance(outcome, Failure):
            answer.errback(outcome)
        else:
            answer.callback(outcome)

    return tell


def _flagged(value: bytes | None) -> tuple[int, bytes]:
    return (0, b"") if value is None else (1, value)


def _change(change: tuple[bytes | None, bytes | None]) -> Change:
    old, new = change
    return Change(None if old is None else _as_raw(old), None if new is None else Raw(new))


def _as_raw(value: bytes) -> Raw:
    """A value that is on its way out; what a foreign program left there is nobody's."""
    return Raw(value) if _is_json(value) else NULL


def _is_json(value: bytes) -> bool:
    try:
        value.decode()
        _skim(value)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True


def _name(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _names(names: list[bytes]) -> list[str]:
    return [_name(name) for name in names]


def _refuse(failure: Failure) -> Failure:
    """Errors of Redis as those of a store."""
    error = failure.value
    if isinstance(error, RedisError):
        return Failure(StoreError(error.code, error.message))
    return failure


def _no_json(hash: str, key: str | None) -> StoreError:
    what = "a value" if key is None else f"'{key}'"
    text = f"{what} of {hash} in Redis is no JSON: another program wrote it; set or delete it"
    return StoreError(Code.STORE_CORRUPT, text)


def _too_large(size: int, most: int) -> StoreError:
    text = f"a value of {size} bytes; at most {most} go through Redis"
    return StoreError(Code.PAYLOAD_TOO_LARGE, text)
