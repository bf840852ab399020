"""Buckets of a store as people look at them: keys with values, filtered, a page at a time.

A page ends when it is full, when it holds ``PAGE_BYTES``, or when ``LOOKED_AT`` keys were
looked at for a prefix that few have; its cursor says where to go on.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Raw

from iii.errors import Code, IIIError
from iii.storage.store import Bucket, Store

PAGE_BYTES = 4_000_000
LOOKED_AT = 10_000


class Found(NamedTuple):
    """A page.

    :ivar cursor: where the next one begins; None: this was the last
    :ivar total: how many keys the bucket has
    """

    entries: list[tuple[str, Raw]]
    cursor: str | None
    total: int


async def browse(
    store: Store, bucket: Bucket, *, prefix: str = "", cursor: str | None = None, limit: int = 100
) -> Found:
    """A page of the entries whose keys begin with ``prefix``.

    :param cursor: of the page before
    :raises IIIError: ``INVALID_CURSOR``, or what the store says
    """
    after = _position(cursor)
    found: list[tuple[str, Raw]] = []
    left, looked = PAGE_BYTES, 0
    while True:
        page = await store.page(bucket, after, limit - len(found), max(left, 1))
        for key, value in page.entries:
            looked += 1
            if key.startswith(prefix):
                found.append((key, value))
                left -= len(key.encode()) + memoryview(value).nbytes
        if page.done:
            return Found(found, None, page.total)
        after = page.last
        if len(found) >= limit or left <= 0 or looked >= LOOKED_AT:
            return Found(found, str(after), page.total)


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise IIIError(Code.INVALID_CURSOR, "cursor is not the next_cursor of an earlier page")
    return int(cursor)
