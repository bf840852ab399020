"""What ``engine::traces::*`` ask of whatever remembers longer than memory.

It gets every span that memory gets, and forgets later; so it knows which spans are roots
and how many there are, and answers lists by itself.  Memory answers while it can't.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

from iii.modules.observability.attributes import Tags
from iii.modules.observability.model import Span

SortBy = Literal["start_time", "duration", "name", "service_name"]
Pair = tuple[str, str]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which spans a list has.

    :ivar trace_ids: of these traces only
    :ivar name: a part of it, without case; ``service`` and ``status`` alike
    :ivar min_duration_ms: inclusive; ``max_duration_ms`` too; of a pending span it is 0
    :ivar since_ns: it had not ended before; a pending span ends where it begins
    :ivar until_ns: it had begun by then
    :ivar attributes: it has all of them, exactly
    :ivar exclude_attributes: it has none of them
    :ivar internal: also calls of the engine's own functions
    :ivar children: also spans that are no roots; attributes are those of their traces
    :ivar count_spans: say how many spans their traces have
    """

    trace_ids: list[str] | None = None
    name: str | None = None
    service: str | None = None
    status: str | None = None
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    attributes: list[Pair] = []
    exclude_attributes: list[Pair] = []
    internal: bool = False
    children: bool = False
    sort_by: SortBy = "start_time"
    descending: bool = False
    offset: int = 0
    limit: int = 100
    count_spans: bool = False


class Found(NamedTuple):
    """A page of a list.

    :ivar total: how many spans there are on all pages
    :ivar tags: of the traces on this page
    :ivar span_counts: how many spans they have, if that was asked for
    """

    spans: list[Span]
    total: int
    tags: dict[str, Tags]
    span_counts: dict[str, int]


class Storage(msgspec.Struct, frozen=True):
    """``storage`` in the answer of ``engine::traces::list``.

    :ivar archive: ``failing``: it can't be written or read, and the answer is memory's
    :ivar completeness: ``partial``: spans were dropped since the archive was last empty, or
        the answer is memory's
    :ivar known_dropped_spans: how many
    :ivar physical_bytes: of the file and its write-ahead log
    """

    archive: Literal["ready", "failing"]
    completeness: Literal["complete", "partial"]
    known_dropped_spans: int
    physical_bytes: int
    max_disk_bytes: int
    last_error: str | None


class Beyond(Protocol):
    """Remembers longer than memory."""

    def status(self) -> Storage:
        """How it is."""

    async def find(self, query: Query) -> Found:
        """A page of roots, or of all spans.

        :raises StoreError: it can't say
        """

    async def spans_of(self, trace_id: str, limit: int) -> list[Span]:
        """The earliest spans of a trace.

        :raises StoreError: it can't say
        """

    async def clear(self) -> None:
        """Forget everything up to now.

        :raises IIIError: ``trace_storage_clear_failed``
        """
