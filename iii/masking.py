"""Configurations without what is secret in them, for people who look at an engine.

What stands under a key that sounds like a secret is not shown, however deep below it; of
addresses in any other text only user, password and secret parameters go.
"""

from __future__ import annotations

from typing import Any

from iii.redaction import MASK, without_secrets

SECRET_WORDS = (
    *("password", "passwd", "pwd", "passphrase", "secret", "token", "key", "credential"),
    *("authorization", "cookie"),
)


def masked(value: Any, *, secret: bool = False) -> Any:
    """``value``, plain data, with its secrets masked; what is empty stays empty.

    :param secret: all of it is
    """
    if isinstance(value, dict):
        return {
            key: masked(inner, secret=secret or sounds_secret(str(key)))
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(inner, secret=secret) for inner in value]
    if value is None or value == "" or isinstance(value, bool):
        return value
    if secret:
        return MASK
    return without_secrets(value) if isinstance(value, str) else value


def sounds_secret(key: str) -> bool:
    """Whether what stands under ``key`` is not for everybody's eyes."""
    key = key.lower()
    return any(word in key for word in SECRET_WORDS)
