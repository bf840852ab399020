"""``engine::logs::list`` and ``engine::logs::clear``."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from iii.engine.clock import Clock
from iii.engine.module import ModuleApi
from iii.engine.native import Empty
from iii.modules.observability.logs.shapes import ListInput, LogRow
from iii.modules.observability.logs.store import Entry, LogStore

NO_STORE = "No log storage initialized"
#: Entries looked at before others get their turn.
SLICE = 5_000
MAX_NS = 2**64 - 1


class LogList(Struct):
    """The answer of ``list``; without ``query`` when nothing is stored at all."""

    logs: list[LogRow]
    total: int
    timestamp: int
    query: ListInput | UnsetType = UNSET


class ClearAnswer(Struct):
    """The answer of ``clear``."""

    success: bool = True
    message: str | UnsetType = UNSET


class LogQueries:
    """Answers what is asked about a store.

    :param store: None: logs are not stored
    """

    def __init__(self, store: LogStore | None, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def offer(self, engine: ModuleApi) -> None:
        """Offer the functions."""
        engine.functions(
            (
                ("engine::logs::list", self.rows, ListInput, LogList, "List stored logs"),
                ("engine::logs::clear", self.clear, Empty, ClearAnswer, "Remove stored logs"),
            ),
            {},
        )

    def clear(self, _: Empty) -> ClearAnswer:
        """``engine::logs::clear``."""
        if self._store is None:
            return ClearAnswer(message=NO_STORE)
        self._store.clear()
        return ClearAnswer()

    async def rows(self, wanted: ListInput) -> LogList | Raw:
        """``engine::logs::list``."""
        if self._store is None:
            return LogList([], 0, self._clock.wall_ms())
        total, page = await self._found(self._store, wanted)
        rows = b",".join(entry.row for entry in page)
        query = msgspec.json.encode(wanted)
        return Raw(
            b'{"logs":[%b],"total":%d,"query":%b,"timestamp":%d}'
            % (rows, total, query, self._clock.wall_ms())
        )

    async def _found(self, store: LogStore, wanted: ListInput) -> tuple[int, list[Entry]]:
        """How many match, and those of the page."""
        start, end = _ns(wanted.start_time, 0), _ns(wanted.end_time, MAX_NS)
        if start > MAX_NS or end > MAX_NS:
            return 0, []
        page = slice(wanted.offset, None)
        if wanted.limit is not None:
            page = slice(wanted.offset, (wanted.offset or 0) + wanted.limit)
        places = store.places(start, end)
        if _asks_only_for_a_time(wanted):
            return len(places), store.at(places[page])
        if wanted.trace_id is None:
            entries = store.at(places)
        else:
            of_trace = store.of_trace(wanted.trace_id)
            entries = [entry for entry in of_trace if start <= entry.ns <= end]
        found = await self._matching(entries, wanted)
        return len(found), found[page]

    async def _matching(self, entries: list[Entry], wanted: ListInput) -> list[Entry]:
        """Those of ``entries`` that match in everything but time and trace."""
        text = None if wanted.severity_text is None else wanted.severity_text.lower()
        least, span_id = wanted.severity_min, wanted.span_id
        found: list[Entry] = []
        for first in range(0, len(entries), SLICE):
            if first:
                await self._clock.pause()
            found += [
                entry
                for entry in entries[first : first + SLICE]
                if (least is None or entry.number >= least)
                and (text is None or entry.severity == text)
                and (span_id is None or entry.span_id == span_id)
            ]
        return found


def _asks_only_for_a_time(wanted: ListInput) -> bool:
    others = (wanted.trace_id, wanted.span_id, wanted.severity_min, wanted.severity_text)
    return all(value is None for value in others)


def _ns(ms: int | None, absent: int) -> int:
    return absent if ms is None else ms * 1_000_000
