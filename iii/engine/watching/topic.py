"""One topic that is being watched, by however many.

Every item is written once and numbered; the newest are remembered, so that a subscriber
that lost its connection for a moment goes on where it was (``since``).  Numbers begin with
the time in microseconds: those of an earlier life of the topic, or the engine, are smaller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.engine.watching.feeds import Event, Feed, Items, Source
from iii.engine.watching.subscription import Subscription
from iii.errors import Code

log = Logger()

MAX_REMEMBERED_ITEMS = 1_000
MAX_REMEMBERED_BYTES = 512 * 1024
#: How long it goes on when nobody watches: somebody may be reconnecting.
LINGER_S = 3.0


class _Told(NamedTuple):
    seq: int
    event: Event
    item: bytes


class Topic:
    """A topic; the outlet of its source.

    :param ended: told when it is closed
    """

    def __init__(
        self,
        name: str,
        feed: Feed,
        argument: str,
        clock: Clock,
        ended: Callable[[Topic], None],
    ) -> None:
        self.name = name
        self.feed = feed
        self.seq = int(clock.wall() * 1e6)
        self._first = self.seq
        self._clock = clock
        self._ended = ended
        self._told: deque[_Told] = deque()
        self._told_bytes = 0
        self._subscriptions: dict[Subscription, None] = {}
        self._beginning: dict[Subscription, Deferred[Items]] = {}
        self._lingering: Timer | None = None
        self._closed = False
        self._source: Source = feed.open(argument, self)

    def __len__(self) -> int:
        return len(self._subscriptions) + len(self._beginning)

    # Subscribers ---------------------------------------------------------------------------

    def join(self, subscription: Subscription, since: int | None) -> None:
        """One more watches.

        :param since: the number of what it heard last
        """
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if since is not None and self._goes_on(subscription, since):
            return
        rows = self._source.rows()
        if since is not None and rows is None:
            subscription.gap(None)
        if isinstance(rows, Deferred):
            self._beginning[subscription] = rows
            rows.addCallbacks(
                self._begin,
                self._fail,
                callbackArgs=(subscription,),
                errbackArgs=(subscription,),
            )
            return
        self._subscriptions[subscription] = None
        if rows is not None:
            self._snapshot(subscription, rows)

    def leave(self, subscription: Subscription) -> None:
        """It doesn't any more."""
        if self._closed:
            return
        self._subscriptions.pop(subscription, None)
        self._beginning.pop(subscription, None)
        if not len(self) and self._lingering is None:
            self._lingering = self._clock.call_later(LINGER_S, self.close)

    def close(self) -> None:
        """End it; who still watches is told."""
        self._closed = True
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        for subscription in [*self._subscriptions, *self._beginning]:
            subscription.fail(Code.NOT_FOUND, f"topic {self.name} is gone")
        self._subscriptions.clear()
        self._beginning.clear()
        self._source.close()
        self._ended(self)

    def _goes_on(self, subscription: Subscription, since: int) -> bool:
        oldest = self._told[0].seq if self._told else self.seq + 1
        if not max(self._first, oldest - 1) <= since <= self.seq:
            return False
        self._subscriptions[subscription] = None
        for told in self._told:
            if told.seq > since and subscription.matches(msgspec.json.decode(told.item)):
                subscription.put(told.seq, told.event, told.item)
        return True

    def _begin(self, rows: Items, subscription: Subscription) -> None:
        if self._beginning.pop(subscription, None) is not None:
            self._subscriptions[subscription] = None
            self._snapshot(subscription, rows)

    def _fail(self, failure: Failure, subscription: Subscription) -> None:
        if self._beginning.pop(subscription, None) is not None:
            log.failure("topic {name} can't be read", failure, name=self.name)
            subscription.fail(Code.INTERNAL_ERROR, f"topic {self.name} can't be read")

    def _snapshot(self, subscription: Subscription, rows: Items) -> None:
        items = [msgspec.json.encode(row) for row in rows if subscription.matches(row)]
        subscription.snapshot(self.seq, items)

    # Outlet --------------------------------------------------------------------------------

    def tell(self, event: Event, items: Iterable[Any]) -> None:
        """Outlet: give them to everybody who wants them."""
        encode = msgspec.json.encode
        for item in items:
            self.seq += 1
            written = encode(item)
            self._told.append(_Told(self.seq, event, written))
            self._told_bytes += len(written)
            for subscription in self._subscriptions:
                if subscription.matches(item):
                    subscription.put(self.seq, event, written)
        self._forget()

    def lost(self, count: int) -> None:
        """Outlet: what was remembered is no unbroken row any more."""
        self.seq += count
        self._told.clear()
        self._told_bytes = 0
        self._first = self.seq
        for subscription in self._subscriptions:
            subscription.gap(count)

    def _forget(self) -> None:
        told = self._told
        while len(told) > MAX_REMEMBERED_ITEMS or self._told_bytes > MAX_REMEMBERED_BYTES:
            self._told_bytes -= len(told.popleft().item)
