"""How alert rules compare, and every way to write that."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import NamedTuple

Compare = Callable[[float, float], bool]


def _equal(one: float, other: float) -> bool:
    return abs(one - other) < sys.float_info.epsilon


def _not_equal(one: float, other: float) -> bool:
    return not _equal(one, other)


class Operator(NamedTuple):
    """A comparison, and what events call it."""

    name: str
    compare: Compare


_OPERATORS: tuple[tuple[str, Compare, tuple[str, ...]], ...] = (
    ("GreaterThan", operator.gt, (">", "gt")),
    ("GreaterThanOrEqual", operator.ge, (">=", "gte", "ge")),
    ("LessThan", operator.lt, ("<", "lt")),
    ("LessThanOrEqual", operator.le, ("<=", "lte", "le")),
    ("Equal", _equal, ("==", "=", "eq")),
    ("NotEqual", _not_equal, ("!=", "ne", "neq")),
)
#: Every spelling, lower case and without separators.
_SPELLINGS = {
    spelling: Operator(name, compare)
    for name, compare, spellings in _OPERATORS
    for spelling in (*spellings, name.lower())
}


def operator_called(text: str) -> Operator:
    """The operator that ``text`` means.

    :raises ValueError: none
    """
    known = _SPELLINGS.get(text.strip().lower().replace("_", "").replace("-", ""))
    if known is None:
        spellings = " ".join(row[2][0] for row in _OPERATORS)
        raise ValueError(f"operator {text!r} is none of {spellings}")
    return known
