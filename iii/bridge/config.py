"""The settings that all bridge adapters have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from iii.bridge.address import DEFAULT_URL, Remote, faults, parse_url
from iii.checking import Fault


class BridgeAdapterConfig(Struct, frozen=True, kw_only=True):
    """``config:`` of a bridge adapter.

    :ivar bridge_url: the other engine's worker port, see ``iii.bridge.address``
    :ivar token: what that port asks for
    :ivar ca: file of the authority that signed its certificate, for ``wss://``
    :ivar cert: file of a certificate of our own, when it asks for one; its key is in ``key``
    """

    bridge_url: str = DEFAULT_URL
    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        """Without what may be secret."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []

    def faults(self) -> Iterator[Fault]:
        """An address that makes no sense, a file that can't be used."""
        return faults(lambda: self.remote)

    @property
    def remote(self) -> Remote:
        """The other engine.

        :raises AddressError: the settings make no sense
        """
        return parse_url(
            self.bridge_url,
            setting="bridge_url",
            token=self.token,
            ca=self.ca,
            cert=self.cert,
            key=self.key,
        )
