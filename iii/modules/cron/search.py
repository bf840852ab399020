"""The next time that is in all sets of an expression.

Time is counted in seconds since 1970-01-01 of the schedule's own wall clock, so nothing
here knows of time zones.  The search looks for a day first and for a time of day second;
days are few (years × months × days of a month that exist), so that an expression which
never matches costs some hundred comparisons and not a scan of the seconds until 2100.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date

from iii.modules.cron.grammar import Fields

DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


class Search:
    """Finds times that match.

    :param fields: what matches
    """

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._months = frozenset(fields.months)
        self._days = frozenset(fields.days)
        self._weekdays = frozenset(fields.weekdays)
        self._first = fields.hours[0] * 3600 + fields.minutes[0] * 60 + fields.seconds[0]
        self._end = (date(fields.years[-1], 12, 31).toordinal() - _EPOCH + 1) * DAY_S

    def at_or_after(self, second: int) -> int | None:
        """The first time that matches, ``second`` itself included; None: never again."""
        if second >= self._end:
            return None
        day, rest = divmod(max(0, second), DAY_S)
        today = date.fromordinal(_EPOCH + day)
        if self._is_on(today):
            time = self._time(rest)
            if time is not None:
                return day * DAY_S + time
        for ordinal in self._days_after(today):
            return (ordinal - _EPOCH) * DAY_S + self._first
        return None

    def _is_on(self, day: date) -> bool:
        fields = self._fields
        return (
            day.month in self._months
            and day.year in fields.years
            and day.day in self._days
            and day.isoweekday() % 7 in self._weekdays
        )

    def _time(self, rest: int) -> int | None:
        """The first matching second of a day that is not before ``rest``."""
        fields = self._fields
        hour, rest = divmod(rest, 3600)
        minute, second = divmod(rest, 60)
        if hour in fields.hours:
            if minute in fields.minutes:
                at = bisect_left(fields.seconds, second)
                if at < len(fields.seconds):
                    return hour * 3600 + minute * 60 + fields.seconds[at]
            at = bisect_left(fields.minutes, minute + 1)
            if at < len(fields.minutes):
                return hour * 3600 + fields.minutes[at] * 60 + fields.seconds[0]
        at = bisect_left(fields.hours, hour + 1)
        if at == len(fields.hours):
            return None
        return fields.hours[at] * 3600 + fields.minutes[0] * 60 + fields.seconds[0]

    def _days_after(self, today: date) -> Iterator[int]:
        """The matching days after ``today``, as ordinals."""
        fields = self._fields
        limit = today.toordinal()
        for year in fields.years[bisect_left(fields.years, today.year) :]:
            for month in fields.months:
                if year == today.year and month < today.month:
                    continue
                before = date(year, month, 1).toordinal() - 1
                length = _length(year, month)
                for day in fields.days:
                    ordinal = before + day
                    if ordinal <= limit or ordinal % 7 not in self._weekdays:
                        continue
                    if day > length:
                        break
                    yield ordinal


def _length(year: int, month: int) -> int:
    """How many days the month has."""
    following = date(year + month // 12, month % 12 + 1, 1)
    return (following - date(year, month, 1)).days
