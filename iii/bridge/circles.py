"""Adapters that keep what they keep in each other.

When the state of one engine is kept by a second, whose state is kept by the first (or by a
third that leads back), a read would go round without end.  Which engines there are on the way
nobody knows; so on every new connection an adapter asks down the line who is there, each engine
adding itself.  One that finds itself in the question has found a circle, and the link that
asked, which is the last one that was closed, refuses its calls.

Engines that don't keep it elsewhere don't have the function: there the line ends.
"""

from __future__ import annotations

from msgspec import Raw, Struct, json
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.bridge.address import Remote
from iii.bridge.errors import BridgeError, RemoteError
from iii.bridge.link import Link
from iii.engine.ids import uuid4_text
from iii.engine.module import ModuleApi

log = Logger()

FUNCTION = "engine::bridge::way::"
ASK_LIMIT_S = 5.0
#: The circle may be opened elsewhere.
LOOK_AGAIN_S = 30.0
#: No line of engines is so long.
MOST_ENGINES = 32


class Way(Struct):
    """Who has been asked so far."""

    engines: list[str]


class Found(Struct):
    """Whether the line comes back to one of them."""

    circle: bool = False


class _Circles:
    """The part of one adapter of one engine."""

    def __init__(self, engine: ModuleApi, link: Link) -> None:
        self._link = link
        self._id = uuid4_text()
        self._function = FUNCTION + link.name
        engine.function(self._function, self._asked, takes=Way, gives=Found)
        link.on_connected(self._ask)

    def _ask(self) -> None:
        if not self._link.is_self:
            self._pass_on(Way([self._id])).addCallback(self._told)

    def _asked(self, way: Way) -> Found | Deferred[Found]:
        """Another engine wants to know where the line leads."""
        if self._id in way.engines or len(way.engines) >= MOST_ENGINES:
            return Found(True)
        return self._pass_on(Way([*way.engines, self._id]))

    def _pass_on(self, way: Way) -> Deferred[Found]:
        asking = self._link.call(self._function, way, timeout_s=ASK_LIMIT_S)
        return asking.addCallbacks(_read, self._nobody)

    def _nobody(self, failure: Failure) -> Found:
        """The line ends there, or can't be followed now."""
        failure.trap(BridgeError, RemoteError)
        log.debug(
            "{name}: the line of engines ends: {reason}",
            name=self._link.name,
            reason=failure.value,
        )
        return Found()

    def _told(self, found: Found) -> None:
        if found.circle:
            self._link.refuse(
                f"{self._link.remote} leads back to this engine", retry_s=LOOK_AGAIN_S
            )


def adapter_link(engine: ModuleApi, remote: Remote, name: str, without: str) -> Link:
    """The link of an adapter, which notices when it leads to itself.  Not started.

    :param name: what the other engine calls us
    :param without: what does not work while there is no connection, for the log
    """
    link = Link(engine, remote, name, without=without)
    _Circles(engine, link)
    return link


def _read(answer: Raw | None) -> Found:
    return Found() if answer is None else json.decode(answer, type=Found)
