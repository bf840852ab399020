"""The pool of connections: Twisted's, with bounds where it has none.

``HTTPConnectionPool`` has no hooks for these, so its insides are used: how many idle
connections there are over all hosts, hosts without one, and how long the head of a
response may be (Twisted reads headers as long as they come).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory

from iii.modules.http_functions.codes import not_read

#: Many servers close after 5 s; a request that meets a connection in that moment is lost.
IDLE_S = 4
MAX_IDLE = 512
MAX_IDLE_PER_HOST = 50
MAX_HEAD_BYTES = 256 * 1024


class BoundedProtocol(HTTP11ClientProtocol):
    """A connection whose responses have heads of bounded length."""

    transport: Any
    _transportProxy: Any
    _head_left: int | None = None

    def request(self, request: Any) -> Deferred[Any]:
        """HTTP11ClientProtocol: send one request; the result is its response without a body."""
        self._head_left = MAX_HEAD_BYTES
        answered: Deferred[Any] = super().request(request)
        # A reader of the body can break off as well (``readBody`` looks for this).
        if self._transportProxy is not None:
            self._transportProxy.abortConnection = self.transport.abortConnection
        return answered.addBoth(self._head_read)

    def dataReceived(self, data: bytes) -> None:
        """Protocol."""
        if self._head_left is not None:
            self._head_left -= len(data)
            if self._head_left < 0:
                self.transport.abortConnection()
                return
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def _head_read(self, outcome: Any) -> Any:
        left, self._head_left = self._head_left, None
        if isinstance(outcome, Failure) and left is not None and left < 0:
            return Failure(not_read(f"its head is longer than {MAX_HEAD_BYTES} bytes"))
        return outcome


class _Factory(_HTTP11ClientFactory):
    """Makes the protocols of a pool."""

    noisy = False

    def buildProtocol(self, addr: Any) -> BoundedProtocol:
        """IProtocolFactory."""
        return BoundedProtocol(self._quiescentCallback)  # type: ignore[no-untyped-call]


class Pool(HTTPConnectionPool):
    """Connections that wait for the next request."""

    _factory = _Factory
    maxPersistentPerHost = MAX_IDLE_PER_HOST
    cachedConnectionTimeout = IDLE_S
    retryAutomatically = False

    @property
    def idle(self) -> int:
        """How many."""
        return len(self._timeouts)

    def getConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        """HTTPConnectionPool."""
        found: Deferred[Any] = super().getConnection(key, endpoint)
        self._forget(key)
        return found

    def _putConnection(self, key: Any, connection: Any) -> None:
        if self.idle >= MAX_IDLE:
            connection.transport.loseConnection()
        else:
            super()._putConnection(key, connection)  # type: ignore[no-untyped-call]

    def _removeConnection(self, key: Any, connection: Any) -> None:
        super()._removeConnection(key, connection)  # type: ignore[no-untyped-call]
        self._forget(key)

    def _forget(self, key: Any) -> None:
        if not self._connections.get(key, True):
            del self._connections[key]
