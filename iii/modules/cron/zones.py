"""From the wall clock of a time zone to instants, across its changes.

A zone is a row of *segments*, stretches of time with one offset.  ``zoneinfo`` tells an
offset but not where it ends, so a segment's ends are looked for, a day at a time and then
by halves, and kept.

The rules at a change (docs/cron.md, "Daylight saving time"): a wall time that is left out
runs at the instant it would have had with the offset before the change, once, also when
another run falls on the same instant; one that comes twice runs the first time, and both
times when the schedule runs more than once an hour.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from functools import cache
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

DAY_S = 86_400
#: How far the end of a segment is looked for.  What is longer is several, without harm.
REACH_DAYS = 400
KEPT_SEGMENTS = 1_000


class Times(Protocol):
    """The times of a schedule by its own wall clock, in seconds since 1970."""

    def at_or_after(self, second: int) -> int | None:
        """The first one; None when there are no more."""
        ...


class Segment(NamedTuple):
    """``start`` ≤ instant < ``end`` have ``offset``; ``before`` is the one before ``start``."""

    start: int
    end: int
    offset: int
    before: int


class Zone:
    """A time zone of the IANA database.

    :raises KeyError: there is none of that name
    """

    def __init__(self, name: str) -> None:
        try:
            self._zone = ZoneInfo(name)
        except (OSError, ValueError) as error:  # a folder of zones, a path
            raise KeyError(name) from error
        self._segments: list[Segment] = []

    def next(self, times: Times, after: int, *, often: bool) -> int | None:
        """The first instant after ``after`` at which ``times`` run.

        :param often: they run more than once an hour
        """
        first = after + 1
        segment = self.segment(first)
        while True:
            found = _in_segment(segment, times, first, often)
            if found is not None:
                return found
            upcoming = times.at_or_after(max(first, segment.end) - DAY_S)
            if upcoming is None:
                return None
            # Far from any change a schedule of few runs need not visit every segment.
            first = max(segment.end, upcoming - 2 * DAY_S)
            segment = self.segment(first)

    def segment(self, instant: int) -> Segment:
        """The segment that ``instant`` is in."""
        known = self._segments
        at = bisect_right(known, (instant, float("inf"))) - 1
        if at >= 0 and instant < known[at].end:
            return known[at]
        if len(known) >= KEPT_SEGMENTS:
            known.clear()
        found = self._find(instant)
        known.append(found)
        known.sort()
        return found

    def _find(self, instant: int) -> Segment:
        offset = self._offset(instant)
        start, before = self._edge(instant, offset, -DAY_S)
        end, _ = self._edge(instant, offset, DAY_S)
        return Segment(start, end, offset, before)

    def _edge(self, instant: int, offset: int, stride: int) -> tuple[int, int]:
        """Where the offset changes in one direction, and the offset beyond."""
        inside = instant
        for _ in range(REACH_DAYS):
            outside = inside + stride
            beyond = self._offset(outside)
            if beyond != offset:
                break
            inside = outside
        else:
            return inside, offset
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            if self._offset(middle) == offset:
                inside = middle
            else:
                outside = middle
        return max(inside, outside), self._offset(outside)

    def _offset(self, instant: int) -> int:
        offset = datetime.fromtimestamp(instant, self._zone).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())


@cache
def zone(name: str) -> Zone | None:
    """The zone, each once; None for UTC, which never changes.

    :raises KeyError: there is none of that name
    """
    return None if name == "UTC" else Zone(name)


def _in_segment(segment: Segment, times: Times, first: int, often: bool) -> int | None:
    """The first run in ``segment`` that is not before ``first``."""
    start, end, offset, before = segment
    first = max(first, start)
    # What the clock shows a second time has run in the segment before.
    shown_until = start + before if offset < before and not often else first + offset
    local = times.at_or_after(max(first + offset, shown_until))
    found = None if local is None or local - offset >= end else local - offset
    if offset > before:
        left_out = times.at_or_after(first + before)
        if left_out is not None and left_out < start + offset:
            shifted = left_out - before
            if shifted < end and (found is None or shifted < found):
                return shifted
    return found
