"""Cron expressions of six and seven fields: from text to seven sets of numbers.

The grammar is the original engine's, oddities included (03 §3.6 of the specification,
docs/cron.md): alternatives are tried in the order written, and a field takes as much
text as it can; nothing goes back over a field.  So ``1 - 5`` is one item, ``******`` six
fields, and ``* /5`` an error.

Reading and judging are two passes: only text that reads as six or seven fields is judged
by its numbers.  Anything else may be a crontab line of five (``crontab``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

EXPECTED = "expected 6 or 7 fields (sec min hour day-of-month month day-of-week [year])"
FIRST_YEAR, LAST_YEAR = 1970, 2100
ALL_YEARS = tuple(range(FIRST_YEAR, LAST_YEAR + 1))

_WS = " \t\r\n"
_MAX_INT = 4294967295

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 1",
    "@daily": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}


class Unreadable(Exception):
    """The text is not of the grammar.

    :ivar reason: what is wrong, for a person
    :ivar field: the name of the field, when it is one
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


class OutOfBounds(Unreadable):
    """It reads well, but a field can't have such a value."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What matches: a time does when each part of it is in its set.

    :ivar days: of the month, 1–31
    :ivar weekdays: 0 = Sunday … 6 = Saturday
    :ivar either: one of ``days`` and ``weekdays`` is enough
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    years: tuple[int, ...]
    either: bool = False


@dataclass(frozen=True, slots=True)
class FieldKind:
    """One of the seven: its name in messages, its bounds, the words it knows."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)
    what: str = ""
    question_mark: bool = False


def _named(words: Iterable[str], more: Mapping[str, int]) -> dict[str, int]:
    known = dict(more)
    for number, word in enumerate(words, 1):
        known[word.lower()] = known[word[:3].lower()] = number
    return known


KINDS = (
    FieldKind("Seconds", 0, 59),
    FieldKind("Minutes", 0, 59),
    FieldKind("Hours", 0, 23),
    FieldKind("Days of Month", 1, 31, question_mark=True),
    FieldKind("Months", 1, 12, _named(MONTHS, {}), "month name"),
    FieldKind(
        "Days of Week",
        1,
        7,
        _named(WEEKDAYS, {"tues": 3, "thurs": 5}),
        "day of the week",
        question_mark=True,
    ),
    FieldKind("Years", FIRST_YEAR, LAST_YEAR),
)
_WEEKDAYS_KIND = KINDS[5]


class _Item(NamedTuple):
    """``*``, ``a``, ``a-b``, ``A``, ``A-B``; ``first`` None: all.  ``step`` None: without."""

    first: int | str | None
    last: int | str | None
    step: int | None


def parse(expression: str) -> Fields:
    """The sets of an expression.

    :raises OutOfBounds: a value is not for its field
    :raises Unreadable: it is not of the grammar
    """
    text = SHORTHANDS.get(expression.strip(_WS), expression)
    if text.startswith("@"):
        raise Unreadable(f"'{text[:20]}' is none of {', '.join(SHORTHANDS)}")
    sets = _plain(text)
    if sets is None:
        sets = [_values(kind, items) for kind, items in zip(KINDS, _read(text), strict=False)]
    seconds, minutes, hours, days, months, weekdays, *years = sets
    return Fields(
        seconds,
        minutes,
        hours,
        days,
        months,
        tuple(day - 1 for day in weekdays),
        years[0] if years else ALL_YEARS,
    )


def _plain(text: str) -> list[tuple[int, ...]] | None:
    """The sets when blanks stand between the fields and nowhere else.

    That is how nearly all are written, and the same fields come again and again.
    """
    parts = _SPACE.split(text.strip(_WS))
    if not 6 <= len(parts) <= 7:
        return None
    sets = []
    for index, part in enumerate(parts):
        values = _alone(index, part)
        if values is None:
            return None
        sets.append(values)
    return sets


@lru_cache(1024)
def _alone(index: int, text: str) -> tuple[int, ...] | None:
    """The set of a field; None when it has to be read together with the others."""
    try:
        items, end = _field(KINDS[index], text, 0)
        return _values(KINDS[index], items) if end == len(text) else None
    except Unreadable:
        return None


# Reading ---------------------------------------------------------------------------------

_INT = rf"[{_WS}]*([0-9]+)[{_WS}]*"
_NAME = rf"[{_WS}]*([A-Za-z]+)[{_WS}]*"
_SPEC = rf"(?:([{{all}}])|{_INT}-{_INT}|{_INT}|{_NAME}-{_NAME})"


def _item(all_: str) -> re.Pattern[str]:
    spec = _SPEC.format(all=all_)
    # A spec without a step is tried when the one with a step fails, a single name last.
    return re.compile(rf"{spec}(?:/{_INT})?|{_NAME}")


_ITEMS = {True: _item("*?"), False: _item("*")}
_BLANKS = re.compile(rf"[{_WS}]*")
_SPACE = re.compile(rf"[{_WS}]+")


def _read(text: str) -> list[list[_Item]]:
    """The items of each field, six or seven of them."""
    fields: list[list[_Item]] = []
    at = 0
    for kind in KINDS:
        at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            break
        items, at = _field(kind, text, at)
        fields.append(items)
    at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    if len(fields) < 6 or at < len(text):
        raise Unreadable(EXPECTED)
    return fields


def _field(kind: FieldKind, text: str, at: int) -> tuple[list[_Item], int]:
    items: list[_Item] = []
    pattern = _ITEMS[kind.question_mark]
    end = at
    while True:
        match = pattern.match(text, at)
        if match is None:
            if items:  # a comma that no item follows belongs to nobody
                return items, end
            # What no blank separates from the field before is the rest of that one.
            if at and text[at - 1] not in _WS:
                kind = KINDS[KINDS.index(kind) - 1]
            raise Unreadable(f"{kind.name}: can't read '{text[at : at + 20]}'", kind.name)
        items.append(_item_of(kind, match))
        at = end = match.end()
        if text[at : at + 1] != ",":
            return items, end
        at += 1


def _item_of(kind: FieldKind, match: re.Match[str]) -> _Item:
    all_, low, high, number, name_low, name_high, step_text, name = match.groups()
    step = None if step_text is None else _number(kind, step_text)
    if all_ is not None:
        return _Item(None, None, step)
    if low is not None:
        return _Item(_number(kind, low), _number(kind, high), step)
    if number is not None:
        return _Item(_number(kind, number), None, step)
    if name_low is not None:
        return _Item(name_low, name_high, step)
    return _Item(name, None, None)


def _number(kind: FieldKind, digits: str) -> int:
    # The length first: int() of very long texts is slow or refused.
    number = int(digits) if len(digits.lstrip("0")) <= 10 else _MAX_INT + 1
    if number > _MAX_INT:
        raise Unreadable(f"{kind.name}: {digits[:20]} is too large", kind.name)
    return number


# Judging ---------------------------------------------------------------------------------


def _values(kind: FieldKind, items: list[_Item]) -> tuple[int, ...]:
    found: set[int] = set()
    for item in items:
        first, last = _bounds(kind, item)
        step = 1 if item.step is None else item.step
        if step == 0:
            raise _bad(kind, "range step cannot be zero")
        if step > kind.high:
            text = f"{kind.name} must be between 1 and {kind.high}. ('{step}' specified.)"
            raise _bad(kind, text)
        found.update(range(first, last + 1, step))
    return tuple(sorted(found))


def _bounds(kind: FieldKind, item: _Item) -> tuple[int, int]:
    """The first and last value of an item; a number with a step goes on to the end."""
    first, last = item.first, item.last
    if first is None:
        return kind.low, kind.high
    if isinstance(first, str):
        low = _named_value(kind, first)
        high = low if last is None else _named_value(kind, str(last))
        if low > high:
            raise _bad(kind, f"Invalid named range for {kind.name}: {first}-{last}")
        return low, high
    if last is None:
        _check(kind, first)
        return first, first if item.step is None else kind.high
    assert isinstance(last, int)
    if not kind.low <= first <= last <= kind.high:
        hint = _hint(kind, first)
        raise _bad(kind, f"Invalid range for {kind.name}: {first}-{last}{hint}")
    return first, last


def _check(kind: FieldKind, value: int) -> None:
    if value < kind.low:
        text = f"{kind.name} must be greater than or equal to {kind.low}. ('{value}' specified.)"
        raise _bad(kind, text + _hint(kind, value))
    if value > kind.high:
        # The original's wording: the bound itself is allowed.
        raise _bad(kind, f"{kind.name} must be less than {kind.high}. ('{value}' specified.)")


def _hint(kind: FieldKind, value: int) -> str:
    return " For Sunday write SUN or 1." if kind is _WEEKDAYS_KIND and value == 0 else ""


def _named_value(kind: FieldKind, name: str) -> int:
    if not kind.names:
        text = f"The '{kind.name}' field does not support using names. '{name}' specified."
        raise _bad(kind, text)
    value = kind.names.get(name.lower())
    if value is None:
        raise _bad(kind, f"'{name}' is not a valid {kind.what}.")
    return value


def _bad(kind: FieldKind, reason: str) -> OutOfBounds:
    return OutOfBounds(reason, kind.name)
