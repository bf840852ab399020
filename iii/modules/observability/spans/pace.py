"""Long work in slices, so that everybody else has a turn."""

from __future__ import annotations

from iii.engine.clock import Clock

#: After so long others have their turn.
SLICE_S = 0.005


class Pace:
    """One piece of long work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = clock.monotonic
        self._until = self._now() + SLICE_S

    async def keep(self) -> None:
        """Between two steps: go on, or let others have their turn first."""
        if self._now() < self._until:
            return
        await self._clock.pause()
        self._until = self._now() + SLICE_S
