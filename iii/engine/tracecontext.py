"""W3C trace context as text: ``00-<trace id>-<span id>-<flags>``.

A context travels as the string it is on the wire and is never taken apart on the
way: a child is its parent's first half with another span id.  Random digits are fetched
in bulk, like those of ``ids``.  The last digit says whether the trace is recorded; a
context that is not is passed on all the same, so that nobody further on records it.
"""

from __future__ import annotations

import os
import re

from iii.engine.ids import texts

CONTEXT_CHARS = 55
_POOL = 1_024
_ROOT = f"00-{'x' * 32}-{'x' * 16}-01"
_SPAN_ID = "x" * 16
_SAMPLED, _UNSAMPLED = "-01", "-00"
#: For calls that nobody is to see: what they do is recorded elsewhere.
UNRECORDED = f"00-{'0' * 31}1-{'0' * 15}1{_UNSAMPLED}"

_well_formed = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
).fullmatch
_roots: list[str] = []
_span_ids: list[str] = []


def usable(traceparent: str | None) -> str | None:
    """``traceparent`` as version 00, or None when it is no trace context."""
    if traceparent is None or _well_formed(traceparent) is None:
        return None
    if traceparent[:2] == "00":
        if len(traceparent) != 55:
            return None
        if traceparent[53:] in ("01", "00"):
            return traceparent
    # A later version, or flags that we do not know and must not pass on.
    sampled = int(traceparent[53:55], 16) & 1
    return f"00{traceparent[2:52]}{_SAMPLED if sampled else _UNSAMPLED}"


def is_sampled(context: str) -> bool:
    """Whether the trace of a context is recorded."""
    return context[-1] == "1"


def trace_id(context: str) -> str:
    """32 hex digits."""
    return context[3:35]


def span_id(context: str) -> str:
    """16 hex digits."""
    return context[36:52]


def new_root() -> str:
    """A recorded trace that nobody knows yet."""
    if not _roots:
        _roots.extend(texts(_ROOT, os.urandom(24 * _POOL)))
    return _roots.pop()


def child_of(context: str) -> str:
    """Another span of the same trace, recorded like it."""
    if not _span_ids:
        _span_ids.extend(texts(_SPAN_ID, os.urandom(8 * _POOL)))
    return f"{context[:36]}{_span_ids.pop()}{context[52:]}"


def unsampled(context: str) -> str:
    """The same, but not recorded."""
    return context[:52] + _UNSAMPLED


def log_fields(context: str | None) -> dict[str, str]:
    """What a log line says of the span it belongs to."""
    if context is None or len(context) < CONTEXT_CHARS:
        return {}
    return {"trace_id": context[3:35], "span_id": context[36:52]}


def _forget_randomness() -> None:
    """A forked child must not hand out its parent's ids."""
    _roots.clear()
    _span_ids.clear()


os.register_at_fork(after_in_child=_forget_randomness)
