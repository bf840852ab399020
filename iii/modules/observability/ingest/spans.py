"""Spans out of frames."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from iii.modules.observability.ingest.values import Attributes, Origin, known_id, nanoseconds
from iii.modules.observability.ingest.wire import HIGHEST_FLAGS, WireEvent, WireLink, WireSpan
from iii.modules.observability.model import KINDS, STATUSES, Event, Kind, Link, Pairs, Span, Status

#: Numbers, protobuf's names and our own → the kind; 0 says nothing about it.
_KINDS: dict[int | str | None, Kind] = {
    **{number: kind for number, kind in enumerate(KINDS) if number},
    **{f"SPAN_KIND_{kind.upper()}": kind for kind in KINDS},
    **{kind: kind for kind in KINDS},
}
_STATUSES: dict[int | str | None, Status] = {
    **dict(enumerate(STATUSES)),
    **{f"STATUS_CODE_{status.upper()}": status for status in STATUSES},
}


class Spans:
    """Makes spans.

    :param now_ns: the wall time
    """

    def __init__(self, attributes: Attributes, now_ns: Callable[[], int]) -> None:
        self._attributes = attributes
        self._now_ns = now_ns

    def make(self, item: WireSpan, origin: Origin) -> Span:
        """One span.

        :raises ValueError: it is none
        """
        if not item.trace_id or not item.span_id:
            raise ValueError("a span without traceId or spanId")
        pairs = self._attributes.pairs(item.attributes)
        end_ns = nanoseconds(item.end_time_unix_nano)
        status = item.status
        return Span(
            trace_id=item.trace_id,
            span_id=item.span_id,
            parent_span_id=known_id(item.parent_span_id),
            name=item.name,
            kind=_KINDS.get(item.kind) or _kind_said(pairs),
            # Without a beginning it is a moment.
            start_ns=nanoseconds(item.start_time_unix_nano) or end_ns or self._now_ns(),
            end_ns=end_ns,
            service_name=origin.service_name,
            status="unset" if status is None else _STATUSES.get(status.code, "unset"),
            status_description=None if status is None else status.message or None,
            attributes=pairs,
            events=[self._event(event) for event in item.events] if item.events else [],
            links=[self._link(link) for link in item.links] if item.links else [],
            scope_name=origin.scope_name,
            scope_version=origin.scope_version,
            flags=item.flags or None,
            trace_state=item.trace_state or None,
            resource=origin.resource,
        )

    def _event(self, event: WireEvent) -> Event:
        return Event(
            event.name or "",
            nanoseconds(event.time_unix_nano),
            self._attributes.pairs(event.attributes),
        )

    def _link(self, link: WireLink) -> Link:
        return Link(
            link.trace_id,
            link.span_id,
            link.trace_state or "",
            self._attributes.pairs(link.attributes),
            flags if type(flags := link.flags) is int and 0 < flags <= HIGHEST_FLAGS else UNSET,
        )


def _kind_said(pairs: Pairs) -> Kind:
    """The kind by the attribute ``otel.kind``."""
    said = next((value for key, value in pairs if key == "otel.kind"), "")
    return _KINDS.get(said.lower(), "internal")
