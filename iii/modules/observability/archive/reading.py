"""What is asked of the archive: the spans of a trace, and lists of roots.

It runs in the file's reader thread.  Texts are compared without case, like in memory; SQLite
knows that of ASCII only, other texts are compared by Python.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from iii.modules.observability.archive.rows import COLUMNS, LAST, pair_bytes, pairs_in, span_of
from iii.modules.observability.attributes import TAG_PREFIX, TAGS, Tags, tags_of
from iii.modules.observability.beyond import Found, Query, SortBy
from iii.modules.observability.model import Span

#: One answer has so many spans at most, and about so many bytes.
MAX_READ_SPANS = 100_000
MAX_READ_BYTES = 64 * 1024 * 1024

_DURATION = "max(0, end_ns - start_ns)"
_ORDERS: dict[SortBy, str] = {
    "start_time": "start_ns",
    "duration": _DURATION,
    "name": "name",
    "service_name": "service",
}
_TEXTS = ("name", "service", "status")
_OF_TRACE = f"SELECT {COLUMNS} FROM spans WHERE trace_id = ? ORDER BY start_ns, received_us LIMIT ?"
_END = "coalesce(nullif(end_ns, 0), start_ns)"
_HAS = "instr(attributes, ?)"
_IN_TRACE_WITH = f"trace_id IN (SELECT trace_id FROM spans WHERE {_HAS})"
_GIVEN = "(SELECT value FROM json_each(?))"
#: The beginnings of tags; what else has them in it is sorted out afterwards.
_TAG_BYTES = [text.encode() for text in (TAG_PREFIX, *TAGS)]
_TAGGED = (
    f"SELECT trace_id, attributes FROM spans WHERE trace_id IN {_GIVEN} "
    f"AND ({' OR '.join([_HAS] * len(_TAG_BYTES))}) ORDER BY start_ns, received_us LIMIT ?"
)
_COUNTS = f"SELECT trace_id, count(*) FROM spans WHERE trace_id IN {_GIVEN} GROUP BY trace_id"


def spans_of(
    connection: sqlite3.Connection, trace_id: str, limit: int = MAX_READ_SPANS
) -> list[Span]:
    """The spans of a trace, earliest first."""
    return _spans(connection.execute(_OF_TRACE, (trace_id, min(limit, MAX_READ_SPANS))))


def find(connection: sqlite3.Connection, query: Query) -> Found:
    """The spans that ``query`` asks for."""
    connection.create_function("folded", 1, str.lower, deterministic=True)
    where, given = _conditions(query)
    which = f"FROM spans WHERE {' AND '.join(where or ['1'])}"
    total = connection.execute(f"SELECT count(*) {which}", given).fetchone()[0]
    direction = "DESC" if query.descending else "ASC"
    order = f"{_ORDERS[query.sort_by]} {direction}, received_us {direction}"
    page = connection.execute(
        f"SELECT {COLUMNS} {which} ORDER BY {order} LIMIT ? OFFSET ?",
        (*given, min(query.limit, MAX_READ_SPANS), min(query.offset, LAST)),
    )
    spans = _spans(page)
    ids = _json(sorted({span.trace_id for span in spans}))
    counts = dict(connection.execute(_COUNTS, (ids,))) if query.count_spans else {}
    return Found(spans, total, _tags(connection, ids), counts)


def _tags(connection: sqlite3.Connection, ids: str) -> dict[str, Tags]:
    tagged = connection.execute(_TAGGED, (ids, *_TAG_BYTES, MAX_READ_SPANS))
    return tags_of((trace_id, pairs_in(pairs)) for trace_id, pairs in tagged)


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    given: list[Any] = []

    def must(condition: str, *values: Any) -> None:
        where.append(condition)
        given.extend(_fitting(value) for value in values)

    if not query.children:
        must("root = 1")
    if not query.internal:
        must("internal = 0")
    if query.trace_ids is not None:
        must(f"trace_id IN {_GIVEN}", _json(query.trace_ids))
    for column in _TEXTS:
        part: str | None = getattr(query, column)
        if part:
            fold = "lower" if part.isascii() else "folded"
            must(f"instr({fold}({column}), ?)", part.lower())
    if query.min_duration_ms is not None:
        must(f"{_DURATION} / 1e6 >= ?", query.min_duration_ms)
    if query.max_duration_ms is not None:
        must(f"{_DURATION} / 1e6 <= ?", query.max_duration_ms)
    if query.since_ns is not None:
        must(f"{_END} >= ?", query.since_ns)
    if query.until_ns is not None:
        must("start_ns <= ?", query.until_ns)
    has = _IN_TRACE_WITH if query.children else _HAS
    for pair in query.attributes:
        must(has, pair_bytes(pair))
    for pair in query.exclude_attributes:
        must(f"NOT {has}", pair_bytes(pair))
    return where, given


def _spans(rows: sqlite3.Cursor) -> list[Span]:
    spans: list[Span] = []
    size = 0
    for row in rows:
        size += len(row[-1]) + len(row[-2])
        if len(spans) == MAX_READ_SPANS or (spans and size > MAX_READ_BYTES):
            break
        spans.append(span_of(row))
    return spans


def _fitting(value: Any) -> Any:
    """A number as far as SQLite's go; anything else as it is."""
    return max(-LAST, min(value, LAST)) if isinstance(value, int) else value


def _json(ids: list[str]) -> str:
    return msgspec.json.encode(ids).decode()
