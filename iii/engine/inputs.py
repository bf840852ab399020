"""How the input of an in-process function is read, and how its mistakes are told."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Input(msgspec.Struct):
    """Base of inputs that have older spellings and a name in error messages.

    :cvar called: the name clients know, e.g. ``StateSetInput``
    :cvar aliases: field → its older names, best first
    """

    called: ClassVar[str] = ""
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {}
