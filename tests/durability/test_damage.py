"""Files that are not what they should be are moved aside, never overwritten (08 §1)."""

from __future__ import annotations

import atexit
import os
import random
import re
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.durability.durability_case import DATA, DurabilityCase
from tests.durability.link import MISSING, Refused

ASIDE = re.compile(r"state\.sqlite\.corrupt-\d{8}T\d{6}Z[^/]*")
ITEMS = 200
VALUE = "x" * 2_000
GARBAGE = random.Random(8).randbytes(10_000)

Damage = Callable[[Path], object]


class DamageCase(DurabilityCase):
    """A directory as a crash leaves it: values in the file and in its log.

    Made once for all tests; each has a copy.
    """

    made: Path | None = None

    def setUp(self) -> None:
        super().setUp()
        self.configure(state={"cache_bytes": 0})
        self.path = self.file("state")
        self.log = Path(f"{self.path}-wal")
        if DamageCase.made is None:
            DamageCase.made = self.make()
        shutil.rmtree(self.directory / DATA, ignore_errors=True)
        shutil.copytree(DamageCase.made, self.directory / DATA)

    def make(self) -> Path:
        """Values in the file, then a newer one in the log that nobody has closed."""
        engine = self.start()
        link = self.link(engine)
        for number in range(ITEMS):
            self.set(link, f"k{number}", VALUE)
        self.end(engine, signal.SIGTERM)
        holder = Path(tempfile.mkdtemp(prefix="iii-test-"))
        atexit.register(shutil.rmtree, holder)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("UPDATE entries SET value = ? WHERE key = 'k1'", (b'"logged"',))
            return shutil.copytree(self.directory / DATA, holder / DATA)

    def aside(self) -> list[Path]:
        """What was moved aside, without logs."""
        found = (p for p in self.path.parent.iterdir() if ASIDE.fullmatch(p.name))
        return sorted(path for path in found if not path.name.endswith(("-wal", "-shm")))


class Damaged(DamageCase):
    """08 §1: moved aside, ERROR naming both, start continues."""

    def assert_moved(self, damage: Damage) -> None:
        """The file with this damage is kept, and the store begins empty."""
        damage(self.path)
        before = self.path.read_bytes()
        engine = self.start()
        (aside,) = self.aside()
        (line,) = (line for line in engine.output.splitlines() if "[ERROR]" in line)
        self.assertIn(f"{self.path} ", line)
        self.assertIn(str(aside), line)
        self.assertEqual(aside.read_bytes(), before)
        link = self.link(engine)
        self.assertIs(self.get(link, "k0"), MISSING)
        self.assertEqual(link.call("state::list_groups", {}), {"groups": []})
        self.assertEqual(self.set(link, "k0", "new"), {"old_value": None, "new_value": "new"})
        self.end(engine, signal.SIGKILL)

    def test_garbage_and_later_garbage_again(self) -> None:
        """08 §1: an earlier one is not overwritten; nor does the old log come back to life."""
        self.assert_moved(lambda path: path.write_bytes(GARBAGE))
        again = self.start()
        self.assertEqual(self.get(self.link(again), "k0"), "new")
        self.assertNotIn("[ERROR]", again.output)
        again.kill()
        self.path.write_bytes(GARBAGE * 2)
        self.start()
        self.assertEqual([p.read_bytes() for p in self.aside()], [GARBAGE, GARBAGE * 2])

    def test_a_name_that_is_taken_is_left_alone(self) -> None:
        """08 §1: "never overwritten" holds for what was moved aside before, too."""
        for second in range(60):
            now = datetime.now(UTC) + timedelta(seconds=second)
            Path(f"{self.path}.corrupt-{now:%Y%m%dT%H%M%SZ}").write_bytes(b"earlier")
        self.path.write_bytes(GARBAGE)
        self.start()
        kept = [path.read_bytes() for path in self.aside()]
        self.assertEqual((kept.count(b"earlier"), kept.count(GARBAGE)), (60, 1))

    def test_a_header_and_nothing_else(self) -> None:
        """08 §1: 100 bytes that look right."""
        self.log.unlink()
        self.assert_moved(lambda path: os.truncate(path, 100))

    def test_half_a_file(self) -> None:
        """08 §1: cut off in the middle."""
        self.log.unlink()
        self.assert_moved(lambda path: os.truncate(path, path.stat().st_size // 2))

    def test_wrong_pages_in_the_middle(self) -> None:
        """08 §1: the size is right, the header is too."""
        self.log.unlink()

        def overwrite(path: Path) -> None:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2 // 4096 * 4096)
                file.write(GARBAGE)

        self.assert_moved(overwrite)

    def test_an_empty_file_beside_its_log(self) -> None:
        """08 §1: what the log has is not lost."""
        logged = self.log.read_bytes()
        self.assertIn(b'"logged"', logged)
        self.assert_moved(lambda path: os.truncate(path, 0))
        self.assertEqual(Path(f"{self.aside()[0]}-wal").read_bytes(), logged)

    def test_a_log_with_a_torn_end_is_no_damage(self) -> None:
        """08 §1: it is what a crash can really leave behind."""
        with self.log.open("ab") as log:
            log.write(GARBAGE)
        engine = self.start()
        link = self.link(engine)
        self.assertEqual((self.get(link, "k0"), self.get(link, "k1")), (VALUE, "logged"))
        self.assertNotIn("[ERROR]", engine.output)


class DamagedWhileRunning(DamageCase):
    """08 §1: a corrupt file is an error to the caller; the engine goes on."""

    def test_what_cannot_be_read_is_an_error_with_a_code(self) -> None:
        """08 §1: and the file is moved aside at the next start."""
        engine = self.start()
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.seek(8192)
            file.write(random.Random(8).randbytes(size - 8192))
        link = self.link(engine)
        with self.assertRaises(Refused) as caught:
            for number in range(ITEMS):
                self.get(link, f"k{number}")
        self.assertEqual(caught.exception.code, "GET_ERROR")
        self.assertIn(f"{self.path}: the file is damaged", caught.exception.message)
        item = {"stream_name": "s", "group_id": "g", "item_id": "1", "data": 1}
        self.assertEqual(link.call("stream::set", item)["new_value"], 1)
        self.end(engine, signal.SIGTERM)

        again = self.start()
        self.assertEqual(len(self.aside()), 1)
        self.assertIn(str(self.aside()[0]), again.output)
        self.assertEqual(self.set(self.link(again), "k", 1)["new_value"], 1)
