"""Watching: the kernel's way, the other way, and many changes as one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock as Ticks
from twisted.trial.unittest import SynchronousTestCase

from iii.engine.clock import Clock
from iii.modules.shell import inotify, polling, watching
from iii.modules.shell.globs import Globs
from iii.modules.shell.inotify import CannotWatch, InotifyWatch
from iii.modules.shell.polling import PollingWatch
from iii.modules.shell.watching import Changes, Watcher
from tests.shell.cases import ShellCase


class Debounce(SynchronousTestCase):
    """05 B5: changes that follow each other closely are one."""

    def setUp(self) -> None:
        self.ticks = Ticks()
        self.acts: list[tuple[str, int]] = []
        self.changes = Changes(Clock.virtual(self.ticks), 0.2, self.act)

    def act(self, path: str, count: int) -> None:
        self.acts.append((path, count))

    def test_it_acts_once_when_it_has_been_quiet(self) -> None:
        for index in range(10):
            self.changes.add(f"f{index}")
            self.ticks.advance(0.19)
        self.assertEqual(self.acts, [])
        self.ticks.advance(0.01)
        self.assertEqual(self.acts, [("f0", 10)])

        self.changes.add("g")
        self.ticks.advance(0.2)
        self.assertEqual(self.acts[1:], [("g", 1)])

    def test_it_does_not_wait_for_ever(self) -> None:
        """Design: a file that is written all the time."""
        for _ in range(30):
            self.changes.add("log")
            self.ticks.advance(0.1)
        self.assertEqual(self.acts, [("log", 20)])

    def test_stopped_it_forgets(self) -> None:
        self.changes.add("f")
        self.changes.stop()
        self.assertEqual(self.ticks.getDelayedCalls(), [])


class WatchCase(ShellCase):
    """A watch on the test's folder."""

    def setUp(self) -> None:
        super().setUp()
        self.changed: list[str] = []
        self.failures: list[str] = []

    def globs(self, *patterns: str) -> Globs:
        return Globs([f"{self.folder}/{pattern}" for pattern in patterns], (), str(Path.cwd()))

    async def watch(self, *patterns: str) -> InotifyWatch:
        watch = InotifyWatch(
            reactor, self.clock, self.globs(*patterns), self.note, self.failures.append
        )
        return await self.started(watch)

    async def started(self, watch: Any) -> Any:
        watch.start()
        self.addCleanup(self.turn)
        self.addCleanup(watch.stop)
        await self.eventually(lambda: watch.is_complete)
        return watch

    def note(self, path: str) -> None:
        self.changed.append(os.path.relpath(path, self.folder))

    async def told(self, *paths: str) -> None:
        """Wait until exactly these have been told, in any number, and forget them."""
        await self.eventually(lambda: set(paths) <= set(self.changed))
        self.assertEqual(set(self.changed), set(paths))
        self.changed.clear()


class Inotify(WatchCase):
    """05 B5: edits, new files, deletions and renames are seen at once."""

    async def test_it_sees_what_happens_to_files_that_count(self) -> None:
        self.file("a.py").write_text("1")
        await self.watch("**/*.py")
        self.file("x.txt").write_text("no")
        self.file("a.py").write_text("2")
        await self.told("a.py")
        self.file("a.py").rename(self.file("b.py"))
        await self.told("a.py", "b.py")
        self.file("new").write_text("3")
        self.file("new").replace(self.file("b.py"))
        await self.told("b.py")
        self.file("b.py").unlink()
        await self.told("b.py")
        self.file("c.py").symlink_to("x.txt")
        await self.told("c.py")

    async def test_directories_that_come_later_are_watched_with_what_is_in_them(self) -> None:
        await self.watch("src/**/*.py")
        self.file("src/a/b").mkdir(parents=True)
        self.file("src/a/b/c.py").write_text("1")
        await self.told("src/a/b/c.py")
        self.file("src/a/b/c.py").write_text("2")
        await self.told("src/a/b/c.py")

    async def test_a_removed_root_is_watched_again_when_it_is_back(self) -> None:
        """Design: ``git checkout`` takes directories away and brings them back."""
        self.file("src/a").mkdir(parents=True)
        self.file("src/a/b.py").write_text("1")
        watch = await self.watch("src/**/*.py")
        shutil.rmtree(self.file("src"))
        await self.told("src/a/b.py")
        await self.eventually(lambda: watch.directories == 2 + self.above())
        self.file("src").mkdir()
        self.file("src/c.py").write_text("1")
        await self.told("src/c.py")

    def above(self) -> int:
        """Directories between the working directory and the folder."""
        return len(self.folder.parts) - 1

    async def test_a_moved_directory_goes_on_under_its_new_name(self) -> None:
        self.file("src/a").mkdir(parents=True)
        self.file("src/a/b.py").write_text("1")
        await self.watch("src/**/*.py")
        self.file("src/a").rename(self.file("src/z"))
        await self.told("src/a", "src/z/b.py")
        self.file("src/z/b.py").write_text("2")
        await self.told("src/z/b.py")

    async def test_a_link_that_is_a_root_may_be_turned_to_another_directory(self) -> None:
        """Design: releases are switched this way."""
        for name in ("v1", "v2"):
            self.file(name).mkdir()
            self.file(f"{name}/a.py").write_text(name)
        self.file("now").symlink_to("v1")
        await self.watch("now/*.py")
        self.file("next").symlink_to("v2")
        self.file("next").replace(self.file("now"))
        await self.told("now/a.py")
        self.file("v2/a.py").write_text("new")
        await self.told("now/a.py")

    async def test_ignored_directories_cost_no_watch(self) -> None:
        for name in ("node_modules/a", ".git/objects", "src"):
            self.file(name).mkdir(parents=True)
        watch = await self.watch("**/*.js")
        self.assertEqual(watch.directories, 2 + 1 + self.above())

    async def test_a_glob_may_lead_out_of_the_working_directory(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="iii-test-")))
        await self.watch("later/*.py")
        self.file("later").mkdir()
        self.file("later/a.py").write_text("1")
        await self.told("later/a.py")

    async def test_a_lost_event_counts_as_a_change(self) -> None:
        """Design: the kernel's queue of events has an end."""
        watch = await self.watch("*.py")
        watch._received(-1, inotify.IN_Q_OVERFLOW, "")
        self.assertEqual([Path(path).name for path in self.changed], [inotify.TOO_MANY])
        self.assertEqual(len(self.logged("dropped changes", "warn")), 1)
        await self.eventually(lambda: watch.is_complete)

    async def test_too_many_directories_are_a_failure(self) -> None:
        self.patch(inotify, "MAX_WATCHED_DIRECTORIES", 3)
        for index in range(4):
            self.file(f"d{index}").mkdir()
        watch = InotifyWatch(
            reactor, self.clock, self.globs("**/*.py"), self.note, self.failures.append
        )
        watch.start()
        await self.eventually(lambda: self.failures)
        self.assertEqual(self.failures, ["more than 3 directories are to be watched"])
        await self.turn()


class Polling(WatchCase):
    """The same where the system can't tell."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(polling, "INTERVAL_S", 0.01)

    async def test_it_sees_what_happens_to_files_that_count(self) -> None:
        self.file("src").mkdir()
        self.file("src/a.py").write_text("1")
        await self.started(PollingWatch(reactor, self.clock, self.globs("src/**/*.py"), self.note))
        self.file("src/a.py").write_text("22")
        await self.told("src/a.py")
        self.file("src/b").mkdir()
        self.file("src/a.py").rename(self.file("src/b/c.py"))
        await self.told("src/a.py", "src/b/c.py")
        shutil.rmtree(self.file("src"))
        await self.told("src/b/c.py")

    async def test_the_number_of_files_is_bounded(self) -> None:
        self.patch(polling, "MAX_POLLED_FILES", 2)
        for name in "abc":
            self.file(f"{name}.py").write_text("1")
        await self.started(PollingWatch(reactor, self.clock, self.globs("*.py"), self.note))
        self.assertEqual(len(self.logged("more than 2 files", "warn")), 1)


class Choosing(WatchCase):
    """Without inotify it polls."""

    async def test_a_system_that_gives_no_inotify_is_polled_and_says_so(self) -> None:
        def refuse(*_: object) -> None:
            raise CannotWatch("the system gives no inotify instance")

        self.patch(watching, "InotifyWatch", refuse)
        watcher = Watcher(reactor, self.clock, self.globs("*.py"), self.note)
        watcher.start()
        self.addCleanup(watcher.stop)
        self.assertIsInstance(watcher.watch, PollingWatch)
        self.assertEqual(len(self.logged("gives no inotify instance; files are", "warn")), 1)
        await self.eventually(lambda: watcher.watch and watcher.watch.is_complete)

    async def test_a_tree_that_is_too_large_is_polled(self) -> None:
        self.patch(inotify, "MAX_WATCHED_DIRECTORIES", 1)
        watcher = Watcher(reactor, self.clock, self.globs("*.py"), self.note)
        watcher.start()
        self.addCleanup(watcher.stop)
        await self.eventually(lambda: isinstance(watcher.watch, PollingWatch))
        await self.eventually(lambda: watcher.watch and watcher.watch.is_complete)

    async def test_a_system_without_inotify_is_polled(self) -> None:
        """Design: macOS."""
        self.patch(watching, "InotifyWatch", None)
        watcher = Watcher(reactor, self.clock, self.globs("*.py"), self.note)
        watcher.start()
        self.addCleanup(watcher.stop)
        self.assertIsInstance(watcher.watch, PollingWatch)
        await self.eventually(lambda: watcher.watch and watcher.watch.is_complete)
