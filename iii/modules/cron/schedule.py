"""When something runs: an expression and a time zone.

Six or seven fields are the original engine's grammar with a search of our own
(``grammar``, ``search``); five fields are a crontab line, computed by croniter
(``crontab``).  Both count in wall-clock time, and ``zones`` says which instants that is.

A schedule doesn't change and remembers only its last answer, so equal expressions share
one object: a thousand alike triggers cost one search per run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from iii.errors import Code, RegistrationError
from iii.modules.cron.crontab import Crontab, split
from iii.modules.cron.grammar import EXPECTED, Fields, OutOfBounds, Unreadable, parse
from iii.modules.cron.search import Search
from iii.modules.cron.words import words
from iii.modules.cron.zones import Times, Zone, zone

MAX_EXPRESSION_CHARS = 1_000
KEPT_SCHEDULES = 4_096

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FROM, _UNTIL = -2 * 86_400, 4_134_153_600  # no run outside of these instants


class ScheduleError(RegistrationError):
    """An expression or a time zone is wrong.

    :param field: the name of the wrong field, when it is one
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(Code.TRIGGER_REGISTRATION_FAILED, message)
        self.field = field


class Schedule:
    """The runs of an expression; made by ``parse_schedule``.

    :ivar expression: as it was given
    :ivar timezone: an IANA name
    :ivar often: whether it runs more than once an hour
    """

    __slots__ = ("_fields", "_last", "_times", "_zone", "expression", "often", "timezone")

    def __init__(
        self, expression: str, timezone: str, fields: Fields, times: Times, zone: Zone | None
    ) -> None:
        self.expression = expression
        self.timezone = timezone
        self.often = len(fields.minutes) > 1 or len(fields.seconds) > 1
        self._fields = fields
        self._times = times
        self._zone = zone
        self._last: tuple[int, int | None] | None = None

    @property
    def words(self) -> str:
        """What it means, in words."""
        return f"{words(self._fields)} ({self.timezone})"

    def next(self, after: datetime) -> datetime | None:
        """The first run after ``after``, in UTC; None when there is none any more.

        :param after: without a time zone: UTC
        """
        if after.tzinfo is None:
            after = after.replace(tzinfo=UTC)
        second = self.next_second((after - _EPOCH) // _SECOND)
        return None if second is None else _EPOCH + timedelta(seconds=second)

    def next_second(self, after: int) -> int | None:
        """The same in whole seconds since 1970-01-01 UTC."""
        last = self._last
        if last is not None and last[0] == after:
            return last[1]
        found = self._find(after)
        self._last = (after, found)
        return found

    def upcoming(self, after: int, count: int) -> Iterator[int]:
        """The next ``count`` runs, in seconds since 1970."""
        for _ in range(count):
            found = self._find(after)
            if found is None:
                return
            yield found
            after = found

    def _find(self, after: int) -> int | None:
        if after >= _UNTIL:
            return None
        after = max(after, _FROM)
        if self._zone is None:
            return self._times.at_or_after(after + 1)
        return self._zone.next(self._times, after, often=self.often)


def parse_schedule(expression: str, timezone: str = "UTC", *, strict: bool = False) -> Schedule:
    """The schedule that ``expression`` means (docs/cron.md).

    :param timezone: an IANA name
    :param strict: refuse five fields
    :raises ScheduleError: expression or time zone is wrong
    """
    if len(expression) > MAX_EXPRESSION_CHARS:
        text = f"it is longer than {MAX_EXPRESSION_CHARS} characters"
        raise _invalid(expression[:40] + "…", text)
    return _parse(expression, timezone, strict)


@lru_cache(KEPT_SCHEDULES)
def _parse(expression: str, timezone: str, strict: bool) -> Schedule:
    fields, times = _read(expression, strict)
    try:
        where = zone(timezone)
    except KeyError as error:
        text = f"Invalid timezone '{timezone[:100]}': not a name of the IANA database"
        raise ScheduleError(text, "timezone") from error
    return Schedule(expression, timezone, fields, times, where)


def _read(expression: str, strict: bool) -> tuple[Fields, Times]:
    try:
        fields = parse(expression)
    except Unreadable as error:
        # Whatever is crontab has five words, and nothing that is reads as six fields.
        parts = split(expression)
        if parts is None:
            raise _invalid(expression, _reason(error, strict), error.field) from error
        if strict:
            raise _invalid(expression, EXPECTED) from error
    else:
        return fields, Search(fields)
    try:
        crontab = Crontab(parts)
    except OutOfBounds as error:
        raise _invalid(expression, error.reason, error.field) from error
    return crontab.fields, crontab


def _reason(error: Unreadable, strict: bool) -> str:
    if error.reason != EXPECTED or strict:
        return error.reason
    return f"{EXPECTED}, or the 5 of a crontab (min hour day-of-month month day-of-week)"


def _invalid(expression: str, reason: str, field: str | None = None) -> ScheduleError:
    return ScheduleError(f"Invalid cron expression '{expression}': {reason}", field)
