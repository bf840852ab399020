"""Which spans a search is about: its input as a list of tests.

A test gets an item, which of its spans is meant, and the offset of the item's clock.  What
was not asked for costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from iii.modules.observability.beyond import Pair, SortBy
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.records import SpanMaker
from iii.modules.observability.spans.shapes import ListInput

Test = Callable[[Item, int, int], bool]

_SORTS: dict[str | None, SortBy] = {
    "duration": "duration",
    "duration_ms": "duration",
    "name": "name",
    "service_name": "service_name",
}
#: Some thirty thousand years.
_FAR_MS = 1e15


def pairs(lists: list[list[str]] | None) -> list[Pair]:
    """Attributes and their values; lists of another length don't count."""
    return [(one[0], one[1]) for one in lists or [] if len(one) == 2]


def ns(ms: float) -> int:
    """Milliseconds as nanoseconds, exactly; what is out of all proportion is cut."""
    return round(max(-_FAR_MS, min(ms, _FAR_MS)) * 1_000) * 1_000


def order_of(asked: ListInput) -> tuple[SortBy, bool]:
    """What spans are sorted by, and whether the last come first."""
    descending = (asked.sort_order or "asc").lower() != "asc"
    return _SORTS.get(asked.sort_by, "start_time"), descending


def traces_of(asked: ListInput) -> set[str] | None:
    """The traces that are asked for; None: all."""
    if asked.trace_id is None:
        return None if asked.trace_ids is None else set(asked.trace_ids)
    one = {asked.trace_id}
    return one if asked.trace_ids is None else one.intersection(asked.trace_ids)


def tests_of(asked: ListInput, maker: SpanMaker) -> list[Test]:
    """What every span that is found passes, whatever its attributes."""
    return [*_texts(asked, maker), *_durations(asked), *_times(asked)]


def _texts(asked: ListInput, maker: SpanMaker) -> list[Test]:
    tests: list[Test] = []
    if asked.status:
        status = asked.status.lower()
        tests.append(lambda item, part, offset_ns: status in of.status(item))
    if asked.name:
        name = asked.name.lower()
        tests.append(lambda item, part, offset_ns: name in of.name(item, part).lower())
    if asked.service_name:
        service = asked.service_name.lower()
        tests.append(lambda item, part, offset_ns: service in of.service(item, maker).lower())
    return tests


def _durations(asked: ListInput) -> list[Test]:
    tests: list[Test] = []
    least, most = asked.min_duration_ms, asked.max_duration_ms
    if least is not None:
        tests.append(lambda item, part, offset_ns: of.duration_ms(item) >= least)
    if most is not None:
        tests.append(lambda item, part, offset_ns: of.duration_ms(item) <= most)
    return tests


def _times(asked: ListInput) -> list[Test]:
    tests: list[Test] = []
    start_ms, end_ms = asked.start_time, asked.end_time
    if start_ms is not None:
        start_ns = ns(start_ms)
        tests.append(lambda item, part, offset_ns: of.end_ns(item, offset_ns) >= start_ns)
    if end_ms is not None:
        end_ns = ns(end_ms)
        tests.append(lambda item, part, offset_ns: of.start_ns(item, offset_ns) <= end_ns)
    return tests


def has_all(wanted: list[Pair], maker: SpanMaker) -> Test:
    """Passes spans that have all of these attributes."""
    return lambda item, part, offset_ns: all(of.has(item, part, pair, maker) for pair in wanted)


def has_none(unwanted: list[Pair], maker: SpanMaker) -> Test:
    """Passes spans that have none of them."""
    return lambda item, part, offset_ns: (
        not any(of.has(item, part, pair, maker) for pair in unwanted)
    )
