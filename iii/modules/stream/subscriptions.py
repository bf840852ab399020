"""Who hears of an event.

An event goes to the connections that subscribed to its group or to its item, once to
each, and the frame is made once for all of them.  Per connection frames keep the order in
which events were published.

A subscription begins with a ``sync``, whose data somebody has to read first.  Until it is
sent, events that belong behind it are held back, and from the first of those on
everything for that connection is: so nothing overtakes, and a connection without such
events does not wait.

A connection that does not take what it is sent is cut off, alone: it is told to come
back, and then gets a fresh ``sync``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from iii.engine.turn import Turn
from iii.modules.stream.events import Event
from iii.websocket.outbox import text_frame

MAX_QUEUED_BYTES = 16 * 1024 * 1024
MAX_QUEUED_FRAMES = 10_000
# A sync of this size is written at once, so that it is known how much of it waits.
FLUSH_BYTES = 64 * 1024


class Out(Protocol):
    """The way out of a connection, see ``iii.websocket.outbox.Outbox``."""

    queued: int

    @property
    def queued_frames(self) -> int: ...

    def send(self, frame: bytes) -> None: ...

    def flush(self) -> None: ...

    def on_drained(self, drained: Callable[[], None]) -> None: ...


class Subscriber:
    """One connection, as events see it.

    :param outbox: where frames go
    :param overflowed: called once when more waits than may
    :ivar send: takes the next frame: to the outbox, or held back, or nowhere
    :ivar drained: called when nothing waits any more
    """

    __slots__ = (
        "_held",
        "_held_bytes",
        "_limit",
        "_overflowed",
        "_unflushed",
        "drained",
        "outbox",
        "send",
    )

    def __init__(self, outbox: Out, overflowed: Callable[[], None]) -> None:
        self.outbox = outbox
        self.send: Callable[[bytes], None] = outbox.send
        self.drained: Callable[[], None] | None = None
        self._overflowed = overflowed
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._limit = MAX_QUEUED_BYTES
        self._unflushed = 0
        outbox.on_drained(self._drained)

    def hold(self) -> None:
        """Hold everything back from now on."""
        if self._held is None and self.send is not _nowhere:
            self._held = []
            self._held_bytes = 0
            self.send = self._hold

    def release(self, first: bytes | None) -> None:
        """Send ``first`` (the sync), then what was held back."""
        if self.send is _nowhere:
            return
        held, self._held = self._held, None
        self.send = self.outbox.send
        if first is not None:
            self.outbox.send(first)
            self._unflushed += len(first)
            if self._unflushed >= FLUSH_BYTES:
                self._unflushed = 0
                self.outbox.flush()
                # A large sync is no sign of a slow client.
                self._limit = MAX_QUEUED_BYTES + self.outbox.queued
        for frame in held or ():
            self.outbox.send(frame)

    def stop(self) -> None:
        """No more frames."""
        self.send = _nowhere
        self._held = None

    def check(self) -> None:
        """Something waits: is it too much?"""
        outbox = self.outbox
        frames = outbox.queued_frames
        if frames > MAX_QUEUED_FRAMES or (outbox.queued > self._limit and frames > 1):
            self._overflow()

    def _hold(self, frame: bytes) -> None:
        held = self._held
        assert held is not None
        held.append(frame)
        self._held_bytes += len(frame)
        if self._held_bytes > MAX_QUEUED_BYTES or len(held) > MAX_QUEUED_FRAMES:
            self._overflow()

    def _overflow(self) -> None:
        if self.send is not _nowhere:
            self.stop()
            self._overflowed()

    def _drained(self) -> None:
        self._limit = MAX_QUEUED_BYTES
        if self.drained is not None:
            self.drained()


def _nowhere(frame: bytes) -> None:
    """Where frames go once a connection is given up."""


class _Audience:
    """Who listens to one group.

    :ivar everything: who wants every event, with the number of subscriptions that say so
    :ivar items: item → the same for who wants that one
    :ivar syncing: who waits for a sync, and of which item (None: of the group)
    """

    __slots__ = ("everything", "items", "syncing")

    def __init__(self) -> None:
        self.everything: dict[Subscriber, int] = {}
        self.items: dict[str, dict[Subscriber, int]] = {}
        self.syncing: dict[Subscriber, str | None] = {}


class Subscriptions:
    """All subscriptions, by what they are to.

    :param turn: output is gathered in
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._audiences: dict[tuple[str, str], _Audience] = {}

    def __len__(self) -> int:
        """How many groups somebody listens to."""
        return len(self._audiences)

    def wants(self, stream: str, group: str, item: str | None) -> bool:
        """Whether anybody would hear of an event."""
        audience = self._audiences.get((stream, group))
        return audience is not None and (bool(audience.everything) or item in audience.items)

    def publish(self, event: Event) -> None:
        """Deliver ``event``."""
        audience = self._audiences.get((event.stream, event.group))
        if audience is None:
            return
        item = event.item
        for subscriber, wanted in audience.syncing.items():
            if wanted is None or wanted == item:
                subscriber.hold()
        everything = audience.everything
        some = None if item is None else audience.items.get(item)
        if not everything and not some:
            return
        # Who publishes does not know what else this iteration of the reactor brings.
        self._turn.begin()
        frame = text_frame(event.payload)
        slow = []
        for subscriber in everything:
            subscriber.send(frame)
            if subscriber.outbox.queued:
                slow.append(subscriber)
        for subscriber in some or ():
            if subscriber not in everything:
                subscriber.send(frame)
                if subscriber.outbox.queued:
                    slow.append(subscriber)
        for subscriber in slow:
            subscriber.check()

    def add(self, subscriber: Subscriber, stream: str, group: str, item: str | None) -> None:
        """One more subscription, which waits for its sync until ``synced``."""
        audience = self._audiences.get((stream, group))
        if audience is None:
            audience = self._audiences[stream, group] = _Audience()
        wanted = audience.everything if item is None else audience.items.setdefault(item, {})
        wanted[subscriber] = wanted.get(subscriber, 0) + 1
        audience.syncing[subscriber] = item

    def sync_again(self, subscriber: Subscriber, stream: str, group: str, item: str | None) -> None:
        """A subscription waits for another sync, until ``synced``."""
        self._audiences[stream, group].syncing[subscriber] = item

    def synced(self, subscriber: Subscriber, stream: str, group: str, frame: bytes | None) -> None:
        """What a subscription begins with is here; None: it could not be read."""
        self._audiences[stream, group].syncing.pop(subscriber, None)
        self._turn.begin()
        subscriber.release(frame)

    def remove(self, subscriber: Subscriber, stream: str, group: str, item: str | None) -> None:
        """One subscription less."""
        audience = self._audiences[stream, group]
        wanted = audience.everything if item is None else audience.items[item]
        wanted[subscriber] -= 1
        if not wanted[subscriber]:
            del wanted[subscriber]
            audience.syncing.pop(subscriber, None)
        if item is not None and not wanted:
            del audience.items[item]
        if not audience.everything and not audience.items:
            del self._audiences[stream, group]
