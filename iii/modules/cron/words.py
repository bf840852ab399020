"""A schedule in words, for lists and the console: "at 09:00, Monday to Friday"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from iii.modules.cron.grammar import ALL_YEARS, MONTHS, WEEKDAYS, Fields

#: More times of day than this are told as a rule.
LISTED_TIMES = 6


def words(fields: Fields) -> str:
    """What the sets mean."""
    time, daily = _time(fields)
    day = _day(fields)
    if not day and daily:
        day = "every day"
    parts = [time, day, _months(fields), _years(fields)]
    return ", ".join(part for part in parts if part)


def _time(fields: Fields) -> tuple[str, bool]:
    """The time of day, and whether it is one or a few fixed times."""
    seconds, minutes, hours = fields.seconds, fields.minutes, fields.hours
    if len(seconds) * len(minutes) * len(hours) <= LISTED_TIMES and len(hours) < 24:
        times = [_clock(h, m, s) for h in hours for m in minutes for s in seconds]
        return f"at {_and(times)}", True
    parts = []
    if seconds != (0,):
        parts.append(_rule("second", seconds, 60))
    if len(minutes) < 60 or seconds == (0,):
        parts.append(_rule("minute", minutes, 60))
    if len(hours) < 24:
        parts.append(_hours(hours))
        if minutes == (0,) and seconds == (0,):
            return f"every hour {parts[-1]}" if _step(hours) == 1 else _on_the_hour(hours), False
    elif minutes == (0,) and seconds == (0,):
        return "every hour", False
    elif len(minutes) == 1:
        parts.append("of every hour")
    return " ".join(parts) if len(hours) == 24 else ", ".join(parts), False


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _rule(unit: str, values: Sequence[int], count: int) -> str:
    """``every 5 minutes``, ``at minute 0``, ``at minutes 5 to 10``."""
    if len(values) == count:
        return f"every {unit}"
    step = _step(values)
    if step is not None and values[0] == 0 and count % step == 0 and len(values) == count // step:
        return f"every {step} {unit}s"
    return f"at {unit}{'' if len(values) == 1 else 's'} {_list(values)}"


def _hours(hours: Sequence[int]) -> str:
    step = _step(hours)
    if step == 1:
        return f"from {hours[0]:02}:00 to {hours[-1]:02}:59"
    return f"in {_rule('hour', hours, 24).removeprefix('at ')}"


def _on_the_hour(hours: Sequence[int]) -> str:
    rule = _rule("hour", hours, 24)
    return rule if rule.startswith("every") else f"{rule}, on the hour"


def _day(fields: Fields) -> str:
    of_month = len(fields.days) < 31
    of_week = len(fields.weekdays) < 7
    number = f"day{'s' if len(fields.days) > 1 else ''} {_list(fields.days)} of the month"
    names = _named(fields.weekdays, WEEKDAYS, 0)
    if fields.either:
        return f"on {number} and every {names}"
    if of_month and of_week:
        return f"on {number} if it is {names.replace(' and ', ' or ')}"
    if of_month:
        return f"on {number}"
    return names if of_week else ""


def _months(fields: Fields) -> str:
    if len(fields.months) == 12:
        return ""
    return f"in {_named(fields.months, MONTHS, 1)}"


def _years(fields: Fields) -> str:
    if len(fields.years) == len(ALL_YEARS):
        return ""
    return f"in {_list(fields.years)}"


def _named(values: Sequence[int], names: Sequence[str], first: int) -> str:
    if _step(values) == 1 and len(values) > 2:
        return f"{names[values[0] - first]} to {names[values[-1] - first]}"
    return _and([names[value - first] for value in values])


def _list(values: Sequence[int]) -> str:
    step = _step(values)
    if step is not None and len(values) > 2:
        if step == 1:
            return f"{values[0]} to {values[-1]}"
        if len(values) > 4:
            return f"{values[0]} to {values[-1]} in steps of {step}"
    return _and([str(value) for value in values])


def _step(values: Sequence[int]) -> int | None:
    """The distance of the values when it is always the same."""
    distances = {after - before for before, after in pairwise(values)}
    return distances.pop() if len(distances) == 1 else None


def _and(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
