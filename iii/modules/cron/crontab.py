"""Crontab lines: expressions of five fields, read and computed by croniter.

Five fields mean what crontab(5) says: Monday is 1, Sunday 0 or 7, and with a day of the
month *and* a day of the week, either is enough.  croniter knows more than that (``L``,
``#``, ``H``, random ``R``, month 0); what is not crontab is refused before it sees it,
with the name of the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from croniter import CroniterBadDateError, CroniterError, croniter  # type: ignore[import-untyped]

from iii.modules.cron.grammar import (
    ALL_YEARS,
    MONTHS,
    WEEKDAYS,
    Fields,
    OutOfBounds,
)

_END = 4_133_980_800  # 2101-01-01: as far as any schedule goes


class _Kind(NamedTuple):
    """A field: name in messages, bounds, words."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = {}


_KINDS = (
    _Kind("Minutes", 0, 59),
    _Kind("Hours", 0, 23),
    _Kind("Days of Month", 1, 31),
    _Kind("Months", 1, 12, {name[:3].lower(): number for number, name in enumerate(MONTHS, 1)}),
    _Kind("Days of Week", 0, 7, {name[:3].lower(): number for number, name in enumerate(WEEKDAYS)}),
)
_ITEM = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([0-9]{1,10}))?", re.ASCII)


def split(expression: str) -> list[str] | None:
    """The five fields, or None when there are not five."""
    parts = expression.split()
    return parts if len(parts) == len(_KINDS) else None


class Crontab:
    """Finds the times of a crontab line, in seconds of its own wall clock.

    :param parts: its five fields
    :ivar fields: what matches
    :raises OutOfBounds: it is not crontab
    """

    def __init__(self, parts: list[str]) -> None:
        line = " ".join(_checked(kind, part) for kind, part in zip(_KINDS, parts, strict=True))
        try:
            self._times: Any = croniter(line, 0.0)
        except CroniterError as error:
            raise OutOfBounds(str(error)) from error
        self.fields = _fields(self._times.expanded)

    def at_or_after(self, second: int) -> int | None:
        """The first time that matches, ``second`` itself included; None: never again."""
        if second >= _END:
            return None
        self._times.set_current(float(max(0, second) - 1), force=True)
        try:
            found = int(self._times.get_next(float))
        except CroniterBadDateError:
            return None
        return found if found < _END else None


def _checked(kind: _Kind, part: str) -> str:
    """A field as croniter gets it.

    :raises OutOfBounds: crontab(5) knows no such thing; with the field's name
    """
    return ",".join(_checked_item(kind, item) for item in part.split(","))


def _checked_item(kind: _Kind, item: str) -> str:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise OutOfBounds(f"{kind.name}: can't read '{item[:20]}'", kind.name)
    first, last, step = match.groups()
    low = None if first is None else _value(kind, first)
    high = None if last is None else _value(kind, last)
    if step is not None and int(step) == 0:
        raise OutOfBounds(f"{kind.name}: range step cannot be zero", kind.name)
    if high is not None and low == high:
        return str(low)  # croniter takes 5-5 for everything
    return item


def _value(kind: _Kind, text: str) -> int:
    known = kind.names.get(text.lower())
    if known is not None:
        return known
    if not text.isdigit():
        raise OutOfBounds(f"{kind.name}: '{text[:20]}' is not known here", kind.name)
    if len(text) > 10 or not kind.low <= int(text) <= kind.high:
        reason = (
            f"{kind.name} must be between {kind.low} and {kind.high}. ('{text[:20]}' specified.)"
        )
        raise OutOfBounds(reason, kind.name)
    return int(text)


def _fields(expanded: list[list[Any]]) -> Fields:
    """What croniter made of the line, as sets."""
    sets = [
        tuple(range(kind.low, kind.high + 1)) if "*" in values else tuple(sorted(values))
        for kind, values in zip(_KINDS, expanded, strict=True)
    ]
    minutes, hours, days, months, weekdays = sets
    return Fields(
        (0,),
        minutes,
        hours,
        days,
        months,
        tuple(sorted({day % 7 for day in weekdays})),
        ALL_YEARS,
        either="*" not in expanded[2] and "*" not in expanded[4],
    )
