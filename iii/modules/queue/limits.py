"""How fast a queue may go: a token bucket, one per queue or one per key.

A full bucket has ``count`` tokens and refills evenly over ``per_ms``.  A message that
finds no token stays in its place; ``wait_s`` says for how long.  Buckets of keys that
are full again are forgotten, so their number is bounded by the messages of one period.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

_SWEEP_EVERY = 1_000


class RateLimit(msgspec.Struct, frozen=True):
    """``rate_limit:`` of a queue.

    :ivar count: messages per period
    :ivar per_ms: the period
    :ivar key_field: a top-level member of ``data``: each value has a bucket of its own
    """

    count: Annotated[int, msgspec.Meta(ge=1)]
    per_ms: Annotated[int, msgspec.Meta(ge=1)]
    key_field: str | None = None


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class Buckets:
    """The token buckets of one queue; times are monotonic seconds."""

    def __init__(self, limit: RateLimit) -> None:
        self._capacity = float(limit.count)
        self._per_s = limit.count / (limit.per_ms / 1000)
        self._buckets: dict[str, _Bucket] = {}
        self._taken = 0

    def take(self, key: str, now: float) -> bool:
        """Take a token of ``key``'s bucket; False when there is none."""
        bucket = self._filled(key, now)
        # What a float loses in many small refills must not cost a message its turn.
        if bucket.tokens < 1 - 1e-6:
            return False
        bucket.tokens -= 1
        self._taken += 1
        if self._taken % _SWEEP_EVERY == 0:
            self._sweep(now)
        return True

    def wait_s(self, key: str, now: float) -> float:
        """Seconds until ``key``'s bucket has a token."""
        missing = 1 - self._filled(key, now).tokens
        return max(0.0, missing / self._per_s)

    def give_back(self, key: str) -> None:
        """A token was taken for nothing."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.tokens = min(self._capacity, bucket.tokens + 1)

    def _filled(self, key: str, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._capacity, now)
        else:
            gained = (now - bucket.at) * self._per_s
            bucket.tokens = min(self._capacity, bucket.tokens + gained)
            bucket.at = now
        return bucket

    def _sweep(self, now: float) -> None:
        for key in list(self._buckets):
            if self._filled(key, now).tokens >= self._capacity:
                del self._buckets[key]
