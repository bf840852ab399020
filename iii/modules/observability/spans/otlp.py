"""A trace as an OTLP JSON document, for people who take it elsewhere.

The same document a collector takes at ``/v1/traces``: ids in hex, times as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET

from iii.modules.observability.model import KINDS, STATUSES, Link, Pairs, Span

SCOPE = "iii"
#: ``KINDS`` has two names for what 0 and 1 mean.
_KINDS = {kind: number for number, kind in enumerate(KINDS)}
_STATUSES = {status: number for number, status in enumerate(STATUSES)}

Scope = tuple[str, str | None]


def otlp_document(spans: Iterable[Span], own: Mapping[str, str]) -> dict[str, Any]:
    """The ``resourceSpans`` document.

    :param own: the engine's resource, of spans that have none
    """
    services: dict[tuple[tuple[str, str], ...], dict[Scope, list[dict[str, Any]]]] = {}
    for span in spans:
        resource = dict(own if span.resource is None else span.resource)
        resource["service.name"] = span.service_name
        scopes = services.setdefault(tuple(sorted(resource.items())), {})
        scope = (span.scope_name or SCOPE, span.scope_version)
        scopes.setdefault(scope, []).append(_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(list(resource))},
                "scopeSpans": [
                    {"scope": _scope(*scope), "spans": written} for scope, written in scopes.items()
                ],
            }
            for resource, scopes in services.items()
        ]
    }


def _scope(name: str, version: str | None) -> dict[str, str]:
    return {"name": name} if version is None else {"name": name, "version": version}


def _span(span: Span) -> dict[str, Any]:
    written: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "status": {"code": _STATUSES[span.status]},
    }
    if span.parent_span_id is not None:
        written["parentSpanId"] = span.parent_span_id
    if span.trace_state:
        written["traceState"] = span.trace_state
    if span.flags is not None:
        written["flags"] = span.flags
    if span.status_description is not None:
        written["status"]["message"] = span.status_description
    if span.events:
        written["events"] = [
            {
                "name": event.name,
                "timeUnixNano": str(event.timestamp_unix_nano),
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ]
    if span.links:
        written["links"] = [_link(link) for link in span.links]
    return written


def _link(link: Link) -> dict[str, Any]:
    written: dict[str, Any] = {
        "traceId": link.trace_id,
        "spanId": link.span_id,
        "traceState": link.trace_state,
        "attributes": _attributes(link.attributes),
    }
    if link.flags is not UNSET:
        written["flags"] = link.flags
    return written


def _attributes(pairs: Pairs) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs]
