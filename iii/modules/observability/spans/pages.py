"""Lists that somebody else makes: the question to them, and any list as an answer."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from iii.modules.observability.beyond import Found, Query, Storage
from iii.modules.observability.spans import filters
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.query import window_of
from iii.modules.observability.spans.shapes import ListInput, row_of


def query_of(asked: ListInput) -> Query:
    """What is asked, as a question to whatever remembers longer than memory."""
    traces = filters.traces_of(asked)
    start_ms, end_ms = asked.start_time, asked.end_time
    sort_by, descending = filters.order_of(asked)
    offset, limit = window_of(asked)
    return Query(
        trace_ids=None if traces is None else sorted(traces),
        name=asked.name,
        service=asked.service_name,
        status=asked.status,
        min_duration_ms=asked.min_duration_ms,
        max_duration_ms=asked.max_duration_ms,
        since_ns=None if start_ms is None else filters.ns(start_ms),
        until_ns=None if end_ms is None else filters.ns(end_ms),
        attributes=filters.pairs(asked.attributes),
        exclude_attributes=filters.pairs(asked.exclude_attributes),
        internal=bool(asked.include_internal),
        children=bool(asked.search_all_spans),
        sort_by=sort_by,
        descending=descending,
        offset=offset,
        limit=limit,
        count_spans=bool(asked.count_spans),
    )


async def page_of(
    found: Found, asked: ListInput, pace: Pace, storage: Storage | None = None
) -> Raw:
    """``found`` as JSON.

    :param storage: how it is, if there is any
    """
    rows = []
    for span in found.spans:
        await pace.keep()
        trace = span.trace_id
        row = row_of(span, found.tags.get(trace), found.span_counts.get(trace))
        rows.append(msgspec.json.encode(row))
    offset, limit = window_of(asked)
    more = f'"total":{found.total},"offset":{offset},"limit":{limit}'.encode()
    if storage is not None:
        more += b',"storage":' + msgspec.json.encode(storage)
    return Raw(b'{"spans":[%b],%b}' % (b",".join(rows), more))
