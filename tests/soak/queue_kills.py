"""The long part of ``tests.durability.test_queue_kills`` and ``test_power``."""

from __future__ import annotations

import signal

from tests.durability.queue_kills import QueueKillsCase


class ManyKills(QueueKillsCase):
    """The same scenario for minutes; long enough for the upkeep of the file, once a second."""

    timeout = 1200
    running_s = (0.02, 2.5)

    def test_a_hundred_kills(self) -> None:
        """Nothing that was acknowledged is lost, and nothing was refused."""
        self.end_and_restart(*[signal.SIGKILL] * 100)
        self.assertEqual(self.load.refused, [])

    def test_twenty_stops_and_kills_in_turn(self) -> None:
        """SIGTERM and SIGKILL, messages under way."""
        self.end_and_restart(*[signal.SIGTERM, signal.SIGKILL] * 10)
