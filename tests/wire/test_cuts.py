"""08 §2: what is alive is never lost, whatever happens to connections."""

from __future__ import annotations

from tests.wire.cuts import CutsCase


class SixtyFourCuts(CutsCase):
    """64 cuts, random moments from a fixed seed, four workers, a late engine."""

    async def test_nothing_that_is_alive_is_lost(self) -> None:
        """08 §2: functions, triggers and routes stay complete; every call is answered."""
        await self.cut_and_come_back()
        self.assertGreater(self.seen["result"], 200)
        self.assertGreater(self.seen["http 200"], 50)
        self.assertGreater(self.seen["invocation_stopped"], 0)
        self.assertLess(self.slowest_s, 5.0)
        self.assertEqual(self.problems("Traceback|failed"), [])
