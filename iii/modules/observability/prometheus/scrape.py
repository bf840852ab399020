"""One scrape under way.

Its text is made piece by piece, one in a turn of the reactor, and only while the client
takes it: an endless answer costs nobody time or memory.  A client that does not read is
cut off, and so is one whose answer can't be made to its end, so that nobody takes half of
it for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from iii.engine.clock import Clock, Timer

log = Logger()

#: How long a scrape may take altogether.
SCRAPE_LIMIT_S = 60.0


@implementer(IPushProducer)
class Scrape:
    """Answers ``request``.

    :param ended: told when it is over, in whatever way
    """

    def __init__(self, request: Request, clock: Clock, ended: Callable[[Scrape], None]) -> None:
        self._request = request
        self._clock = clock
        self._ended = ended
        self._text: Iterator[bytes] | None = None
        self._next: Timer | None = None
        self._over = False
        self._limit = clock.call_later(SCRAPE_LIMIT_S, self._overdue)
        request.notifyFinish().addErrback(self._lost)

    def begin(self, text: Iterator[bytes]) -> None:
        """Send ``text``, unless the client is gone."""
        if not self._over:
            self._text = text
            self._request.registerProducer(self, True)
            self.resumeProducing()

    def cut(self) -> None:
        """End it at once."""
        if not self._over:
            self._end()
            transport: Any = self._request.channel.transport
            transport.abortConnection()

    # IPushProducer ---------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client has enough for the moment."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def resumeProducing(self) -> None:
        """The client takes more."""
        if self._next is None and not self._over:
            self._next = self._clock.call_later(0, self._piece)

    def stopProducing(self) -> None:
        """The client is gone."""
        self._end()

    # Inside ----------------------------------------------------------------------------

    def _piece(self) -> None:
        assert self._text is not None
        self._next = None
        try:
            piece = next(self._text, None)
        except Exception:
            log.failure("the metrics could not be shown; the scrape is cut off")
            self.cut()
            return
        if piece is None:
            self._end()
            self._request.unregisterProducer()
            self._request.finish()
            return
        self.resumeProducing()
        self._request.write(piece)  # may pause us

    def _overdue(self) -> None:
        log.warn("a scrape took longer than {limit:g} s and is cut off", limit=SCRAPE_LIMIT_S)
        self.cut()

    def _lost(self, reason: Failure) -> None:
        self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._text = None
        self.pauseProducing()
        if self._limit.active():
            self._limit.cancel()
        self._ended(self)
