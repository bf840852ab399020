"""Lua scripts: what has to happen in one step happens inside Redis."""

from __future__ import annotations

from hashlib import sha1


class Script:
    """A script, known to Redis by its hash.

    :ivar keys: how many of its parts are keys; None: the first part says how many
    """

    def __init__(self, text: str, keys: int | None) -> None:
        self.text = text.encode()
        self.keys = keys
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()
