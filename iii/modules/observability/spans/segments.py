"""Stored items in segments, and what is known about each of them.

A segment is a list that is filled and then left alone, so what was found out about it
holds as long as it exists.  An ``Index`` is made when somebody searches, not before: most
items are evicted without anybody having asked for them.

A *spot* is the place of a span in its segment: twice the place of its item, and one more
for the second span of a call.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from iii.modules.observability.attributes import is_tag
from iii.modules.observability.model import Span
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.records import SpanMaker

#: A segment is full when it has so many items, and takes in no more than this at once.
SEGMENT_ITEMS = 1_024
#: So many segments share a table of ids.
_GENERATION = 64

# Of a trace's key so many bits, and a spot, fit into a number of 64 bits.
_KEY_BITS = (1 << 46) - 1
_SPOT_BITS = 16


class Segment:
    """Items of one time.

    :ivar number: grows from segment to segment
    :ivar offset_ns: wall time minus monotonic time, for the records in it
    :ivar spans: how many the items are
    :ivar size: about how many bytes they take
    """

    __slots__ = ("index", "items", "number", "offset_ns", "size", "spans")

    def __init__(self, number: int, offset_ns: int) -> None:
        self.number = number
        self.offset_ns = offset_ns
        self.items: list[Item] = []
        self.spans = 0
        self.size = 0
        self.index: Index | None = None


class Index:
    """What searching needs to know about the first items of a segment.

    :ivar items: how many it knows
    :ivar roots: spots of spans without a parent
    :ivar internal: the same of the engine's own functions
    :ivar children: spots of spans whose parent is not known to be stored for as long as
        they are
    :ivar first_ns: when the earliest span began
    :ivar newest_ns: when the latest span began
    :ivar last_ns: when the last one ended
    :ivar tagged: trace key → spots of spans that have a tag
    """

    __slots__ = (
        "_traces",
        "children",
        "first_ns",
        "internal",
        "items",
        "last_ns",
        "newest_ns",
        "roots",
        "tagged",
    )

    def __init__(self, segment: Segment, ids: SpanIds, maker: SpanMaker) -> None:
        self.roots = array("H")
        self.internal = array("H")
        self.children = array("H")
        self.tagged: dict[int, list[int]] = {}
        self.items = len(segment.items)
        traces: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        own, number = ids.table(segment.number), segment.number
        offset_ns = segment.offset_ns
        parents: list[tuple[int, int]] = []
        for place, item in enumerate(segment.items):
            spot = 2 * place
            trace = of.trace_key(of.trace_of(item))
            traces.append((trace & _KEY_BITS) << _SPOT_BITS | spot)
            starts.append(of.start_ns(item, offset_ns))
            ends.append(of.end_ns(item, offset_ns))
            parent, key = of.keys_of(item, 0)
            if own.get(key, -1) < number:  # a later segment may hold the same once more
                own[key] = number
            if parent is not None:
                parents.append((parent, spot))
            elif of.is_internal(item, maker):
                self.internal.append(spot)
            else:
                self.roots.append(spot)
            if of.parts_of(item) == 2:
                # Its parent is the outer span, beside it.
                own[of.keys_of(item, 1)[1]] = number
            if isinstance(item, Span) and any(is_tag(name) for name, _ in item.attributes):
                self.tagged.setdefault(trace, []).append(spot)
        traces.sort()
        self._traces = array("q", traces)
        self.children.extend(spot for parent, spot in parents if own.get(parent) != number)
        self.first_ns = min(starts, default=0)
        self.newest_ns = max(starts, default=0)
        self.last_ns = max(ends, default=0)

    def of_trace(self, key: int) -> list[int]:
        """Spots of items of a trace; very rarely of another as well."""
        traces = self._traces
        low = (key & _KEY_BITS) << _SPOT_BITS
        first = bisect_left(traces, low)
        end = bisect_left(traces, low + (1 << _SPOT_BITS), first)
        return [found - low for found in traces[first:end]]


class SpanIds:
    """Which segment holds a span.

    In tables that each serve some segments: the oldest is let go whole, which costs nothing
    where calls are under way.

    :ivar first: segments before it are gone
    """

    def __init__(self) -> None:
        self._tables: list[tuple[int, dict[int, int]]] = []
        self.first = 0

    def table(self, number: int) -> dict[int, int]:
        """Span key → segment, for the spans of segment ``number``."""
        generation = number // _GENERATION
        for known, table in reversed(self._tables):
            if known == generation:
                return table
        fresh: dict[int, int] = {}
        self._tables.append((generation, fresh))
        return fresh

    def segment_of(self, key: int) -> int | None:
        """The segment that holds a span; None: it is not stored."""
        for _, table in reversed(self._tables):
            number = table.get(key)
            if number is not None and number >= self.first:
                return number
        return None

    def forget_before(self, number: int) -> None:
        """Segments before ``number`` are gone."""
        self.first = number
        if self._tables and (self._tables[0][0] + 1) * _GENERATION <= number:
            kept = [one for one in self._tables if (one[0] + 1) * _GENERATION > number]
            self._tables = kept

    def discard(self, number: int, keys: Iterable[int]) -> None:
        """Spans of segment ``number`` that it holds no more."""
        table = self.table(number)
        for key in keys:
            if table.get(key) == number:
                del table[key]
