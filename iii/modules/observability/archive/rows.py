"""Spans as rows of the archive, and how they are written.

What queries look at has a column; the rest of a span is one blob.  Attributes are
MessagePack, in which SQLite finds the bytes of a pair.  Whether a span is a root is
written down, because a list would otherwise look for the parent of every span: it is
decided when the span comes, and taken back when its parent comes later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec

from iii.modules.observability.attributes import is_internal
from iii.modules.observability.model import Event, Kind, Link, Pairs, Span

Row = tuple[Any, ...]
"""``received_us`` to ``rest``; ``root`` is put behind when it is written."""

_COLUMN_NAMES = (
    "received_us",
    "trace_id",
    "span_id",
    "parent",
    "start_ns",
    "end_ns",
    "service",
    "name",
    "status",
    "internal",
    "attributes",
    "rest",
    "root",
)
_TRACE, _SPAN, _PARENT, _SERVICE, _NAME, _ATTRIBUTES, _REST = 1, 2, 3, 6, 7, 10, 11
#: SQLite's integers end here; a time that doesn't fit is one of a broken clock.
LAST = 2**63 - 1
#: What a row weighs beside its texts and its blob.
ROW_BYTES = 512

_VALUES = f"({', '.join('?' * len(_COLUMN_NAMES))})"
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMN_NAMES[3:])
#: So many rows are written by one statement; the connection keeps these few prepared.
_AT_ONCE = (64, 16, 4, 1)
_INSERTS = {
    count: f"INSERT INTO spans ({', '.join(_COLUMN_NAMES)}) VALUES "
    + ", ".join([_VALUES] * count)
    # A beginning doesn't replace an end.
    + f" ON CONFLICT (trace_id, span_id) DO UPDATE SET {_REPLACED}"
    + " WHERE excluded.end_ns <> 0 OR spans.end_ns = 0"
    for count in _AT_ONCE
}
_KNOWN = (
    "SELECT s.trace_id, s.span_id FROM json_each(?) AS j CROSS JOIN spans AS s "
    "ON s.trace_id = j.value ->> 0 AND s.span_id = j.value ->> 1"
)
_HAVE_A_PARENT = (
    "UPDATE spans SET root = 0 WHERE received_us IN ("
    "SELECT s.received_us FROM json_each(?) AS j CROSS JOIN spans AS s INDEXED BY spans_orphans "
    "ON s.trace_id = j.value ->> 0 AND s.parent = j.value ->> 1 "
    "WHERE s.root = 1 AND s.parent IS NOT NULL AND s.parent <> s.span_id)"
)
_ADD_DROPPED = (
    "INSERT INTO facts (name, value) VALUES ('dropped', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
_DROPPED = "SELECT value FROM facts WHERE name = 'dropped'"
_LAST = "SELECT max(received_us) FROM spans"
_CLEAR = ("DELETE FROM spans", "DELETE FROM facts")

#: What a ``Span`` is made from again.
COLUMNS = "trace_id, span_id, parent, start_ns, end_ns, service, name, status, attributes, rest"


class Rest(msgspec.Struct, array_like=True, gc=False):
    """The blob: what has no column.  New fields go to the end and have defaults."""

    kind: Kind
    status_description: str | None
    events: list[Event]
    links: list[Link]
    scope_name: str | None
    scope_version: str | None
    flags: int | None
    trace_state: str | None
    resource: dict[str, str] | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Rest).decode
pairs_in = msgspec.msgpack.Decoder(Pairs).decode


def pair_bytes(pair: tuple[str, str]) -> bytes:
    """How an attribute is found among attributes: its bytes are nowhere else.

    (A value of more than 127 bytes could imitate them, if somebody wanted it to.)
    """
    return _encode(pair)


def row_of(span: Span, received_us: int) -> Row:
    """``span`` as it is written.

    :raises ValueError: a text or number of it can't be kept
    """
    try:
        attributes = _encode(span.attributes)
        rest = _encode(
            (
                span.kind,
                span.status_description,
                span.events,
                span.links,
                span.scope_name,
                span.scope_version,
                span.flags,
                span.trace_state,
                span.resource,
            )
        )
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return (
        received_us,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        min(span.start_ns, LAST),
        min(span.end_ns, LAST),
        span.service_name,
        span.name,
        span.status,
        is_internal(span.attributes),
        attributes,
        rest,
    )


def weight(row: Row) -> int:
    """About how many bytes of memory a row takes."""
    texts = (_NAME, _SERVICE, _ATTRIBUTES, _REST)
    return ROW_BYTES + sum(len(row[place]) for place in texts)


def span_of(columns: Row) -> Span:
    """The span in ``COLUMNS`` of a row."""
    trace_id, span_id, parent, start_ns, end_ns, service, name, status, pairs, blob = columns
    rest = _decode(blob)
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        kind=rest.kind,
        start_ns=start_ns,
        end_ns=end_ns,
        service_name=service,
        status=status,
        status_description=rest.status_description,
        attributes=pairs_in(pairs),
        events=rest.events,
        links=rest.links,
        scope_name=rest.scope_name,
        scope_version=rest.scope_version,
        flags=rest.flags,
        trace_state=rest.trace_state,
        resource=rest.resource,
    )


def recall(reader: sqlite3.Connection) -> tuple[int, int]:
    """The newest ``received_us``, and how many spans were ever dropped."""
    last = reader.execute(_LAST).fetchone()[0]
    dropped = reader.execute(_DROPPED).fetchone()
    return last or 0, 0 if dropped is None else dropped[0]


# Writer thread -------------------------------------------------------------------------


def write(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Keep spans.

    Every statement gives up the interpreter's lock and has to wait for it afterwards,
    so a row must not cost one.
    """
    new = {(row[_TRACE], row[_SPAN]) for row in rows}
    above = {(row[_TRACE], row[_PARENT]) for row in rows if row[_PARENT] is not None}
    known = new.union(connection.execute(_KNOWN, (_json(above - new),)) if above - new else ())
    placed = [
        (*row, row[_PARENT] in (None, row[_SPAN]) or (row[_TRACE], row[_PARENT]) not in known)
        for row in rows
    ]
    place = 0
    for count in _AT_ONCE:
        while len(placed) - place >= count:
            part = placed[place : place + count]
            connection.execute(_INSERTS[count], list(chain.from_iterable(part)))
            place += count
    connection.execute(_HAVE_A_PARENT, (_json(new),))


def add_dropped(connection: sqlite3.Connection, count: int) -> None:
    """Keep that ``count`` spans were dropped."""
    connection.execute(_ADD_DROPPED, (count,))


def clear(connection: sqlite3.Connection) -> None:
    """Forget everything."""
    for statement in _CLEAR:
        connection.execute(statement)


def _json(ids: Iterable[tuple[str, str]]) -> str:
    return msgspec.json.encode(list(ids)).decode()
