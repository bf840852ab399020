"""Reading an item that is not quite JSON, or whose text is not quite text.

Python's encoder writes ``NaN`` and ``Infinity``, others half of a surrogate pair or bytes
that are no UTF-8.  None of them may go on to where strict JSON is written.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

MAX_DEPTH = 100

#: A pair is one character by now; what is left is half of one.
_SURROGATES = re.compile("[\ud800-\udfff]")


def repaired(data: bytes) -> Any:
    """The value in ``data``.  Numbers that are none are text, as protobuf's JSON has it.

    :raises ValueError: there is none
    :raises RecursionError: it is nested too deeply
    """
    return _clean(json.loads(data.decode("utf-8", "replace")), 0)


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _text(value)
    if isinstance(value, float):
        return _number(value)
    if depth >= MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        return {_text(key): _clean(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, depth + 1) for one in value]
    return value


def _text(text: str) -> str:
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _number(number: float) -> int | float | str:
    if not isfinite(number):
        return json.dumps(number)
    # ``5.0`` where a whole number belongs; where any number does, the two are the same.
    return int(number) if number.is_integer() else number
