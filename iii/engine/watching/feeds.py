"""What can be watched, and who brings it.

A *feed* is a kind of topic (``logs``, ``queue:<name>``), brought by the engine or a module,
like the instruments (``iii.engine.instruments``).  It is opened when the first subscriber of
a topic comes and closed soon after the last has gone, so that a feed nobody watches costs
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred

from iii.errors import Code, InvocationError

Event = Literal["snapshot", "add", "update", "remove"]
Items = list[Any]
"""Values that msgspec can write: structs or dicts."""


class Outlet(Protocol):
    """Where a feed says what happens; all subscribers of a topic are behind it."""

    def tell(self, event: Event, items: Iterable[Any]) -> None:
        """Items were added, changed or removed."""
        ...

    def lost(self, count: int) -> None:
        """More happened than can be told: subscribers hear how much."""
        ...


class Source(Protocol):
    """An open topic."""

    def rows(self) -> Items | Deferred[Items] | None:
        """What a subscription begins with; None: with what happens next."""
        ...

    def close(self) -> None:
        """Nobody watches any more."""
        ...


Open = Callable[[str, Outlet], Source]
"""``open(argument, outlet)``; raises ``IIIError`` when there is no such topic."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A kind of topic.

    :ivar argument: what stands behind the colon, for messages; empty: there is none
    :ivar fields: by which its items can be filtered
    """

    open: Open
    fields: frozenset[str]
    argument: str = ""


class Feeds:
    """All feeds of an engine.

    :ivar withdrawn: told when one is gone
    """

    def __init__(self) -> None:
        self._feeds: dict[str, list[Feed]] = {}
        self.withdrawn: Callable[[Feed], None] = lambda feed: None

    def add(self, name: str, feed: Feed) -> None:
        """Bring ``feed``, instead of one of the same name."""
        self._feeds.setdefault(name, []).append(feed)

    def remove(self, name: str, feed: Feed) -> None:
        """Take it back."""
        feeds = self._feeds.get(name, [])
        if feed in feeds:
            feeds.remove(feed)
            if not feeds:
                del self._feeds[name]
            self.withdrawn(feed)

    def names(self) -> list[str]:
        """What can be watched, as ``logs`` or ``queue:<name>``."""
        return sorted(
            f"{name}:<{feeds[-1].argument}>" if feeds[-1].argument else name
            for name, feeds in self._feeds.items()
        )

    def find(self, topic: str) -> tuple[Feed, str]:
        """The feed of a topic, and the topic's argument.

        :raises InvocationError: there is none
        """
        name, colon, argument = topic.partition(":")
        feeds = self._feeds.get(name)
        if feeds is None:
            known = ", ".join(self.names())
            raise InvocationError(Code.NOT_FOUND, f"no topic {topic[:200]!r}; there are: {known}")
        feed = feeds[-1]
        if bool(feed.argument) != bool(argument) or (colon and not argument):
            shape = f"{name}:<{feed.argument}>" if feed.argument else name
            raise InvocationError(Code.INVALID_ARGUMENTS, f"the topic is called {shape}")
        return feed, argument
