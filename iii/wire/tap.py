"""Listening in on one connection: every message is shown before it goes on.

A tap stands in for the outbox and the receiver of a connection while somebody looks, and is
taken out again, so that a connection nobody looks at has nothing of it.
"""

from __future__ import annotations

from iii.engine.workers import Observer
from iii.websocket.frames import Receive
from iii.websocket.outbox import Outbox


class Tap:
    """What ``WorkerLink`` uses of an outbox, and the way in.

    :param outbox: the way out
    :ivar receive: the way in
    """

    def __init__(self, outbox: Outbox, observer: Observer) -> None:
        self.outbox = outbox
        self.receive: Receive = _nobody
        self._observer = observer

    @property
    def full(self) -> bool:
        """Outbox."""
        return self.outbox.full

    @property
    def queued(self) -> int:
        """Outbox."""
        return self.outbox.queued

    def send_text(self, payload: bytes) -> None:
        """Outbox: show a message, and send it."""
        self._observer("out", payload, False)
        self.outbox.send_text(payload)

    def frame_received(self, payload: bytes, is_binary: bool) -> None:
        """Show a message, and hand it on."""
        self._observer("in", payload, is_binary)
        self.receive(payload, is_binary)


def _nobody(payload: bytes, is_binary: bool) -> None:
    """It has not been put in yet."""
