"""Spans in memory: the newest so many, within so many bytes.

What the engine records is kept as the tuples it comes in; they are weighed and appended,
and that is all that happens where calls are under way.  Whole segments are evicted there,
so a few more may be held than are allowed; ``view`` takes the rest out before anybody
looks, so exactly the newest are seen (docs/observability.md, "Spans").

Spans under way are kept apart: they are as new as now, and gone when their end comes in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from iii.engine.clock import Clock
from iii.errors import Code, IIIError
from iii.modules.observability.hub import Hub, RawRecord
from iii.modules.observability.model import Span
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.segments import SEGMENT_ITEMS, Index, Segment, SpanIds

PENDING_MAX_AGE_S = 3_600
NOT_RECORDED = "In-memory span storage is not available. Set exporter: memory or both in config."


@dataclass(frozen=True, slots=True)
class Stats:
    """What is stored: spans and bytes; how many spans were evicted since the start."""

    spans: int
    bytes: int
    evicted: int


@dataclass(frozen=True, slots=True)
class View:
    """A segment as a search sees it."""

    segment: Segment
    index: Index


class SpanStore:
    """All spans that are kept."""

    def __init__(self, hub: Hub) -> None:
        settings = hub.settings
        storage = settings.trace_storage
        self.maker = hub.maker
        self._hub = hub
        self._clock: Clock = hub.engine.clock
        self._live = settings.live_spans
        self._max_spans = settings.memory_max_spans
        self._max_bytes = settings.memory_max_bytes
        self._pending_max_age_s = (
            PENDING_MAX_AGE_S if storage is None else storage.pending_max_age_seconds
        )
        self._evicted = 0
        # Key → when it came in, and the span; the oldest first.
        self._pending: dict[int, tuple[float, Span]] = {}
        self._pending_bytes = 0
        self._next = 0
        self._segments: deque[Segment] = deque()
        self._ids = SpanIds()
        self._forget_segments()

    def start(self) -> None:
        """Part: keep what comes in, as the settings say."""
        if not self._hub.settings.traced:
            return
        if self._hub.settings.exporter != "otlp":
            self._hub.on_records(self._recorded)
        self._hub.on_ingested(self._ingested)

    def stop(self) -> None:
        """Part: keep nothing more."""
        self._hub.forget(self._recorded)
        self._hub.forget(self._ingested)

    def clear(self) -> None:
        """Forget everything."""
        self.require()
        self._hub.flush()
        self._pending.clear()
        self._pending_bytes = 0
        self._forget_segments()

    def require(self) -> None:
        """Something is asked of the store.

        :raises IIIError: nothing is recorded
        """
        if not self._hub.settings.traced:
            raise IIIError(Code.MEMORY_EXPORTER_NOT_ENABLED, NOT_RECORDED)

    @property
    def stats(self) -> Stats:
        """How much there is."""
        self._hub.flush()
        self._make_room()
        spans = self._spans + len(self._pending)
        return Stats(spans, self._bytes + self._pending_bytes, self._evicted)

    # Adding ----------------------------------------------------------------------------

    def _recorded(self, records: list[RawRecord]) -> None:
        offset_ns = self.maker.offset_ns
        if offset_ns != self._open.offset_ns:
            if self._open.items:
                self._seal(offset_ns)
            self._open.offset_ns = offset_ns
        for first in range(0, len(records), SEGMENT_ITEMS):
            batch = records[first : first + SEGMENT_ITEMS]
            self._append(batch, *of.weigh(batch))

    def _ingested(self, spans: list[Span]) -> None:
        batch: list[Span] = []
        for span in spans:
            if span.pending:
                if self._live:
                    self._hold(span)
                continue
            if self._pending:
                self._release(of.span_key(span.trace_id, span.span_id))
            batch.append(span)
        for first in range(0, len(batch), SEGMENT_ITEMS):
            some = batch[first : first + SEGMENT_ITEMS]
            self._append(some, len(some), of.size_of(some))
        self._drop_overdue()
        self._evict()

    def _append(self, items: Iterable[Item], spans: int, size: int) -> None:
        segment = self._open
        segment.items.extend(items)
        segment.spans += spans
        segment.size += size
        self._spans += spans
        self._bytes += size
        if len(segment.items) >= SEGMENT_ITEMS:
            self._seal(segment.offset_ns)
        self._evict()

    def _seal(self, offset_ns: int) -> None:
        self._open = Segment(self._next, offset_ns)
        self._next += 1
        self._segments.append(self._open)

    def _forget_segments(self) -> None:
        self._segments.clear()
        self._ids = SpanIds()
        self._ids.first = self._next
        self._spans = self._bytes = 0
        self._seal(self.maker.offset_ns)

    # Spans under way -------------------------------------------------------------------

    def _hold(self, span: Span) -> None:
        key = of.span_key(span.trace_id, span.span_id)
        self._release(key)
        self._pending[key] = (self._clock.monotonic(), span)
        self._pending_bytes += of.size_of([span])

    def _release(self, key: int) -> None:
        held = self._pending.pop(key, None)
        if held is not None:
            self._pending_bytes -= of.size_of([held[1]])

    def _drop_overdue(self) -> None:
        overdue = self._clock.monotonic() - self._pending_max_age_s
        while self._pending:
            key, (came, _) = next(iter(self._pending.items()))
            if came > overdue:
                return
            self._release(key)

    # Evicting --------------------------------------------------------------------------

    def _evict(self) -> None:
        """Let go of whole segments, and hold what is left to its bytes."""
        segments = self._segments
        while len(segments) > 1:
            if (
                self._spans - segments[0].spans < self._max_spans
                and self._bytes + self._pending_bytes <= self._max_bytes
            ):
                return
            self._drop_oldest()
        while self._open.items and (
            (over := self._bytes + self._pending_bytes - self._max_bytes) > 0
        ):
            self._cut(bytes_over=over)
        while self._pending and self._pending_bytes > self._max_bytes:
            self._drop_oldest_pending()

    def _make_room(self) -> None:
        """Exactly the newest are left."""
        self._drop_overdue()
        while len(self._pending) > self._max_spans:
            self._drop_oldest_pending()
        while (over := self._spans + len(self._pending) - self._max_spans) > 0:
            if len(self._segments) > 1 and self._segments[0].spans <= over:
                self._drop_oldest()
            else:
                self._cut(spans_over=over)

    def _drop_oldest(self) -> None:
        segment = self._segments.popleft()
        self._spans -= segment.spans
        self._bytes -= segment.size
        self._evicted += segment.spans
        self._ids.forget_before(self._segments[0].number)

    def _drop_oldest_pending(self) -> None:
        self._release(next(iter(self._pending)))
        self._evicted += 1

    def _cut(self, *, spans_over: int = 0, bytes_over: int = 0) -> None:
        """Take so many spans, or bytes, out of the oldest segment."""
        old = self._segments[0]
        new = Segment(old.number, old.offset_ns)
        place = spans = size = 0
        gone: list[int] = []
        rest: list[Item] = []
        for item in old.items:
            if spans >= spans_over and size >= bytes_over:
                break
            place += 1
            if of.parts_of(item) == 2 and spans + 1 == spans_over and size >= bytes_over:
                # The outer span of this call goes, the inner stays.
                rest = [of.inner_of(item)]
                gone.append(of.keys_of(item, 0)[1])
                spans += 1
                break
            gone.extend(of.keys_of(item, part)[1] for part in range(of.parts_of(item)))
            spans += of.parts_of(item)
            size += of.size_of([item])
        new.items = rest + old.items[place:]
        new.spans = old.spans - spans
        # Not what is left of the old size: batches weigh a little less than their items.
        new.size = of.size_of(new.items)
        self._segments[0] = new
        if old is self._open:
            self._open = new
        if old.index is not None:
            self._ids.discard(old.number, gone)
        self._spans -= spans
        self._bytes += new.size - old.size
        self._evicted += spans

    # Looking ---------------------------------------------------------------------------

    def segments(self) -> list[Segment]:
        """Everything that is stored, the oldest first, without spans under way."""
        self._hub.flush()
        self._make_room()
        return list(self._segments)

    async def view(self, pace: Pace) -> list[View]:
        """Everything that is stored, the oldest first; spans under way are last.

        :raises IIIError: nothing is recorded
        """
        self.require()
        views = []
        for segment in self.segments():
            await pace.keep()
            if segment.number < self._ids.first or not segment.items:
                continue  # it was evicted while others had their turn
            index = segment.index
            if index is None or index.items != len(segment.items):
                index = segment.index = Index(segment, self._ids, self.maker)
            views.append(View(segment, index))
        if self._pending:
            views.append(self._under_way())
        return views

    def holds(self, key: int) -> bool:
        """Whether a span is stored; only spans that ``view`` has shown are known."""
        return key in self._pending or self._ids.segment_of(key) is not None

    def orphans(self, view: View) -> list[int]:
        """Spots of the spans in a segment whose parent is not stored."""
        children = view.index.children
        if not children:
            return []
        items, number = view.segment.items, view.segment.number
        found, unsettled = [], []
        for spot in children:
            parent, _ = of.keys_of(items[spot >> 1], spot & 1)
            if parent is None:
                continue
            at = self._ids.segment_of(parent)
            if at is None or at <= number:
                # A parent that is stored as long as its child needs no second look.
                unsettled.append(spot)
            if at is None and parent not in self._pending:
                found.append(spot)
        if len(unsettled) < len(children):
            view.index.children = view.index.children[:0]
            view.index.children.extend(unsettled)
        return found

    def _under_way(self) -> View:
        segment = Segment(self._next, self._open.offset_ns)
        for key, (_, span) in list(self._pending.items()):
            if self._ids.segment_of(key) is not None:
                self._release(key)  # its end came in before its beginning
            else:
                segment.items.append(span)
        # Not among the ids: they come and go.
        return View(segment, Index(segment, SpanIds(), self.maker))
