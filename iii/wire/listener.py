"""The worker port: a WebSocket server whose connections are workers and what belongs to them.

Channel sockets are neither pinged nor dropped: some writers never read.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service

from iii.engine.core import Engine
from iii.websocket.server import HANDSHAKE_S, WebSocketFactory, WebSocketListener
from iii.wire.connection import WorkerConnection

DEFAULT_PORT = 49134


class WorkerFactory(WebSocketFactory):
    """Makes connections of one engine's workers."""

    protocol: Any = WorkerConnection

    def __init__(self, engine: Engine, handshake_s: float = HANDSHAKE_S) -> None:
        super().__init__(engine.reactor, engine.clock, engine.turn, handshake_s)
        self.engine = engine


class WorkerListener(WebSocketListener, Service):
    """Listens for workers.

    :param host: an address, or None for ``III_HOST`` or loopback
    :param port: 0 takes a free one; ``port`` tells the real one after ``listen``
    """

    def __init__(
        self,
        engine: Engine,
        *,
        host: str | None = None,
        port: int = DEFAULT_PORT,
        handshake_timeout_s: float = HANDSHAKE_S,
    ) -> None:
        super().__init__(WorkerFactory(engine, handshake_timeout_s), host, port)
        self.engine = engine
