"""What a cut leaves of files: the layer itself."""

from __future__ import annotations

from random import Random
from unittest import TestCase

from tests.durability.power_disk import SECTOR_BYTES, Disk
from tests.durability.power_vfs import (
    Created,
    Deleted,
    DirectorySynced,
    Note,
    Synced,
    Truncated,
    Written,
)

OLD, NEW = b"o" * 4 * SECTOR_BYTES, b"n" * 2 * SECTOR_BYTES
CUTS = 300


class Cuts(TestCase):
    """08 §1: what was synced is there, of the rest anything may be."""

    def left(self, *notes: Note) -> set[bytes | None]:
        """Everything that the file ``a`` may be after a cut."""
        disk = Disk()
        for position, note in enumerate(notes):
            disk.follow(position, note)
        chance = Random(1)
        return {disk.cut(chance)[0].get("a") for _ in range(CUTS)}

    def kept(self, *notes: Note) -> set[bytes | None]:
        """The same, where the file's name and its old content are on the disk."""
        first = (Created("a", 1), Written(1, 0, OLD), Synced(1, 2), DirectorySynced(2))
        return self.left(*first, *notes)

    def test_what_was_synced_is_there(self) -> None:
        self.assertEqual(self.kept(), {OLD})
        self.assertEqual(self.kept(Truncated(1, 3), Synced(1, 5)), {OLD[:3]})

    def test_a_write_may_be_there_in_part(self) -> None:
        found = self.kept(Written(1, SECTOR_BYTES, NEW))
        whole = OLD[:SECTOR_BYTES] + NEW + OLD[3 * SECTOR_BYTES :]
        half = OLD[:SECTOR_BYTES] + NEW[:SECTOR_BYTES] + OLD[2 * SECTOR_BYTES :]
        self.assertLessEqual({OLD, whole, half}, found)
        for content in found:
            assert content is not None
            self.assertEqual(content[:SECTOR_BYTES], OLD[:SECTOR_BYTES])
            self.assertEqual(content[3 * SECTOR_BYTES :], OLD[:SECTOR_BYTES])

    def test_a_later_write_may_be_there_without_an_earlier_one(self) -> None:
        found = self.kept(Written(1, 0, b"1"), Written(1, 1, b"2"))
        self.assertIn(b"o2" + OLD[2:], found)
        self.assertIn(b"1o" + OLD[2:], found)

    def test_a_write_behind_the_end_leaves_a_hole(self) -> None:
        found = self.kept(Written(1, len(OLD) + 2, b"x"))
        self.assertLessEqual({OLD, OLD + b"\0\0x"}, found)

    def test_what_was_written_while_a_sync_ran_is_not_covered(self) -> None:
        self.assertIn(OLD, self.kept(Written(1, 0, NEW), Synced(1, 4)))

    def test_names_last_when_their_directory_was_synced(self) -> None:
        made = (Created("a", 1), Written(1, 0, OLD), Synced(1, 2))
        self.assertEqual(self.left(*made), {None, OLD})
        self.assertEqual(self.left(*made, DirectorySynced(3)), {OLD})
        self.assertEqual(self.kept(Deleted("a")), {None, OLD})
        self.assertEqual(self.kept(Deleted("a"), DirectorySynced(5)), {None})
