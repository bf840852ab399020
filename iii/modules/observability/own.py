"""Contexts for what must not be told of: the deliveries of those who tell of spans.

If a handler that is told of spans made spans that it is told of, it would never end.  So
its calls are not recorded, and should a worker record them all the same, their trace ids
give them away: they begin with digits that nobody else's do.
"""

from __future__ import annotations

from iii.engine import tracecontext


class OwnTraces:
    """Traces that nobody is told of."""

    def __init__(self) -> None:
        self._mark = tracecontext.trace_id(tracecontext.new_root())[:16]

    def context(self) -> str:
        """For a new call: not recorded, and recognised by ``owns``."""
        context = tracecontext.unsampled(tracecontext.new_root())
        return f"{context[:3]}{self._mark}{context[19:]}"

    def owns(self, trace_id: str) -> bool:
        """Whether a trace began with a ``context`` of ours."""
        return trace_id.startswith(self._mark)
