"""Ids of traces and spans, which workers send as any text."""

from __future__ import annotations


def is_id(text: str, digits: int) -> bool:
    """Whether ``text`` is so many hexadecimal digits, and not all of them zeros.

    A collector refuses a whole request for one id that is none.
    """
    return (
        len(text) == digits and not text.strip("0123456789abcdefABCDEF") and bool(text.strip("0"))
    )
