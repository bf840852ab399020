"""What the store holds, read without making spans of it.

An *item* is a record of the engine, which is one span or two, or a span that a worker
sent.  A *key* is a number that stands for a span or a trace: the hash of its ids, so that
tables of them are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from sys import getsizeof
from typing import Any

import msgspec

from iii.engine.functions import ENGINE_PREFIX
from iii.engine.tracing import CallRecord
from iii.modules.observability import attributes as said
from iii.modules.observability.model import Pairs, Span, Status
from iii.modules.observability.spans.records import SpanMaker, lineage, name_of, parts

Item = Span | tuple[Any, ...]

#: A record of a call has so many members.
_CALL = len(CallRecord._fields)
_function_id, _received, _error = itemgetter(0), itemgetter(3), itemgetter(9)
#: Of a record of anything else.
_name, _record_error, _attributes = itemgetter(0), itemgetter(7), itemgetter(8)
_values = itemgetter(slice(1, None))
_packed = msgspec.msgpack.Encoder().encode

# Attributes that say whether a span is of the engine's own functions.
_TELLING = frozenset({"iii.function.kind", "function_id"})

# What things weigh, in bytes: measured on CPython 3.11, with their share of the tables.
CALL_BYTES = 640
RECORD_BYTES = 600
SPAN_BYTES = 700
SECOND_SPAN_BYTES = 200
PART_BYTES = 250
PAIR_BYTES = 120
ERROR_BYTES = 330
VALUE_BYTES = 50


def parts_of(item: Item) -> int:
    """How many spans an item is."""
    return 1 if isinstance(item, Span) else parts(item)


def inner_of(fields: Item) -> tuple[Any, ...]:
    """A record of two spans without the outer one."""
    assert not isinstance(fields, Span)
    return (*fields[:2], fields[3], None, *fields[4:])


def size_of(items: Sequence[Item]) -> int:
    """About how many bytes of memory they take.

    What several spans say of their sender is one object, and weighs once.
    """
    senders: dict[int, dict[str, str]] = {}
    size = 0
    for item in items:
        if isinstance(item, Span):
            size += _span_size(item)
            if item.resource:
                senders[id(item.resource)] = item.resource
        else:
            size += weigh([item])[1]
    return size + sum(_pairs_size(sender.items()) for sender in senders.values())


def weigh(records: list[tuple[Any, ...]]) -> tuple[int, int]:
    """How many spans records are, and about how many bytes; run for every call."""
    calls = records
    spans = len(records)
    size = 0
    if list(map(len, records)).count(_CALL) < spans:
        calls = [fields for fields in records if len(fields) == _CALL]
        size = _records_size([fields for fields in records if len(fields) != _CALL])
    # Column by column: a loop over records would take twice as long.
    two = len(calls) - list(map(_received, calls)).count(None)
    size += len(calls) * CALL_BYTES + two * SECOND_SPAN_BYTES
    size += getsizeof("".join(map(_function_id, calls)))
    return spans + two, size + _errors_size(map(_error, calls))


def _records_size(records: list[tuple[Any, ...]]) -> int:
    values = list(map(_values, map(_attributes, records)))
    try:
        size = len(_packed(values))  # their texts, and a little for each
    except UnicodeEncodeError:  # half of a surrogate pair
        size = sum(len(str(value)) for value in chain.from_iterable(values))
    size += len(records) * RECORD_BYTES + len("".join(map(_name, records)))
    size += sum(map(len, values)) * VALUE_BYTES
    return size + _errors_size(map(_record_error, records))


def _errors_size(found: Iterable[tuple[Any, ...] | None]) -> int:
    errors = list(found)
    if errors.count(None) == len(errors):
        return 0
    return sum(_error_size(error) for error in errors if error is not None)


def _error_size(error: tuple[Any, ...]) -> int:
    return ERROR_BYTES + sum(getsizeof(text) for text in error)


def _span_size(span: Span) -> int:
    size = SPAN_BYTES + sum(map(getsizeof, _texts(span))) + _pairs_size(span.attributes)
    for event in span.events:
        size += PART_BYTES + getsizeof(event.name) + _pairs_size(event.attributes)
    for link in span.links:
        ids = getsizeof(link.trace_id) + getsizeof(link.span_id) + getsizeof(link.trace_state)
        size += PART_BYTES + ids + _pairs_size(link.attributes)
    return size


_texts = attrgetter(
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "status_description",
    "trace_state",
    "scope_name",
    "scope_version",
)


def _pairs_size(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(PAIR_BYTES + len(key) + getsizeof(value) for key, value in pairs)


# Identity ------------------------------------------------------------------------------


def trace_key(trace_id: str) -> int:
    """Stands for a trace."""
    return hash(trace_id)


def span_key(trace_id: str, span_id: str) -> int:
    """Stands for a span of a trace."""
    return hash(f"{trace_id}-{span_id}")


def trace_of(item: Item) -> str:
    """Its trace id."""
    if isinstance(item, Span):
        return item.trace_id
    context: str = item[4] if len(item) == _CALL else item[3]
    return context[3:35]


def keys_of(item: Item, part: int) -> tuple[int | None, int]:
    """The keys of the parent of a span, if it has one, and its own."""
    if isinstance(item, Span):
        own = span_key(item.trace_id, item.span_id)
        parent_id = item.parent_span_id
        if parent_id is None or parent_id == item.span_id:
            return None, own
        return span_key(item.trace_id, parent_id), own
    parent, context = lineage(item, part)
    # "<trace id>-<span id>", as above.
    return None if parent is None else hash(parent[3:52]), hash(context[3:52])


# Properties ----------------------------------------------------------------------------


def name(item: Item, part: int) -> str:
    """The name of a span."""
    return item.name if isinstance(item, Span) else name_of(item, part)


def status(item: Item) -> Status:
    """The outcome of a span."""
    if isinstance(item, Span):
        return item.status
    ok = item[9] is None if len(item) == _CALL else item[6]
    return "unset" if ok is None else "ok" if ok else "error"


def start_ns(item: Item, offset_ns: int) -> int:
    """Since the epoch.

    :param offset_ns: wall time minus monotonic time
    """
    if isinstance(item, Span):
        return item.start_ns
    return offset_ns + int(item[7 if len(item) == _CALL else 4] * 1e9)


def end_ns(item: Item, offset_ns: int) -> int:
    """The same of the end; the beginning of a span under way."""
    if isinstance(item, Span):
        return item.end_ns or item.start_ns
    return offset_ns + int(item[8 if len(item) == _CALL else 5] * 1e9)


def duration_ms(item: Item) -> float:
    """How long a span took; 0 while it is under way."""
    if isinstance(item, Span):
        return item.duration_ns / 1e6
    seconds = item[8] - item[7] if len(item) == _CALL else item[5] - item[4]
    return max(0.0, float(seconds)) * 1e3


def attributes(item: Item, part: int, maker: SpanMaker) -> Pairs:
    """The attributes of a span."""
    return item.attributes if isinstance(item, Span) else maker.attributes(item, part)


def has(item: Item, part: int, pair: tuple[str, str], maker: SpanMaker) -> bool:
    """Whether a span has an attribute with this value."""
    if isinstance(item, Span):
        return pair in item.attributes
    return maker.attribute(item, part, pair[0]) == pair[1]


def attribute(item: Item, part: int, name: str, maker: SpanMaker) -> str | None:
    """The value of an attribute of a span; None: it has none of this name."""
    if isinstance(item, Span):
        return next((value for key, value in item.attributes if key == name), None)
    return maker.attribute(item, part, name)


def is_internal(item: Item, maker: SpanMaker) -> bool:
    """Whether it is of the engine's own functions."""
    if not isinstance(item, Span):
        if len(item) == _CALL:
            return str(item[0]).startswith(ENGINE_PREFIX)
        if not item[8] or not _TELLING.intersection(item[8][0]):
            return False
    return said.is_internal(attributes(item, 0, maker))


def service(item: Item, maker: SpanMaker) -> str:
    """Whose span it is."""
    return item.service_name if isinstance(item, Span) else maker.service
