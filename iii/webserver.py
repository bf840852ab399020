"""What every small ``twisted.web`` server of the engine wants: quiet, bounded, soon ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.server import Site


class QuietSite(Site):
    """Without an access log and its timer."""

    noisy = False
    displayTracebacks = False

    def startFactory(self) -> None:
        """Twisted: there is no log to open."""

    def stopFactory(self) -> None:
        """Twisted: nor to close."""

    def log(self, request: Any) -> None:
        """Twisted: nor to write."""


class Connections(WrappingFactory[ProtocolWrapper]):
    """Counts the open connections, and ends them.

    :param most: says how many there may be; further ones are closed at once
    """

    noisy = False

    def __init__(self, site: Site, most: Callable[[], int]) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]
        self._most = most
        self._all_gone: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Twisted: somebody connected; None: too many have."""
        return None if len(self.protocols) >= self._most() else super().buildProtocol(addr)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """Twisted: a connection is gone."""
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if self._all_gone is not None and not self.protocols:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    async def end(self) -> None:
        """End all, and wait until they are."""
        if not self.protocols:
            return
        gone = self._all_gone = Deferred()
        for protocol in list(self.protocols):
            protocol.transport.abortConnection()
        await gone
