"""``config:`` of ``modules::console::ConsoleModule``."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from iii.browsers import Origin
from iii.tls import Tls

DEFAULT_PORT = 3113
BasePath = Annotated[str, Meta(pattern=r"^/([A-Za-z0-9._~-]+/?)*$")]


class ConsoleConfig(Struct, kw_only=True):
    """Where the console is and who may use it.

    :ivar token: what visitors have to show; needed wherever other machines reach the port
    :ivar read_only: nothing can be changed, called or published
    :ivar base_path: what stands before every path, behind a proxy
    :ivar allowed_origins: of other pages that may use it; their hosts are hosts of it, too
    :ivar enable_flow: what ``/api/config`` tells pages about the Flow page
    """

    host: str | None = None
    port: Annotated[int, Meta(ge=0, le=65535)] = DEFAULT_PORT
    token: str | None = None
    read_only: bool = False
    base_path: BasePath = "/"
    allowed_origins: tuple[Origin, ...] = ()
    enable_flow: bool = False
    tls: Tls | None = None

    @property
    def base(self) -> str:
        """``base_path`` with a slash at both ends."""
        return self.base_path if self.base_path.endswith("/") else f"{self.base_path}/"

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
