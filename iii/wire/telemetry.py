"""The role of a connection on ``/otel``: telemetry frames, and nothing else.

Such a connection is no worker: it gets no ``workerregistered`` and is in no list.
"""

from __future__ import annotations

from twisted.logger import Logger

from iii.engine.core import Engine
from iii.websocket.outbox import Outbox

log = Logger()

KINDS = {b"OTLP": "OTLP", b"MTRC": "MTRC", b"LOGS": "LOGS"}
"""The first four bytes of a telemetry frame → its kind."""


class TelemetrySocket:
    """Hands telemetry frames to the engine's hook."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def opened(self, outbox: Outbox) -> None:
        """Nothing is sent."""

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Text is ignored, other binary frames are dropped with a warning."""
        if not is_binary:
            return
        kind = KINDS.get(payload[:4])
        if kind is None:
            log.warn("/otel: dropped a binary frame that is no telemetry")
        else:
            self._engine.telemetry(kind, payload[4:])

    def closed(self, clean: bool) -> None:
        """Nothing to clean up."""
