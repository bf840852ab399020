"""Spans grouped by the value of an attribute, and the durations of all of them."""

from __future__ import annotations

from itertools import chain

from iii.modules.observability.spans import filters
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.items import Item
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.query import STEP_SPANS, spots
from iii.modules.observability.spans.shapes import DEFAULT_LIMIT, Group, GroupByInput, Groups
from iii.modules.observability.spans.store import SpanStore

#: An answer has no more groups than this, whatever its limit.
MAX_GROUPS = 10_000
_NS_PER_MS = 1_000_000


class _Group:
    __slots__ = ("errors", "first_ns", "label", "labelled_ns", "last_ns", "spans", "traces")

    def __init__(self, start_ns: int) -> None:
        self.first_ns = start_ns
        self.last_ns = start_ns
        self.label: str | None = None
        self.labelled_ns = 0
        self.spans = 0
        self.errors = 0
        self.traces: set[str] = set()


async def group_by(store: SpanStore, pace: Pace, asked: GroupByInput) -> Groups:
    """``engine::traces::group_by``: groups by their last span, the newest first."""
    groups: dict[str, _Group] = {}
    maker, name = store.maker, asked.attribute
    since_ns = None if asked.since_ms is None else filters.ns(asked.since_ms)
    for view in await store.view(pace):
        if since_ns is not None and view.index.last_ns < since_ns:
            continue
        items, offset_ns = view.segment.items, view.segment.offset_ns
        for spot in spots(view):
            if not spot % STEP_SPANS:
                await pace.keep()
            item, part = items[spot >> 1], spot & 1
            value = of.attribute(item, part, name, maker)
            if value is None:
                continue
            if since_ns is not None and of.end_ns(item, offset_ns) < since_ns:
                continue
            if not asked.include_internal and of.is_internal(item, maker):
                continue
            group = groups.get(value)
            if group is None:
                group = groups[value] = _Group(of.start_ns(item, offset_ns))
            _add(group, item, offset_ns)
            if asked.label_attribute is not None:
                label = of.attribute(item, part, asked.label_attribute, maker)
                start_ns = of.start_ns(item, offset_ns)
                if label is not None and start_ns >= group.labelled_ns:
                    group.label, group.labelled_ns = label, start_ns
    limit = DEFAULT_LIMIT if asked.limit is None else min(asked.limit, MAX_GROUPS)
    newest = sorted(groups.items(), key=lambda one: one[1].last_ns, reverse=True)[:limit]
    rows = []
    for value, group in newest:
        await pace.keep()
        rows.append(_row(value, group))
    return Groups(rows)


def _add(group: _Group, item: Item, offset_ns: int) -> None:
    group.spans += 1
    group.traces.add(of.trace_of(item))
    group.first_ns = min(group.first_ns, of.start_ns(item, offset_ns))
    group.last_ns = max(group.last_ns, of.end_ns(item, offset_ns))
    if of.status(item) == "error":
        group.errors += 1


def _row(value: str, group: _Group) -> Group:
    first_ms, last_ms = group.first_ns // _NS_PER_MS, group.last_ns // _NS_PER_MS
    return Group(
        value=value,
        label=value if group.label is None else group.label,
        trace_ids=sorted(group.traces),
        span_count=group.spans,
        first_seen_ms=first_ms,
        last_seen_ms=last_ms,
        duration_ms=last_ms - first_ms,
        error_count=group.errors,
    )


async def durations_ms(store: SpanStore, pace: Pace) -> list[float]:
    """How long every stored span took, the shortest first."""
    runs: list[list[float]] = []
    for segment in store.segments():
        await pace.keep()
        run: list[float] = []
        for item in segment.items:
            duration = of.duration_ms(item)
            run += (duration,) * of.parts_of(item)
        run.sort()
        runs.append(run)
    # Runs are merged in pairs, so that no single step is long.
    while len(runs) > 1:
        merged = []
        for at in range(0, len(runs), 2):
            await pace.keep()
            merged.append(sorted(chain(*runs[at : at + 2])))
        runs = merged
    return runs[0] if runs else []
