"""What the groups of streams are called in Redis.

The hash is the original's: ``stream:<stream>:<group>``.  With a colon in a name that can
be read in several ways; the order, which is ours, says in which way it was written.  So
listings are right.  Two groups whose names are the same once they are joined share a
hash, as they do in the original.
"""

from __future__ import annotations

from iii.redis.globs import escaped
from iii.storage.store import Bucket

HASH, ORDER = "stream:", "iii:order:stream:"


class StreamLayout:
    """A ``Layout``: stream and group are a bucket."""

    def hash(self, bucket: Bucket) -> str:
        """Layout: a group's."""
        return f"{HASH}{bucket[0]}:{bucket[1]}"

    def order(self, bucket: Bucket) -> str:
        """Layout: a group's, with the length of the stream's name."""
        return f"{ORDER}{len(bucket[0])}:{bucket[0]}:{bucket[1]}"

    def pattern(self, first: str | None) -> str:
        """Layout: all, or those of a stream."""
        return HASH + ("*:*" if first is None else f"{escaped(first)}:*")

    def buckets(self, hash: str) -> list[Bucket]:
        """Layout: split at the first colon, as the original lists it, then at the others."""
        name = hash.removeprefix(HASH)
        colons = (at for at, character in enumerate(name) if character == ":")
        return [(name[:at], name[at + 1 :]) for at in colons]
