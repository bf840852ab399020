"""The settings of the stream module (docs/streams.md, "Settings")."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from iii.browsers import Origin
from iii.tls import Tls


class StreamConfig(Struct):
    """The ``config:`` block of ``iii-stream``."""

    strict_keys: ClassVar[tuple[str, ...]] = ("tls",)

    port: Annotated[int, Meta(ge=0, le=65535)] = 3112
    #: None: ``III_HOST``, or loopback (127.0.0.1 and ::1).
    host: str | None = None
    #: None: plain WebSockets.
    tls: Tls | None = None
    #: Of which pages besides those of this host browsers may connect.
    allowed_origins: list[Origin] = []
    #: Called before a client is connected.  None: everybody may.
    auth_function: str | None = None
    #: True: a failing ``auth_function`` or ``stream:join`` handler lets the client in.
    auth_fail_open: bool = False
    #: False: writes fire no ``stream`` triggers.
    triggers_enabled: bool = True
    #: Bytes of a value as compact JSON.  None: what a message may have.
    max_value_bytes: Annotated[int, Meta(ge=1)] | None = None
    #: Accepted for old configurations; writes are never put off.
    save_interval_ms: Any = None
