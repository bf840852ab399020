"""The long part of ``tests.durability``: a hundred kills, twenty stops, SQLite's patience."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

from tests.durability.durability_case import DurabilityCase
from tests.durability.kills import KillsCase
from tests.durability.link import Refused


class ManyKills(KillsCase):
    """The same scenario for minutes; long enough for the upkeep of the files, once a second."""

    timeout = 1200
    writing_s = (0.02, 2.5)

    def test_a_hundred_kills(self) -> None:
        """Nothing that was acknowledged is lost, and nothing was refused."""
        self.end_and_restart(signal.SIGKILL, 100)
        self.assertEqual(self.load.refused, [])

    def test_twenty_stops(self) -> None:
        """SIGTERM, writes under way."""
        self.end_and_restart(signal.SIGTERM, 20)


class Locked(DurabilityCase):
    """08 §1: somebody else holds the file."""

    def test_a_locked_file_refuses_writes_and_takes_them_afterwards(self) -> None:
        """08 §1: after SQLite's patience of 5 s; reads go on meanwhile."""
        self.configure()
        engine = self.start()
        link = self.link(engine)
        self.set(link, "k", 1)
        with closing(sqlite3.connect(self.file("state"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = link.send("state::set", {"scope": "s", "key": "k2", "value": 2})
            self.assertEqual(self.get(link, "k"), 1)
            with self.assertRaises(Refused) as caught:
                link.wait(waiting)
            self.assertIn("another program holds it locked", caught.exception.message)
            other.execute("ROLLBACK")
        self.assertEqual(self.set(link, "k", 3), {"old_value": 1, "new_value": 3})
