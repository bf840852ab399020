"""An acknowledged message is handled, whatever ends while it waits or runs (08 §1).

The long form is ``tests.soak.queue_kills``.
"""

from __future__ import annotations

import signal

from tests.durability.queue_kills import QueueKillsCase


class Ends(QueueKillsCase):
    """08 §1, 03 §1.13: at any instant, while workers die too."""

    def test_what_was_acknowledged_is_handled_after_five_kills(self) -> None:
        """08 §1: `kill -9`; nothing twice without a reason, groups in order, DLQ exact."""
        self.end_and_restart(*[signal.SIGKILL] * 5)
        self.assertEqual(self.load.refused, [])

    def test_what_was_acknowledged_is_handled_after_a_stop(self) -> None:
        """08 §1, §4: SIGTERM with messages under way; refused ones are never delivered."""
        self.end_and_restart(signal.SIGTERM, signal.SIGTERM)
