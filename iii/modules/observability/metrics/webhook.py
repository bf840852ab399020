"""One POST of JSON.  Imported when there is something to post: treq is not small."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import treq
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from iii._version import __version__
from iii.engine.clock import Clock

T = TypeVar("T")

TIMEOUT_S = 30.0
#: So much of an answer is read before its connection is cut.
MAX_ANSWER_BYTES = 64 * 1024

_HEADERS = Headers(
    {"content-type": ["application/json"], "user-agent": [f"iii/{__version__}"]},
)


class Refused(Exception):
    """The answer was not 2xx."""


async def post(reactor: Any, clock: Clock, url: str, body: bytes) -> None:
    """Post ``body``; redirects are not followed.

    :raises Refused: somebody answered otherwise
    :raises Exception: nobody answered, or not in time
    """
    asked = treq.post(
        url,
        body,
        headers=_HEADERS,
        reactor=reactor,
        persistent=False,
        unbuffered=True,
        allow_redirects=False,
    )
    response = await _in_time(clock, asked)
    rest = _Rest()
    response.deliverBody(rest)
    # What it thinks of the event is known without the rest.
    with suppress(TimeoutError):
        await _in_time(clock, rest.done)
    if not 200 <= response.code < 300:
        raise Refused(f"it answered {response.code}")


class _Rest(Protocol):
    """Lets the body of an answer pass.

    :ivar done: fires when it has; cancelled, the connection is cut
    """

    def __init__(self) -> None:
        self._seen = 0
        self.done: Deferred[None] = Deferred(self._cut)

    def dataReceived(self, data: bytes) -> None:
        self._seen += len(data)
        if self._seen > MAX_ANSWER_BYTES:
            self._cut()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.done.called:
            self.done.callback(None)

    def _cut(self, done: Deferred[None] | None = None) -> None:
        if self.transport is not None:
            self.transport.loseConnection()  # type: ignore[misc]  # zope's interfaces have no self


def _in_time(clock: Clock, waited: Deferred[T]) -> Deferred[T]:
    timer = clock.call_later(TIMEOUT_S, waited.cancel)

    def over(outcome: Any) -> Any:
        if timer.active():
            timer.cancel()
        elif isinstance(outcome, Failure):
            raise TimeoutError(f"no answer within {TIMEOUT_S:g} s")
        return outcome

    return waited.addBoth(over)
