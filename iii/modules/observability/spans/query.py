"""Searching the store in memory.

``total`` counts every match, so without filters a search adds up what the indexes know,
and looks at spans themselves only where the page is: segments come in the order of time,
and once the page is full of spans that are earlier than a whole segment, that segment is
only counted.  A search with filters reads what the filters ask of every span, in slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from iii.modules.observability.attributes import Tags, tags_of
from iii.modules.observability.beyond import Found, Pair, SortBy
from iii.modules.observability.model import Span
from iii.modules.observability.spans import filters
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.records import SpanMaker
from iii.modules.observability.spans.shapes import DEFAULT_LIMIT, ListInput
from iii.modules.observability.spans.store import SpanStore, View

#: A page has no more spans than this, whatever its limit.
MAX_PAGE_SPANS = 10_000
#: So many spans are looked at before the time is.
STEP_SPANS = 256

Candidate = tuple[Any, int, int]
"""What a span is sorted by; the number of its segment and its spot decide between equals."""

Key = Callable[[Item, int, int, SpanMaker], Any]
"""What an item's span is sorted by: the item, which span, the offset of its clock."""


def _by_start(item: Item, part: int, offset_ns: int, maker: SpanMaker) -> int:
    return of.start_ns(item, offset_ns)


def _by_duration(item: Item, part: int, offset_ns: int, maker: SpanMaker) -> float:
    return of.duration_ms(item)


def _by_name(item: Item, part: int, offset_ns: int, maker: SpanMaker) -> str:
    return of.name(item, part)


def _by_service(item: Item, part: int, offset_ns: int, maker: SpanMaker) -> str:
    return of.service(item, maker)


_KEYS: dict[SortBy, Key] = {
    "start_time": _by_start,
    "duration": _by_duration,
    "name": _by_name,
    "service_name": _by_service,
}


def window_of(asked: ListInput) -> tuple[int, int]:
    """How many spans are before the page, and how many may be on it."""
    limit = DEFAULT_LIMIT if asked.limit is None else asked.limit
    return asked.offset or 0, min(limit, MAX_PAGE_SPANS)


def span_at(store: SpanStore, view: View, spot: int) -> Span:
    """The span at a spot."""
    item = view.segment.items[spot >> 1]
    if isinstance(item, Span):
        return item
    return store.maker.span(item, spot & 1, view.segment.offset_ns)


def spots(view: View) -> Iterator[int]:
    """Of all spans of a segment that its index knows."""
    items = view.segment.items
    for place in range(view.index.items):
        yield from range(2 * place, 2 * place + of.parts_of(items[place]))


def spots_of_trace(view: View, trace_id: str) -> list[int]:
    """The same of one trace."""
    items = view.segment.items
    found: list[int] = []
    for spot in view.index.of_trace(of.trace_key(trace_id)):
        item = items[spot >> 1]
        if of.trace_of(item) == trace_id:
            found += range(spot, spot + of.parts_of(item))
    return found


class Search:
    """One ``engine::traces::list``."""

    def __init__(self, store: SpanStore, pace: Pace, asked: ListInput) -> None:
        self._store = store
        self._asked = asked
        self._pace = pace
        self._offset, self._limit = window_of(asked)
        sort_by, self._descending = filters.order_of(asked)
        self._key = _KEYS[sort_by]
        self._by_time = self._key is _by_start
        self._tests = filters.tests_of(asked, store.maker)
        self._traces = filters.traces_of(asked)
        self._total = 0
        self._best: list[Candidate] = []
        self._views: dict[int, View] = {}

    async def run(self) -> Found:
        """The page."""
        views = await self._store.view(self._pace)
        self._views = {view.segment.number: view for view in views}
        await self._look_at_attributes(views)
        for view in self._in_order(views):
            await self._pace.keep()
            await self._take(view)
        self._keep_best()
        page = [
            (self._views[number], spot)
            for _, number, spot in self._best[self._offset : self._offset + self._limit]
        ]
        return await self._found(page, views)

    # Finding ---------------------------------------------------------------------------

    async def _look_at_attributes(self, views: list[View]) -> None:
        asked, maker = self._asked, self._store.maker
        wanted, unwanted = filters.pairs(asked.attributes), filters.pairs(asked.exclude_attributes)
        if not asked.search_all_spans:
            if wanted:
                self._tests.append(filters.has_all(wanted, maker))
            if unwanted:
                self._tests.append(filters.has_none(unwanted, maker))
            return
        for pair in wanted:
            having = await self._traces_with(pair, views)
            self._traces = having if self._traces is None else self._traces & having
        without: set[str] = set()
        for pair in unwanted:
            without |= await self._traces_with(pair, views)
        if without:
            self._tests.append(lambda item, part, offset_ns: of.trace_of(item) not in without)

    async def _traces_with(self, pair: Pair, views: list[View]) -> set[str]:
        """The traces that have a span with this attribute."""
        test = filters.has_all([pair], self._store.maker)
        having = set()
        for view in views:
            items = view.segment.items
            for spot in spots(view):
                if not spot % STEP_SPANS:
                    await self._pace.keep()
                if test(items[spot >> 1], spot & 1, 0):
                    having.add(of.trace_of(items[spot >> 1]))
        return having

    def _in_order(self, views: list[View]) -> list[View]:
        """The segments within the time that is asked for, the one to begin with first."""
        start_ms, end_ms = self._asked.start_time, self._asked.end_time
        if start_ms is not None:
            start_ns = filters.ns(start_ms)
            views = [view for view in views if view.index.last_ns >= start_ns]
        if end_ms is not None:
            end_ns = filters.ns(end_ms)
            views = [view for view in views if view.index.first_ns <= end_ns]
        if not self._by_time:
            return views
        if self._descending:
            return sorted(views, key=lambda view: view.index.newest_ns, reverse=True)
        return sorted(views, key=lambda view: view.index.first_ns)

    async def _take(self, view: View) -> None:
        """Count what a segment has, and keep what may be on the page."""
        segment, tests, key = view.segment, self._tests, self._key
        items, offset_ns, number = segment.items, segment.offset_ns, segment.number
        candidates = list(self._candidates(view))
        if not tests and self._is_past(view):
            self._total += len(candidates)
            return
        best, maker = self._best, self._store.maker
        for count, spot in enumerate(candidates):
            if not count % STEP_SPANS:
                await self._pace.keep()
            item, part = items[spot >> 1], spot & 1
            for test in tests:
                if not test(item, part, offset_ns):
                    break
            else:
                self._total += 1
                best.append((key(item, part, offset_ns, maker), number, spot))
        if len(best) > 2 * (self._offset + self._limit) + 1_000:
            self._keep_best()

    def _candidates(self, view: View) -> Iterator[int]:
        """Spots of roots, or of all spans."""
        asked, store = self._asked, self._store
        items, maker, index = view.segment.items, store.maker, view.index
        if self._traces is None and not asked.search_all_spans:
            orphans = store.orphans(view)
            if asked.include_internal:
                return chain(index.roots, index.internal, orphans)
            shown = (spot for spot in orphans if not of.is_internal(items[spot >> 1], maker))
            return chain(index.roots, shown)
        found: Iterator[int] = spots(view)
        if self._traces is not None:
            found = (spot for trace in self._traces for spot in spots_of_trace(view, trace))
        if not asked.search_all_spans:
            found = (spot for spot in found if self._is_root(items[spot >> 1], spot & 1))
        if not asked.include_internal:
            found = (spot for spot in found if not of.is_internal(items[spot >> 1], maker))
        return found

    def _is_root(self, item: Item, part: int) -> bool:
        parent, _ = of.keys_of(item, part)
        return parent is None or not self._store.holds(parent)

    def _is_past(self, view: View) -> bool:
        """Whether no span of a segment comes before the end of the page."""
        end = self._offset + self._limit
        if not self._by_time or len(self._best) < end:
            return False
        if not self._limit:
            return True
        self._keep_best()
        last = self._best[end - 1][0]
        index = view.index
        return bool(index.newest_ns < last if self._descending else index.first_ns > last)

    def _keep_best(self) -> None:
        self._best.sort(reverse=self._descending)
        del self._best[self._offset + self._limit :]

    # Showing ---------------------------------------------------------------------------

    async def _found(self, page: list[tuple[View, int]], views: list[View]) -> Found:
        spans = []
        for view, spot in page:
            await self._pace.keep()
            spans.append(span_at(self._store, view, spot))
        traces = {span.trace_id for span in spans}
        counts = await self._counts(traces, views) if self._asked.count_spans else {}
        return Found(spans, self._total, await self._tags(traces, views), counts)

    async def _counts(self, traces: set[str], views: list[View]) -> dict[str, int]:
        counts = dict.fromkeys(traces, 0)
        for view in views:
            for trace in traces:
                await self._pace.keep()
                counts[trace] += len(spots_of_trace(view, trace))
        return counts

    async def _tags(self, traces: set[str], views: list[View]) -> dict[str, Tags]:
        keys = set(map(of.trace_key, traces))
        tagged: list[Span] = []
        for view in views:
            await self._pace.keep()
            for key in keys & view.index.tagged.keys():
                tagged += [span_at(self._store, view, spot) for spot in view.index.tagged[key]]
        tagged.sort(key=lambda span: span.start_ns)
        return tags_of((span.trace_id, span.attributes) for span in tagged)
