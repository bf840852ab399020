"""Values of calls without what is not for everybody's eyes, for people who look at them.

Keys are compared whole and without case; what stands under one is replaced, however deep it
is.  A value is only read when the name of such a key is somewhere in its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

REDACTED = "[REDACTED]"
#: What is hidden unless a configuration says otherwise (``redact`` of iii-observability).
HIDDEN_KEYS = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "api_key",
    "access_token",
    "refresh_token",
    "password",
    "secret",
    "credential",
)
#: Hidden whatever a configuration says: with it anybody could read or write a channel.
CHANNEL_KEY = "access_key"
_MAX_DEPTH = 100


class Redactor:
    """Replaces the values of some keys."""

    def __init__(self, keys: Iterable[str] = HIDDEN_KEYS) -> None:
        self._keys = frozenset((CHANNEL_KEY, *(key.lower() for key in keys)))
        names = b"|".join(re.escape(key.encode()) for key in sorted(self._keys))
        # An escape may spell any letter of a key.
        self._suspicious = re.compile(names + rb"|\\u", re.IGNORECASE)

    def is_clean(self, value: bytes | memoryview) -> bool:
        """Whether none of the keys can be in ``value``, JSON or the beginning of it."""
        return self._suspicious.search(value) is None

    def redacted(self, value: Raw) -> Raw:
        """``value`` without what is hidden; itself when that is nothing."""
        if self.is_clean(memoryview(value)):
            return value
        try:
            return Raw(msgspec.json.encode(self._clean(msgspec.json.decode(value), 0)))
        except (msgspec.DecodeError, RecursionError, ValueError):
            return Raw(msgspec.json.encode(REDACTED))

    def _clean(self, value: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return REDACTED
        if isinstance(value, dict):
            return {
                key: REDACTED if key.lower() in self._keys else self._clean(inner, depth + 1)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._clean(inner, depth + 1) for inner in value]
        return value
