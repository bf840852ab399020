"""The worker port: a WebSocket server whose connections are workers and what belongs to them.

Channel sockets are neither pinged nor dropped: some writers never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service

from iii.access.gate import Gate
from iii.browsers import Browsers
from iii.engine.core import Engine
from iii.engine.workers import Worker
from iii.tlsport import Certificates
from iii.websocket.server import HANDSHAKE_S, WebSocketFactory, WebSocketListener
from iii.wire.connection import WorkerConnection

DEFAULT_PORT = 49134


class WorkerFactory(WebSocketFactory):
    """Makes connections of one engine's workers.

    :ivar gate: who gets in, and what they may do; None: everybody, everything
    """

    protocol: Any = WorkerConnection

    def __init__(
        self,
        engine: Engine,
        handshake_s: float = HANDSHAKE_S,
        browsers: Browsers | None = None,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(engine.reactor, engine.clock, engine.turn, handshake_s, browsers)
        self.engine = engine
        self.gate = gate


class WorkerListener(WebSocketListener, Service):
    """Listens for workers.

    :param host: an address, or None for ``III_HOST`` or loopback
    :param port: 0 takes a free one; ``port`` tells the real one after ``listen``
    :param certificates: for TLS; None: the port is plain
    :param allowed_origins: of which pages besides those of this host browsers may connect
    :param gate: who gets in, and what they may do; None: everybody, everything
    """

    def __init__(
        self,
        engine: Engine,
        *,
        host: str | None = None,
        port: int = DEFAULT_PORT,
        handshake_timeout_s: float = HANDSHAKE_S,
        certificates: Certificates | None = None,
        allowed_origins: Sequence[str] = (),
        gate: Gate | None = None,
    ) -> None:
        browsers = Browsers(allowed_origins, secure=certificates is not None)
        factory = WorkerFactory(engine, handshake_timeout_s, browsers, gate)
        super().__init__(factory, host, port, certificates)
        self.gate = gate
        self.engine = engine

    def workers(self) -> list[Worker]:
        """Those that are connected here."""
        found = (
            connection.worker
            for connection in self.factory.connections
            if isinstance(connection, WorkerConnection)
        )
        return [worker for worker in found if worker is not None]
