"""An acknowledged write survives the end of the engine, whichever it is (08 §1).

The long form is ``tests.soak.kills``.
"""

from __future__ import annotations

import signal

from tests.durability.durability_case import DurabilityCase
from tests.durability.kills import KillsCase
from tests.support.probes import probe


class Ends(KillsCase):
    """08 §1: at any instant."""

    def test_what_was_acknowledged_survives_five_kills(self) -> None:
        """08 §1: `kill -9`, os and fsync."""
        self.end_and_restart(signal.SIGKILL, 5)
        self.assertEqual(self.load.refused, [])

    def test_what_was_acknowledged_survives_a_stop(self) -> None:
        """08 §1, §4: SIGTERM with writes under way; refused ones have left nothing."""
        self.end_and_restart(signal.SIGTERM, 1)


class Probes(DurabilityCase):
    """04 §15: the last write before the end."""

    @probe("04.25", "04.26", "04.28")
    def test_a_value_survives_a_stop_and_a_kill_right_after_its_answer(self) -> None:
        """04 §2.1, §14.1: whatever ``save_interval_ms`` says, in a directory named ``.db``."""
        path = "./data/state_store.db"
        method = {"store_method": "file_based", "file_path": path}
        self.configure(state={**method, "save_interval_ms": 60000})
        previous: int | None = None
        for value, number in enumerate((signal.SIGTERM, signal.SIGKILL)):
            engine = self.start()
            answer = self.set(self.link(engine), "k", value)
            self.assertEqual(answer, {"old_value": previous, "new_value": value})
            self.end(engine, number)
            previous = value
        again = self.start()
        self.assertEqual(self.get(self.link(again), "k"), previous)
        self.assertNotIn("[ERROR]", again.output)
        self.assertTrue((self.directory / path).is_dir())
        self.assertIn("state.sqlite", [found.name for found in (self.directory / path).iterdir()])
