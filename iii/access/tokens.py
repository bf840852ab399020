"""Static worker tokens."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


class Tokens:
    """The tokens that open a listener; kept as digests.

    :param named: tokens, each with its name or None
    """

    def __init__(self, named: Iterable[tuple[str | None, str]]) -> None:
        self._digests = [(name or "", _digest(token)) for name, token in named]

    def holder(self, token: str) -> str | None:
        """Whose token it is: its name, ``""`` for one without; None: it is none.

        Takes equally long for every token, right or wrong.
        """
        found: str | None = None
        digest = _digest(token)
        for name, known in self._digests:
            if hmac.compare_digest(known, digest):
                found = name
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
