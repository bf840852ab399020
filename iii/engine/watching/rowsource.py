"""A topic that is a list: how it is, and how it changes.

The list is read when something says that it changed (``changed``), or every so often, and
compared with what was told before.  Nothing is read while nobody watches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Clock, Timer
from iii.engine.watching.feeds import Items, Outlet

log = Logger()

#: Changes within this time are told together.
CHANGES_S = 0.2
#: Nothing is read more often than that because it might have changed.
LOOK_S = 5.0
#: A long list is read less often: reading it takes at most this share of the time.
READING_SHARE = 0.01

Row = dict[str, Any]
Read = Callable[[], list[Row] | Awaitable[list[Row]]]


class RowSource:
    """A source of rows, told apart by one of their fields.

    :param key: the name of that field; a row that is gone is told as this field alone
    :param read: all rows
    :param every_s: look that often; None: only after ``changed``
    :param changes_s: so long after ``changed``
    :param closed: called at the end
    """

    def __init__(
        self,
        outlet: Outlet,
        clock: Clock,
        key: str,
        read: Read,
        *,
        every_s: float | None = None,
        changes_s: float = CHANGES_S,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._outlet = outlet
        self._clock = clock
        self._key = key
        self._read = read
        self._every_s = every_s
        self._changes_s = changes_s
        self._closed = closed
        self._known: dict[Any, tuple[bytes, Row]] | None = None
        self._beginners: list[Deferred[Items]] = []
        self._reading = False
        self._again = False
        self._over = False
        self._timer: Timer | None = None
        self._due = 0.0
        self._rest_s = 0.0

    def rows(self) -> Items | Deferred[Items]:
        """Source: all of them."""
        if self._known is not None:
            return [row for _, row in self._known.values()]
        first: Deferred[Items] = Deferred()
        self._beginners.append(first)
        self._look()
        return first if self._known is None else self.rows()

    def close(self) -> None:
        """Source: no more looks."""
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._closed()

    def changed(self) -> None:
        """Something is different: look soon."""
        if self._known is not None and not self._over:
            self._in(max(self._changes_s, self._rest_s))

    def put(self, row: Row) -> None:
        """One row is new, or different; tell it at once."""
        if self._known is None:
            return
        key, written = row[self._key], msgspec.json.encode(row)
        before = self._known.get(key)
        self._known[key] = (written, row)
        if before is None:
            self._outlet.tell("add", [row])
        elif before[0] != written:
            self._outlet.tell("update", [row])

    def drop(self, key: Any) -> None:
        """One row is gone."""
        if self._known is not None and self._known.pop(key, None) is not None:
            self._outlet.tell("remove", [{self._key: key}])

    # Inside --------------------------------------------------------------------------------

    def _in(self, delay_s: float) -> None:
        """Look then, unless that happens sooner anyway."""
        due = self._clock.monotonic() + delay_s
        if self._timer is not None and self._timer.active():
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._clock.call_later(delay_s, self._look)

    def _look(self) -> None:
        if self._reading:
            self._again = True
            return
        self._reading = True
        self._began = self._clock.monotonic()
        try:
            read = self._read()
        except Exception:
            self._failed(Failure())
            return
        if isawaitable(read):
            reading = Deferred.fromCoroutine(_awaited(read))
            reading.addCallbacks(self._compare, self._failed)
            reading.addErrback(self._failed)
        else:
            self._compare(read)

    def _compare(self, rows: list[Row]) -> None:
        self._reading = False
        if self._over:
            return
        before = self._known or {}
        known = {row[self._key]: (msgspec.json.encode(row), row) for row in rows}
        first, self._known = self._known is None, known
        if not first:
            gone = [{self._key: key} for key in before if key not in known]
            new = [row for key, (_, row) in known.items() if key not in before]
            other = [
                row
                for key, (written, row) in known.items()
                if key in before and before[key][0] != written
            ]
            for event, items in (("remove", gone), ("add", new), ("update", other)):
                if items:
                    self._outlet.tell(event, items)  # type: ignore[arg-type]
        beginners, self._beginners = self._beginners, []
        for beginner in beginners:
            beginner.callback(rows)
        self._rest_s = (self._clock.monotonic() - self._began) / READING_SHARE
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        self._reading = False
        if self._over:
            return
        beginners, self._beginners = self._beginners, []
        for beginner in beginners:
            beginner.errback(failure)
        if not beginners:
            log.failure("a watched list can't be read", failure)
        self._go_on()

    def _go_on(self) -> None:
        if self._again:
            self._again = False
            self._in(max(self._changes_s, self._rest_s))
        elif self._every_s is not None:
            self._in(max(self._every_s, self._rest_s))


async def _awaited(read: Awaitable[list[Row]]) -> list[Row]:
    return await read
