"""Topics of events of one kind, such as the messages of a topic or the writes of a scope.

Whoever makes the events asks first whether anybody watches; when nobody does, that is all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iii.engine.clock import Clock
from iii.engine.watching.feeds import Feed, Items, Outlet, Source

#: What of an event is told; of a longer one it is said that it was too long.
MAX_EVENT_BYTES = 64 * 1024


class Taps:
    """Who watches what.

    :param opened: told of a name that is watched from now on
    :param closed: told of one that is not any more
    """

    def __init__(
        self,
        opened: Callable[[str], None] = lambda name: None,
        closed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._outlets: dict[str, Outlet] = {}
        self._opened = opened
        self._closed = closed

    def __bool__(self) -> bool:
        return bool(self._outlets)

    def __contains__(self, name: str) -> bool:
        return name in self._outlets

    def tell(self, name: str, event: dict[str, Any]) -> None:
        """Something happened."""
        outlet = self._outlets.get(name)
        if outlet is not None:
            outlet.tell("add", [event])

    def feed(self, argument: str, *fields: str) -> Feed:
        """The feed of its topics.

        :param argument: what the name is, for messages
        :param fields: of its events
        """
        return Feed(self._open, frozenset(fields), argument)

    def _open(self, name: str, outlet: Outlet) -> Source:
        self._outlets[name] = outlet
        self._opened(name)
        return _Tap(lambda: self._close(name, outlet))

    def _close(self, name: str, outlet: Outlet) -> None:
        if self._outlets.get(name) is outlet:
            del self._outlets[name]
            self._closed(name)


class _Tap:
    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close

    def rows(self) -> Items | None:
        """Source: what is kept is asked for elsewhere."""
        return None


def now(clock: Clock) -> dict[str, Any]:
    """When an event happened, as a number and as text that nobody rounds."""
    at = clock.wall()
    return {"at_ms": round(at * 1000, 3), "at_unix_nano_str": str(round(at * 1e6) * 1000)}


def shown(value: Any) -> dict[str, Any]:
    """JSON of an event: all of it, or how long it is.

    :param value: ``Raw``
    """
    size = memoryview(value).nbytes
    return {"data": value} if size <= MAX_EVENT_BYTES else {"data": None, "too_long": size}
