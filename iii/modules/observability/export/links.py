"""What the SDK leaves out when it encodes links: whether the linked span was sampled, and its
``tracestate``.

Encoded batches are completed on their way from the exporter to its client.  Most batches
have no such link; those are not touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link

Ids = tuple[bytes, bytes]


def completion(spans: list[ReadableSpan]) -> Callable[[Any], None] | None:
    """What completes the encoded request (protobuf) of ``spans``; None: it is complete."""
    incomplete: dict[Ids, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        if any(map(_loses, span.links)):
            incomplete[_ids(span)].append(span)
    return (lambda request: _complete(request, incomplete)) if incomplete else None


def _loses(link: Link) -> bool:
    return bool(link.context.trace_flags or link.context.trace_state)


def _ids(span: ReadableSpan) -> Ids:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


def _complete(request: Any, incomplete: dict[Ids, list[ReadableSpan]]) -> None:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for encoded in scope.spans:
                spans = incomplete.get((encoded.trace_id, encoded.span_id)) if encoded.links else ()
                for span in spans or ():
                    if _are_its(encoded.links, span.links):
                        _write(encoded.links, span.links)
                        break


def _are_its(encoded: Any, links: Any) -> bool:
    """Two spans may have the same ids; the SDK groups them as it likes."""
    return len(encoded) == len(links) and all(
        one.trace_id == link.context.trace_id.to_bytes(16, "big")
        and one.span_id == link.context.span_id.to_bytes(8, "big")
        for one, link in zip(encoded, links, strict=True)
    )


def _write(encoded: Any, links: Any) -> None:
    for one, link in zip(encoded, links, strict=True):
        one.flags |= link.context.trace_flags
        one.trace_state = link.context.trace_state.to_header()
