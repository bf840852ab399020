"""Everything about spans, in one part."""

from __future__ import annotations

from iii.modules.observability.beyond import Beyond
from iii.modules.observability.hub import Hub
from iii.modules.observability.spans import groups
from iii.modules.observability.spans.functions import TraceFunctions
from iii.modules.observability.spans.live import LiveSpans
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.store import SpanStore
from iii.modules.observability.spans.trace_trigger import TraceTriggers


class Spans:
    """Keeps spans, answers questions about them, tells of them.

    :param beyond: what remembers longer than memory, if anything does
    :ivar store: those that are in memory
    """

    def __init__(self, hub: Hub, beyond: Beyond | None = None) -> None:
        self._hub = hub
        self.store = SpanStore(hub)
        self._functions = TraceFunctions(hub, self.store, beyond)
        self._triggers = TraceTriggers(hub, hub.own)
        self._live = LiveSpans(hub, hub.own)

    def start(self) -> None:
        """Part: listen, and offer functions and the trigger type."""
        self.store.start()
        self._functions.start()
        self._triggers.start()
        self._live.start()

    def stop(self) -> None:
        """Part: listen no more."""
        self._live.stop()
        self._triggers.stop()
        self.store.stop()

    async def durations_ms(self) -> list[float]:
        """How long each stored span took, the shortest first."""
        return await groups.durations_ms(self.store, Pace(self._hub.engine.clock))
