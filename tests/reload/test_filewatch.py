"""Noticing a changed file, whichever way it was changed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.internet import task
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.filewatch import INTERVAL_S, FileWatch, stamp_of


class Watching(TestCase):
    """One look decides that something is going on, the next one that it is over."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="iii-test-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)
        self.path = self.directory / "config.yaml"
        self.path.write_text("port: 1\n")
        self.timers = task.Clock()
        self.changes = 0

    def watch(self, path: Path | None = None) -> FileWatch:
        path = path or self.path
        clock = Clock.virtual(self.timers, epoch=1e9)
        watch = FileWatch(clock, path, stamp_of(path), self.changed)
        watch.start()
        self.looks(3)
        self.assertEqual(self.changes, 0)
        return watch

    def changed(self) -> None:
        self.changes += 1

    def looks(self, count: int) -> None:
        for _ in range(count):
            self.timers.advance(INTERVAL_S)

    def assert_noticed_once(self) -> None:
        self.looks(1)
        self.assertEqual(self.changes, 0)
        self.looks(1)
        self.assertEqual(self.changes, 1)
        self.looks(5)
        self.assertEqual(self.changes, 1)

    def test_written_in_place(self) -> None:
        self.watch()
        self.path.write_text("port: 22\n")
        self.assert_noticed_once()

    def test_another_file_renamed_over_it(self) -> None:
        self.watch()
        new = self.directory / ".config.yaml.swp"
        new.write_text("port: 2\n")
        status = self.path.stat()
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.replace(self.path)
        self.assert_noticed_once()

    def test_moved_away_and_written_anew(self) -> None:
        """What vim does with ``backupcopy=no``, with a look in between."""
        self.watch()
        self.path.rename(self.directory / "config.yaml~")
        self.looks(1)
        self.path.write_text("port: 2\n")
        self.assert_noticed_once()

    def test_a_link_of_its_directory_turned(self) -> None:
        """What Kubernetes does with a ConfigMap."""
        for version in ("1", "2"):
            (self.directory / version).mkdir()
            (self.directory / version / "config.yaml").write_text(f"port: {version}\n")
        data, link = self.directory / "..data", self.directory / "mounted.yaml"
        data.symlink_to("1")
        link.symlink_to("..data/config.yaml")
        self.watch(link)
        turned = self.directory / "..tmp"
        turned.symlink_to("2")
        turned.replace(data)
        self.assert_noticed_once()

    def test_still_being_written(self) -> None:
        """Nothing is read until it has been quiet for half a second."""
        self.watch()
        for size in range(4):
            self.path.write_text("#" * (100 + size))
            self.looks(1)
            self.assertEqual(self.changes, 0)
        self.looks(1)
        self.assertEqual(self.changes, 1)

    def test_gone_and_back(self) -> None:
        self.watch()
        self.path.unlink()
        self.assert_noticed_once()
        self.path.write_text("port: 1\n")
        self.looks(2)
        self.assertEqual(self.changes, 2)

    def test_changed_between_reading_and_watching(self) -> None:
        seen = stamp_of(self.path)
        self.path.write_text("port: 22\n")
        FileWatch(Clock.virtual(self.timers, epoch=1e9), self.path, seen, self.changed).start()
        self.assert_noticed_once()

    def test_stopped(self) -> None:
        watch = self.watch()
        watch.stop()
        self.path.write_text("port: 22\n")
        self.looks(5)
        self.assertEqual(self.changes, 0)
        self.assertEqual(self.timers.getDelayedCalls(), [])
        watch.start()
        self.looks(2)
        self.assertEqual(self.changes, 1)
