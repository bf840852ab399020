"""2,400 cuts in three orders of events (08 §2; short form: ``tests.wire.test_cuts``)."""

from __future__ import annotations

from tests.wire.cuts import CutsCase


class ManyCuts(CutsCase):
    """The same scenario for minutes."""

    rounds = 200
    timeout = 600

    async def test_one_order(self) -> None:
        """Seed 1."""
        await self.run_with(1)

    async def test_another_order(self) -> None:
        """Seed 2."""
        await self.run_with(2)

    async def test_a_third_order(self) -> None:
        """Seed 3."""
        await self.run_with(3)

    async def run_with(self, seed: int) -> None:
        """800 cuts; and no connection, call or registration has piled up."""
        self.chance.seed(seed)
        await self.cut_and_come_back()
        self.assertEqual(self.engine.triggers.parked, 0)
        self.assertGreater(self.seen["result"], 2500)
        self.assertLess(self.slowest_s, 5.0)
        self.assertEqual(self.problems("Traceback|failed"), [])
