"""Addresses without what is secret in them, for messages and logs."""

from __future__ import annotations

import re

MASK = "***"

#: Up to the last ``@``: people forget to encode those of a password.
_USER = re.compile(r"(?<=://)[^/?#\s]*(?=@)")
_QUERY = re.compile(
    r"(?<=[?&])([\w.%-]*(?:token|key|secret|passw|pwd|jwt|signature|\bsig|auth)[\w.%-]*=)[^&#\s]*",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """``text`` with user, password and secret parameters of addresses in it masked.

    ``redis://user:pw@host/0`` is ``redis://***@host/0``, ``ws://host/?token=abc`` is
    ``ws://host/?token=***``.
    """
    return _QUERY.sub(rf"\1{MASK}", _USER.sub(MASK, text))
