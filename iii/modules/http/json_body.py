"""Whether a request body is JSON that every worker can read.

Bodies are passed on as they came, never decoded and encoded again, so the check
must be as strict as the strictest reader: no NaN, no lone surrogates, no byte
order mark, no number a double can't hold, no nesting deeper than 128.  msgspec's
skimming parser does the grammar; the rest is searched for with C-speed byte
operations, and looked at closely only where it might be.
"""

from __future__ import annotations

import json
import math

import msgspec
from msgspec import Raw

MAX_DEPTH = 128
#: Objects larger than this don't get their keys lifted (decision 30).
FLATTEN_BYTES = 256 * 1024

_members = msgspec.json.Decoder(dict[str, Raw])
_skim = msgspec.json.Decoder(Raw)

#: One look at the body for all checks: digits, exponents and opening brackets alike.
_SHAPE = bytes.maketrans(b"123456789E{", b"000000000e[")
_HUGE = b"0" * 309
_BRACKETS = bytes.maketrans(b"[]{}", b"()()")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class NotJson(ValueError):
    """The body can't be delivered as JSON."""


def parse(body: bytes) -> dict[str, Raw] | None:
    """Check ``body``; the members when it is an object small enough to flatten.

    :raises NotJson: it isn't strict JSON
    """
    try:
        body.decode()
        members = None
        if len(body) <= FLATTEN_BYTES and body.lstrip(b" \t\r\n")[:1] == b"{":
            members = _members.decode(body)
        else:
            _skim.decode(body)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise NotJson(str(error)) from error
    shape = body.translate(_SHAPE)
    if shape.count(b"[") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise NotJson(f"nested deeper than {MAX_DEPTH}")
    if (b"0e" in shape and (b"0e000" in shape or b"0e+000" in shape)) or _HUGE in shape:
        _check_numbers(body)
    return members


def _depth(body: bytes) -> int:
    """Nesting of valid JSON, not counted further than just over the limit."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(body.split(b'"')[::2])
    brackets = outside.translate(_BRACKETS, _NOT_BRACKETS)
    depth = 0
    while brackets and depth <= MAX_DEPTH:
        # Each pass removes the innermost level everywhere.
        brackets = brackets.replace(b"()", b"")
        depth += 1
    return depth


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson(f"{text[:20]} does not fit a double")
    return number


def _check_numbers(body: bytes) -> None:
    json.loads(body, parse_float=_finite, parse_int=_finite)
