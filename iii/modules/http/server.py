"""The server side all connections share: limits, the date, the ready-made heads."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol

from iii.engine.clock import Clock, Deadlines
from iii.engine.turn import Turn
from iii.modules.http.connection import HttpConnection
from iii.modules.http.exchange import Exchange
from iii.modules.http.fast import STATUS_LINES
from iii.modules.http.fields import Fields

#: From the first byte (or the connect) to the end of the request head.
HEAD_LIMIT_S = 10.0
#: Between two requests of one connection.
IDLE_LIMIT_S = 75.0
#: In each such span a client that sends a body must send at least BODY_STEP_BYTES.
BODY_STEP_S = 10.0
BODY_STEP_BYTES = 4096
#: How long a client may leave a full answer buffer unread.
STALL_LIMIT_S = 60.0
#: How long we listen on to a client after the last answer, so that it can read it.
LINGER_S = 2.0


class HttpServer(Factory):
    """Makes connections and ends the slow ones.

    :param serve: told of every request
    :param error: makes the error envelope
    :param error_fields: header fields of answers the connection gives by itself
    """

    noisy = False

    def __init__(
        self,
        clock: Clock,
        turn: Turn,
        serve: Callable[[Exchange], None],
        *,
        error: Callable[[str, str], dict[str, Any]],
        error_fields: Fields,
    ) -> None:
        self._clock = clock
        self.turn = turn
        self.serve = serve
        self.error = error
        self.error_fields = error_fields
        self.closing = False
        self.connections: set[HttpConnection] = set()
        self.heads: Deadlines[HttpConnection] = Deadlines(
            clock, HEAD_LIMIT_S, HttpConnection.head_overdue
        )
        self.idle: Deadlines[HttpConnection] = Deadlines(clock, IDLE_LIMIT_S, HttpConnection.end)
        self.bodies: Deadlines[HttpConnection] = Deadlines(clock, BODY_STEP_S, self._check_body)
        self.stalls: Deadlines[HttpConnection] = Deadlines(clock, STALL_LIMIT_S, HttpConnection.cut)
        self.lingering: Deadlines[HttpConnection] = Deadlines(
            clock, LINGER_S, HttpConnection.linger_over
        )
        self._deadlines = (self.heads, self.idle, self.bodies, self.stalls, self.lingering)
        self._body_marks: dict[HttpConnection, int] = {}
        self._second = -1
        self._prefixes: dict[int, bytes] = {}

    @property
    def under_way(self) -> int:
        """Requests whose answer isn't out."""
        return sum(1 for connection in self.connections if connection.busy)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Twisted: a client connected."""
        return HttpConnection(self)

    def prefix(self, status: int) -> bytes:
        """Status line and date."""
        second = int(self._clock.wall())
        if second != self._second:
            self._second = second
            self._prefixes.clear()
        made = self._prefixes.get(status)
        if made is None:
            date = formatdate(second, usegmt=True).encode()
            made = b"%bdate: %b\r\n" % (STATUS_LINES[status], date)
            self._prefixes[status] = made
        return made

    def watch_body(self, connection: HttpConnection) -> None:
        """A body is coming; see that it does."""
        self._body_marks[connection] = connection.body_bytes
        self.bodies.discard(connection)
        self.bodies.add(connection)

    def unwatch_body(self, connection: HttpConnection) -> None:
        """The body is in, or of no use any more."""
        self._body_marks.pop(connection, None)
        self.bodies.discard(connection)

    def _check_body(self, connection: HttpConnection) -> None:
        since = connection.body_bytes - self._body_marks.get(connection, 0)
        if connection.waits_for_body and since < BODY_STEP_BYTES:
            connection.body_overdue()
        else:
            self.watch_body(connection)

    def forget(self, connection: HttpConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self._body_marks.pop(connection, None)
        for deadlines in self._deadlines:
            deadlines.discard(connection)

    def stop(self) -> None:
        """End every connection; what is written still goes out."""
        for connection in list(self.connections):
            connection.shut_down()
        for deadlines in self._deadlines:
            deadlines.stop()
