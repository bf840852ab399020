"""The trace a handler runs in.

``traceparent`` and ``baggage`` that came with an invocation are forwarded on the
calls its handler makes.  They live in a context variable, so each handler has
its own, tasks it starts inherit it, and threads it runs in get a copy.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class Trace(NamedTuple):
    """The two W3C headers, as they came."""

    traceparent: str | None = None
    baggage: str | None = None


NO_TRACE = Trace()

current_trace: ContextVar[Trace] = ContextVar("iii_current_trace", default=NO_TRACE)
