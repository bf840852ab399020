"""What a module may ask of the place where it keeps values.

A store maps *bucket → key → value*.  A bucket is a pair: state uses
``(scope, "")``, streams ``(stream_name, group_id)``.  Values are JSON as ``Raw``
bytes that nobody here parses.  Keys of a bucket keep the order in which they were
first written.

The promise every implementation keeps: a write's Deferred fires when the value is
as safe as the store's durability says and not before, the Deferreds of one store
fire in the order of the writes, and a read sees every write that was answered
before it was asked.  What was refused did not happen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Raw
from twisted.internet.defer import Deferred

from iii.errors import IIIError

Bucket = tuple[str, str]


class Change(NamedTuple):
    """A value before and after a write; None where there was, or is, none."""

    old: Raw | None
    new: Raw | None


class Page(NamedTuple):
    """A part of a bucket.

    :ivar entries: keys and values in order
    :ivar last: where the next page goes on (``after=``)
    :ivar done: whether this was the last page
    :ivar total: how many keys the bucket has
    """

    entries: list[tuple[str, Raw]]
    last: int
    done: bool
    total: int


class StoreError(IIIError):
    """The backend refused; nothing of the write is kept.  Codes: docs/durability.md."""


Compute = Callable[[Raw | None], Raw]
"""Old value → new value.  Pure: a store may call it again when another write was faster."""


class Store(Protocol):
    """Where a module keeps values.  Writes and long reads fail with ``StoreError``."""

    def get(self, bucket: Bucket, key: str) -> Raw | Deferred[Raw | None] | None:
        """The value, at once where possible; None when there is none."""
        ...

    def set(self, bucket: Bucket, key: str, value: Raw) -> Deferred[Change]:
        """Keep ``value``."""
        ...

    def delete(self, bucket: Bucket, key: str) -> Deferred[Change]:
        """Take the value out; ``old`` is None when there was none."""
        ...

    def update(self, bucket: Bucket, key: str, compute: Compute) -> Deferred[Change]:
        """Replace the value by ``compute(value)``, with no other write in between.

        What ``compute`` raises fails the Deferred, and nothing is stored.
        """
        ...

    def values(self, bucket: Bucket) -> Deferred[list[Raw]]:
        """All values, oldest key first."""
        ...

    def keys(self, bucket: Bucket) -> Deferred[list[str]]:
        """All keys, oldest first."""
        ...

    def page(self, bucket: Bucket, after: int, limit: int, max_bytes: int) -> Deferred[Page]:
        """Entries behind position ``after`` (0 = from the start).

        :param limit: at most so many, at least 1
        :param max_bytes: stop before keys and values have more bytes together; the first
            entry always comes
        """
        ...

    def buckets(self, first: str | None = None) -> Deferred[list[Bucket]]:
        """Buckets that hold something, sorted; those that start with ``first``, if given."""
        ...

    def close(self) -> Deferred[None]:
        """Finish all writes and let go of the files."""
        ...
