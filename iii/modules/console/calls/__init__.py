"""The calls of the interface by what they are about; ``ROUTES`` is all of them.

The paths of the first half of each file, their answers and their errors are those of the
console that people know (docs/console.md); the others are ours.
"""

from __future__ import annotations

from iii.modules.console.calls import (
    events,
    flows,
    invocations,
    overview,
    queues,
    running,
    states,
    streams,
)
from iii.modules.console.calls import telemetry as recorded
from iii.modules.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *running.ROUTES,
    *invocations.ROUTES,
    *recorded.ROUTES,
    *states.ROUTES,
    *streams.ROUTES,
    *flows.ROUTES,
    *queues.ROUTES,
    *events.ROUTES,
)
