"""Spans as the SDK's exporters take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from iii.modules.observability.export.ids import is_id
from iii.modules.observability.model import Link, Pairs, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

SAMPLED = 0x01
#: The parent, or what is linked, is in another process, says a flag of OTLP.
REMOTE = 0x200
_SPAN_BYTES = 250
#: Attributes whose values are kept as text, like all, and are numbers by convention.
_NUMBERS = frozenset(("http.response.status_code", "http.request.body.size", "attempt"))
_PAIR_BYTES = 12


def goes_out(span: Span) -> bool:
    """Whether a span is sent on: it is over, and its trace is recorded."""
    return span.end_ns != 0 and (span.flags is None or bool(span.flags & SAMPLED))


def weigh_span(span: Span) -> int:
    """About how many bytes a span takes."""
    weight = _SPAN_BYTES + len(span.name) + len(span.status_description or "")
    weight += _weigh(span.attributes)
    for event in span.events:
        weight += len(event.name) + 40 + _weigh(event.attributes)
    for link in span.links:
        weight += 80 + len(link.trace_state) + _weigh(link.attributes)
    return weight


def _typed(attributes: Pairs) -> dict[str, str | int]:
    """Attributes with the numbers among them as numbers, which collectors compare."""
    return {
        key: int(value) if key in _NUMBERS and _is_small(value) else value
        for key, value in attributes
    }


def _is_small(text: str) -> bool:
    """Whether it is a number of 64 bits."""
    return len(text) <= 18 and text.isascii() and text.isdecimal()


def _weigh(attributes: Pairs) -> int:
    return sum(len(key) + len(value) + _PAIR_BYTES for key, value in attributes)


def _leads_somewhere(link: Link) -> bool:
    return is_id(link.trace_id, 32) and is_id(link.span_id, 16)


class SpanWriter:
    """Makes SDK spans.

    :param own: the engine's resource, of spans that have none
    """

    def __init__(self, own: Mapping[str, str]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import Link as SdkLink
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
        from opentelemetry.trace.status import Status, StatusCode

        self._resource = Resource
        self._own = Resource(own)
        self._span = ReadableSpan
        self._event = Event
        self._link = SdkLink
        self._scope = InstrumentationScope
        self._context = SpanContext
        self._flags = TraceFlags
        self._state = TraceState
        self._kinds = {kind.name.lower(): kind for kind in SpanKind}
        self._status = Status
        self._codes = {code.name.lower(): code for code in StatusCode}

    def prepare(self, spans: list[Span]) -> tuple[list[ReadableSpan], int]:
        """Sender: what can be sent of them, and how many can't."""
        written: list[ReadableSpan] = []
        resources: dict[int, Resource] = {}
        unreadable = 0
        for span in spans:
            try:
                written.append(self._write(span, resources))
            except ValueError:  # ids that are none
                unreadable += 1
        return written, unreadable

    def _write(self, span: Span, resources: dict[int, Resource]) -> ReadableSpan:
        flags = span.flags or 0
        parent = None
        if span.parent_span_id is not None and is_id(span.parent_span_id, 16):
            remote = bool(flags & REMOTE)
            parent = self._context_of(span.trace_id, span.parent_span_id, remote)
        error = span.status == "error"
        return self._span(
            span.name,
            self._context_of(span.trace_id, span.span_id, False, flags, span.trace_state),
            parent,
            resource=self._resource_of(span.resource, resources),
            attributes=_typed(span.attributes),
            events=[
                self._event(event.name, dict(event.attributes), event.timestamp_unix_nano)
                for event in span.events
            ],
            links=[self._link_of(link) for link in span.links if _leads_somewhere(link)],
            kind=self._kinds[span.kind],
            # The SDK keeps a description only with an error.
            status=self._status(self._codes[span.status], span.status_description)
            if error
            else self._status(self._codes[span.status]),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=None
            if span.scope_name is None
            else self._scope(span.scope_name, span.scope_version),
        )

    def _resource_of(
        self, attributes: dict[str, str] | None, resources: dict[int, Resource]
    ) -> Resource:
        if attributes is None:
            return self._own
        # Spans of one frame share the dict: one resource for all of them.
        known = resources.get(id(attributes))
        if known is None:
            known = resources[id(attributes)] = self._resource(attributes)
        return known

    def _link_of(self, link: Link) -> Any:
        flags = 0 if link.flags is UNSET else link.flags
        remote = bool(flags & REMOTE)
        context = self._context_of(link.trace_id, link.span_id, remote, flags, link.trace_state)
        return self._link(context, dict(link.attributes))

    def _context_of(
        self,
        trace_id: str,
        span_id: str,
        remote: bool,
        flags: int = 0,
        trace_state: str | None = None,
    ) -> SpanContext:
        if not is_id(trace_id, 32) or not is_id(span_id, 16):
            raise ValueError(f"{trace_id}/{span_id} are no ids")
        return self._context(
            int(trace_id, 16),
            int(span_id, 16),
            remote,
            self._flags(flags & 0xFF),
            self._state.from_header([trace_state]) if trace_state else None,
        )
