"""What happens in a stream, as everybody hears of it: one envelope, one clock.

Clients drop a message whose timestamp is not newer than the last one of its item, so
the timestamps of an item always grow, also within one millisecond and when the wall
clock is set back.  A group's ``sync`` is as new as the newest message of the group.

Only what is as new as now has to be remembered for that.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from iii.engine.clock import Clock

#: More than this is remembered only while the clock stands still or was set back.
MAX_REMEMBERED = 10_000
#: Other engines' clocks are believed up to this far ahead of ours.
MAX_AHEAD_MS = 3_600_000

# (stream, group) or (stream, group, item)
_Key = tuple[str, ...]


class Timestamps:
    """Milliseconds since the epoch that never repeat themselves for an item.

    :param clock: the wall
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = 0
        self._newest = 0
        # A group's is that of the newest message in it.
        self._last: dict[_Key, int] = {}

    def next(self, stream: str, group: str, item: str | None) -> int:
        """For a message of ``item``; None: of the group itself."""
        now = self._tick()
        last = self._last
        of_group = (stream, group)
        newest = last.get(of_group, 0)
        if item is None:
            timestamp = last[of_group] = max(now, newest + 1)
        else:
            key = (stream, group, item)
            timestamp = last[key] = max(now, last.get(key, 0) + 1)
            last[of_group] = max(timestamp, newest)
        if timestamp > self._newest:
            self._newest = timestamp
        return timestamp

    def heard(self, stream: str, group: str, item: str | None, timestamp: int) -> int:
        """For a message that another engine, by its own clock, gave ``timestamp``.

        It is not before now, nor before anything that was told here of the group.
        """
        now = self._tick()
        timestamp = max(now, min(timestamp, now + MAX_AHEAD_MS))
        last = self._last
        of_group = (stream, group)
        newest = last.get(of_group, 0)
        if item is None:
            timestamp = max(timestamp, newest + 1)
        else:
            key = (stream, group, item)
            timestamp = last[key] = max(timestamp, newest, last.get(key, 0) + 1)
        last[of_group] = timestamp
        if timestamp > self._newest:
            self._newest = timestamp
        return timestamp

    def for_sync(self, stream: str, group: str, item: str | None) -> int:
        """For what a subscription begins with; take it before the value is read."""
        if item is not None:
            return self.next(stream, group, item)
        now = self._tick()
        timestamp = self._last[stream, group] = max(now, self._last.get((stream, group), 0))
        if timestamp > self._newest:
            self._newest = timestamp
        return timestamp

    def __len__(self) -> int:
        """How much is remembered."""
        return len(self._last)

    def _tick(self) -> int:
        """Now, which never goes back; forget what is older."""
        now = self._clock.wall_ms()
        if now > self._now:
            self._now = now
            if now > self._newest:
                self._last.clear()
            else:
                self._last = {key: at for key, at in self._last.items() if at >= now}
        if len(self._last) > MAX_REMEMBERED:
            # A little ahead of the wall is better than without bounds.
            self._now = self._newest + 1
            self._last.clear()
        return self._now


class Created(Struct, tag="create"):
    """An item that was not there."""

    data: Raw


class Updated(Struct, tag="update"):
    """Another value of an item."""

    data: Raw


class Deleted(Struct, tag="delete"):
    """An item is gone; ``data`` is what it was."""

    data: Raw


class CustomBody(Struct):
    """The ``event`` of a custom event."""

    type: str
    data: Raw


class Custom(Struct, tag="event"):
    """Something of a program's own, by ``stream::send``."""

    event: CustomBody


class Sync(Struct, tag="sync"):
    """What a subscription begins with: the item's value, or the group's in a list."""

    data: Raw


class Unauthorized(Struct, tag="unauthorized"):
    """A subscription was refused."""


What = Created | Updated | Deleted | Custom | Sync | Unauthorized


class Envelope(Struct, rename="camel", tag="stream", tag_field="type"):
    """What clients and triggers are told.  ``id`` None: it is about the group."""

    timestamp: int
    stream_name: str
    group_id: str
    id: str | None
    event: Any


class Told(Struct, rename="camel", tag="stream", tag_field="type"):
    """An envelope that comes from elsewhere."""

    timestamp: int
    stream_name: str
    group_id: str
    event: Raw
    id: str | None = None


class Event:
    """One event on its way to triggers and subscribers.

    :ivar item: None: it is about the group
    :ivar payload: the envelope as JSON
    """

    __slots__ = ("group", "item", "payload", "stream")

    def __init__(self, stream: str, group: str, item: str | None, payload: bytes) -> None:
        self.stream = stream
        self.group = group
        self.item = item
        self.payload = payload


_encode = msgspec.json.Encoder().encode


def envelope(stream: str, group: str, item: str | None, timestamp: int, what: What | Raw) -> bytes:
    """The envelope around ``what``."""
    return _encode(Envelope(timestamp, stream, group, item, what))


def sync_frame(stream: str, group: str, item: str | None, timestamp: int, data: Raw) -> bytes:
    """The ``sync`` of a subscription."""
    return envelope(stream, group, item, timestamp, Sync(data))


def unauthorized_frame(stream: str, group: str, item: str | None, timestamp: int) -> bytes:
    """The refusal of a subscription."""
    return envelope(stream, group, item, timestamp, Unauthorized())
