"""What the stream module asks of a back end that several engines share.

A back end of one engine is a ``Store`` and nothing else: the module tells its subscribers
itself.  A shared one tells all engines, this one among them, and in the order in which
values were written, whoever wrote them; what it tells, every engine gives to its own
subscribers.  Triggers are fired by the engine that wrote, so they are none of its
business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.internet.defer import Deferred

from iii.modules.stream.events import Event, Timestamps, Told

Heard = Callable[[Told, bytes], None]
"""Told of an event: its envelope, read and as it came."""


class Announcer(ABC):
    """Base of stores that tell of their writes themselves."""

    @abstractmethod
    def listen(self, stamps: Timestamps, heard: Heard, missed: Callable[[], None]) -> None:
        """From now on, until the store is closed.

        :param stamps: where writes get their timestamps from
        :param heard: gets every event of every engine, with the writer's timestamp
        :param missed: called when events were lost and are heard again from now on
        """

    @abstractmethod
    def announce(self, event: Event) -> Deferred[None]:
        """Tell of something that is not a write of this store.

        The Deferred fails with ``StoreError``: nobody was told.
        """
