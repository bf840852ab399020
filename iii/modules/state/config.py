"""The settings of the state module (docs/state.md, "Settings")."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct


class StateConfig(Struct):
    """The ``config:`` block of ``iii-state``."""

    #: False: writes fire no ``state`` triggers.
    triggers_enabled: bool = True
    #: Bytes of a value as compact JSON.  None: what a message may have.
    max_value_bytes: Annotated[int, Meta(ge=1)] | None = None
    #: Accepted for old configurations; writes are never put off.
    save_interval_ms: Any = None
