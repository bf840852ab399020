"""Header fields of an answer, kept both as pairs and as the bytes to send.

Nearly every answer carries the same few fields, so they are rendered once and
shared; the pairs are for the stock twisted.web server, which wants them single.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Pair = tuple[bytes, bytes]

is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
is_field_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch

#: Framing belongs to the connection; what a function says about it is dropped.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"date",
    )
)


class Fields:
    """An immutable set of header fields, names in lower case."""

    __slots__ = ("pairs", "wire")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.pairs: tuple[Pair, ...] = tuple(pairs)
        self.wire = b"".join([b"%b: %b\r\n" % pair for pair in self.pairs])

    def __add__(self, more: Iterable[Pair]) -> Fields:
        return Fields((*self.pairs, *more))


def pair_of(name: str, value: str) -> Pair | None:
    """One field from a function's text, None when it can't be a header field."""
    field = name.strip().lower().encode("utf-8", "replace")
    content = value.strip(" \t").encode("utf-8", "replace")
    if not is_token(field) or not is_field_value(content) or field in HOP_BY_HOP:
        return None
    return field, content


CONTENT_TYPE = b"content-type"
JSON_TYPE: Pair = (CONTENT_TYPE, b"application/json")
