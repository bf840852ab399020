"""Identifiers as UUID version 4 text, made from random bytes fetched in bulk.

``uuid.uuid4()`` costs a system call and an object each; a request needs up to
five ids.  The bytes still come from ``os.urandom``, so the ids that serve as
keys (channels, reattach tokens) can't be guessed.
"""

from __future__ import annotations

import os
import re

_POOL_IDS = 256
_VARIANT = "89ab"

# Canonical spelling only: an executor may answer under a normalised id.
is_uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch

_pool: list[str] = []


def _refill() -> None:
    text = os.urandom(16 * _POOL_IDS).hex()
    for at in range(0, len(text), 32):
        part = text[at : at + 32]
        variant = _VARIANT[int(part[16], 16) & 3]
        _pool.append(f"{part[:8]}-{part[8:12]}-4{part[13:16]}-{variant}{part[17:20]}-{part[20:]}")


def uuid4_text() -> str:
    """A fresh random UUID, hyphenated lower case."""
    if not _pool:
        _refill()
    return _pool.pop()


os.register_at_fork(after_in_child=_pool.clear)
