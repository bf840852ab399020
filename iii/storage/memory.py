"""A store in memory: fast, and gone when the engine stops."""

from __future__ import annotations

from msgspec import Raw
from twisted.internet.defer import Deferred, fail, succeed

from iii.storage.store import Bucket, Change, Compute, Page

_Entry = tuple[int, Raw]


class MemoryStore:
    """A ``Store`` made of dictionaries.  Every answer is there at once."""

    def __init__(self) -> None:
        self._buckets: dict[Bucket, dict[str, _Entry]] = {}
        self._last = 0

    def get(self, bucket: Bucket, key: str) -> Raw | None:
        """Store: the value."""
        entries = self._buckets.get(bucket)
        entry = None if entries is None else entries.get(key)
        return None if entry is None else entry[1]

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Store: keep ``value``."""
        return succeed(self._put(bucket, key, value))

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Store: take the value out."""
        entries = self._buckets.get(bucket, {})
        entry = entries.pop(key, None)
        if entry is not None and not entries:
            del self._buckets[bucket]
        return succeed(Change(None if entry is None else entry[1], None))

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Store: replace the value."""
        try:
            value = compute(self.get(bucket, key))
        except Exception:
            return fail()
        return succeed(self._put(bucket, key, value))

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """Store: all values."""
        return succeed([value for _, value in self._buckets.get(bucket, {}).values()])

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """Store: all keys."""
        return succeed(list(self._buckets.get(bucket, {})))

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Store: a part of a bucket."""
        entries = self._buckets.get(bucket, {})
        page: list[tuple[str, Raw]] = []
        size, last, done = 0, after, True
        for key, (position, value) in entries.items():
            if position <= after:
                continue
            size += len(key.encode()) + len(bytes(value))
            if page and (len(page) == limit or size > max_bytes):
                done = False
                break
            page.append((key, value))
            last = position
        return succeed(Page(page, last, done, len(entries)))

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Store: buckets that hold something."""
        return succeed(sorted(b for b in self._buckets if first is None or b[0] == first))

    def close(self) -> Deferred[None]:
        """Store: nothing to let go of."""
        return succeed(None)

    def _put(self, bucket: Bucket, key: str, value: Raw) -> Change:
        # A copy: what came in is a view that keeps the whole message alive.
        kept = Raw(bytes(value))
        entries = self._buckets.setdefault(bucket, {})
        before = entries.get(key)
        if before is None:
            self._last += 1
            entries[key] = (self._last, kept)
            return Change(None, kept)
        entries[key] = (before[0], kept)
        return Change(before[1], kept)
