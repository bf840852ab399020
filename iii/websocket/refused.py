"""The role of a connection that may not be: it hears why, and that is it.

The upgrade itself is accepted.  A refused one would tell a browser's program nothing,
and some workers never try again after it.
"""

from __future__ import annotations

from typing import Protocol

from iii.websocket.codes import CLOSE_REFUSED
from iii.websocket.outbox import Outbox


class Wire(Protocol):
    """The connection below."""

    def sendClose(self, code: int, reason: str | None = None) -> None: ...


class Refused:
    """Closes with 1008 as soon as it is open.

    :param wire: the connection
    :param reason: what it is told
    """

    def __init__(self, wire: Wire, reason: str) -> None:
        self._wire = wire
        self._reason = reason

    def opened(self, outbox: Outbox) -> None:
        """Role: the upgrade is done."""
        self._wire.sendClose(CLOSE_REFUSED, self._reason)

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Role: nobody listens."""

    def closed(self, clean: bool) -> None:
        """Role: nothing to clean up."""
