"""The settings of the bridge module, and what its functions take (docs/bridge.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Raw, Struct, field

from iii.bridge.address import Remote, faults, parse_url, url_of
from iii.checking import Fault
from iii.engine.inputs import Input
from iii.engine.invocations import NULL

DEFAULT_TIMEOUT_MS = 30_000
#: No call of the engine runs longer.
LONGEST_TIMEOUT_MS = 24 * 3600 * 1000

Milliseconds = Annotated[int, Meta(ge=0)]


class Expose(Struct):
    """A function of this engine that the other one gets.

    :ivar remote_function: what it is called there; None: the same
    """

    local_function: str
    remote_function: str | None = None


class Forward(Struct):
    """A function of the other engine under a name of its own here."""

    local_function: str
    remote_function: str
    timeout_ms: Milliseconds = DEFAULT_TIMEOUT_MS


class BridgeConfig(Struct, kw_only=True):
    """The ``config:`` block of ``iii-bridge``.

    :ivar url: the other engine's worker port; None: ``III_URL``, ``III_BRIDGE_URL``
    :ivar token: what that port asks for
    :ivar ca: file of the authority that signed its certificate, for ``wss://``
    :ivar cert: file of a certificate of our own, when it asks for one; its key is in ``key``
    :ivar service_id: a label for what is exposed, for engines before 0.13
    """

    url: str | None = None
    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    service_id: str | None = None
    service_name: str | None = None
    expose: list[Expose] = field(default_factory=list)
    forward: list[Forward] = field(default_factory=list)

    def remote(self, environ: Mapping[str, str]) -> Remote:
        """The other engine.

        :raises AddressError: the settings make no sense
        """
        return parse_url(
            url_of(self.url, environ), token=self.token, ca=self.ca, cert=self.cert, key=self.key
        )

    def faults(self) -> Iterator[Fault]:
        """An address that makes no sense, a file that can't be used."""
        return faults(lambda: self.remote({}))

    def __repr__(self) -> str:
        """Without what may be secret."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class InvokeInput(Input):
    """``bridge.invoke`` and ``bridge.invoke_async``.  ``data`` passes through unread."""

    called: ClassVar[str] = "BridgeInvokeInput"
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {"function_id": ("function_path",)}

    function_id: str
    data: Raw = field(default_factory=lambda: NULL)
    timeout_ms: Milliseconds = DEFAULT_TIMEOUT_MS
