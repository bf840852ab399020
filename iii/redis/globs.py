"""Patterns of ``SCAN``."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([*?\[\]\\^])")


def escaped(text: str) -> str:
    """A pattern that only ``text`` matches."""
    return _SPECIAL.sub(r"\\\1", text)
