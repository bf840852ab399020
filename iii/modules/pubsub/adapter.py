"""What carries messages between engines: what an adapter is.

An adapter takes what is published here, and tells of every message, from here or
elsewhere, on the topics that somebody here subscribes to.  It tells in the order in
which they were published.  Who the subscribers are is the module's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Raw, Struct
from twisted.internet.defer import Deferred

from iii.engine.module import ModuleApi


class Message(Struct, frozen=True):
    """One message.  The trace context is the publisher's, where an adapter can carry it."""

    topic: str
    data: Raw
    traceparent: str | None = None
    baggage: str | None = None


Received = Callable[[Message], None]
"""Told of a message; of topics that nobody subscribes to as well does no harm."""


class PubSubAdapter(Protocol):
    """Carries messages.

    :ivar kind: what listings call it
    """

    @property
    def kind(self) -> str: ...

    def start(self, engine: ModuleApi, received: Received) -> Awaitable[None] | None:
        """Get ready; ``received`` is called for every message."""
        ...

    def subscribe(self, topic: str) -> None:
        """``topic`` has its first subscriber.  A lost broker is the adapter's to find again."""
        ...

    def unsubscribe(self, topic: str) -> None:
        """``topic`` has lost its last subscriber."""
        ...

    def publish(self, message: Message) -> Deferred[None] | None:
        """Send ``message``; the publisher is answered when that is done.

        :raises IIIError: it could not be sent (or through the Deferred)
        """
        ...

    def stop(self) -> Awaitable[None] | None:
        """Release everything."""
        ...
