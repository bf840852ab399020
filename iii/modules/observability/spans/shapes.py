"""What ``engine::traces::*`` take and give (docs/observability.md, "Traces").

Times of inputs are milliseconds since the epoch.  Fields that are None are as good as
absent.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from iii.engine.inputs import Input
from iii.modules.observability.attributes import Tags
from iii.modules.observability.beyond import Storage
from iii.modules.observability.model import Event, Kind, Link, Pairs, Span, Status

DEFAULT_LIMIT = 100
#: A search asks for so many attributes, and excludes so many.
MAX_PAIRS = 256

Count = Annotated[int, Meta(ge=0)]
PairLists = Annotated[list[list[str]], Meta(max_length=MAX_PAIRS)]


class ListInput(Input, kw_only=True):
    """``engine::traces::list``.

    :ivar service_name, name, status: part of it, whatever its case
    :ivar attributes: all must match exactly; lists that are no pairs don't count
    :ivar exclude_attributes: none may match
    :ivar search_all_spans: spans with a parent as well; attributes are those of the trace
    :ivar count_spans: rows say how many spans their traces have
    """

    called: ClassVar[str] = "TracesListInput"

    trace_id: str | None = None
    trace_ids: list[str] | None = None
    offset: Count | None = None
    limit: Count | None = None
    service_name: str | None = None
    name: str | None = None
    status: str | None = None
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    start_time: float | None = None
    end_time: float | None = None
    sort_by: str | None = None
    sort_order: str | None = None
    attributes: PairLists | None = None
    exclude_attributes: PairLists | None = None
    include_internal: bool | None = None
    search_all_spans: bool | None = None
    count_spans: bool | None = None


class TreeInput(Input):
    """``engine::traces::tree``."""

    called: ClassVar[str] = "TracesTreeInput"

    trace_id: str


class GroupByInput(Input):
    """``engine::traces::group_by``.

    :ivar attribute: spans with the same value are a group
    :ivar since_ms: spans that ended before don't count
    :ivar label_attribute: its newest value is the group's label
    """

    called: ClassVar[str] = "TracesGroupByInput"

    attribute: str
    since_ms: float | None = None
    limit: Count | None = None
    include_internal: bool | None = None
    label_attribute: str | None = None


class SpanRow(Struct, kw_only=True):
    """A span as clients see it."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: Kind
    start_time_unix_nano: int
    end_time_unix_nano: int
    start_time_ms: float
    duration_ms: float
    status: Status
    status_description: str | UnsetType = UNSET
    attributes: Pairs
    service_name: str
    events: list[Event]
    links: list[Link]
    instrumentation_scope_name: str | UnsetType = UNSET
    instrumentation_scope_version: str | UnsetType = UNSET
    flags: int | UnsetType = UNSET
    trace_state: str | UnsetType = UNSET
    pending: bool | UnsetType = UNSET
    trace_tags: dict[str, str] | UnsetType = UNSET
    span_count: int | UnsetType = UNSET


class TreeRow(SpanRow, kw_only=True):
    """A span and those below it, by their start."""

    children: list[TreeRow]


class Page(Struct):
    """The result of ``engine::traces::list``.

    :ivar storage: of the traces on disk, if there are any
    """

    spans: list[SpanRow]
    total: int
    offset: int
    limit: int
    storage: Storage | UnsetType = UNSET


class Tree(Struct):
    """The result of ``engine::traces::tree``.

    :ivar truncated: the trace has more spans than are shown
    """

    roots: list[TreeRow]
    truncated: bool | UnsetType = UNSET


class Cleared(Struct):
    """The result of ``engine::traces::clear``."""

    success: bool = True


class Group(Struct):
    """Spans with the same value of an attribute."""

    value: str
    label: str
    trace_ids: list[str]
    span_count: int
    first_seen_ms: int
    last_seen_ms: int
    duration_ms: int
    error_count: int


class Groups(Struct):
    """The result of ``engine::traces::group_by``, the newest first."""

    groups: list[Group]


def row_of(span: Span, tags: Tags | None = None, span_count: int | None = None) -> SpanRow:
    """``span`` as clients see it.

    :param tags: of its trace
    :param span_count: how many spans its trace has
    """
    return SpanRow(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        kind=span.kind,
        start_time_unix_nano=span.start_ns,
        # One under way has no length yet.
        end_time_unix_nano=span.end_ns or span.start_ns,
        start_time_ms=span.start_ns / 1e6,
        duration_ms=0.0 if span.pending else span.duration_ns / 1e6,
        status=span.status,
        status_description=span.status_description or UNSET,
        attributes=span.attributes,
        service_name=span.service_name,
        events=span.events,
        links=span.links,
        instrumentation_scope_name=span.scope_name or UNSET,
        instrumentation_scope_version=span.scope_version or UNSET,
        flags=UNSET if span.flags is None else span.flags,
        trace_state=span.trace_state or UNSET,
        pending=True if span.pending else UNSET,
        trace_tags=tags or UNSET,
        span_count=UNSET if span_count is None else span_count,
    )
