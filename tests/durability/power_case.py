"""A store is written while a ``Recorder`` listens; then the power goes, again and again.

Every turn of the test is one batch of the store, so what a file holds after a cut must be
exactly what it held after *some* turn: not before the last one that was acknowledged
(``fsync``), or was acknowledged a second ago (``os``), and not a mixture of two.  The
store's clock is virtual, so "a second ago" is exact; the time a sync takes doesn't count.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from iii.engine.clock import Clock
from iii.engine.core import Engine
from iii.engine.module import ModuleApi
from iii.errors import StartError
from iii.storage import database
from iii.storage.database import SYNC_S, Database
from iii.storage.files import StoreFile
from tests.durability.power_disk import Disk
from tests.durability.power_vfs import Mark, Recorder

#: small: at about every second tick the log is moved into the file, which syncs both
CHECKPOINT_BYTES = 512 * 1024
TURNS = 250
RESTARTS = 3
TICK_S = 0.25

Content = dict[Any, Any]


@dataclass(frozen=True)
class Opened:
    """The store is ready."""


@dataclass(frozen=True)
class Asked:
    """The writes of a turn were handed over."""

    turn: int


@dataclass(frozen=True)
class Acknowledged:
    """They were answered."""

    turn: int
    at_s: float


@dataclass(frozen=True)
class Time:
    """It is so late on the store's clock, and what was due has been done."""

    now_s: float


class Owed:
    """What a file must hold, at one place of the notes."""

    def __init__(self) -> None:
        self.opened = False
        self.asked = 0
        self.acknowledged = 0
        self.now_s = 0.0
        self._when: list[tuple[float, int]] = []

    def follow(self, mark: Mark) -> None:
        """``mark`` is behind us."""
        what = mark.what
        if isinstance(what, Opened):
            self.opened = True
        elif isinstance(what, Asked):
            self.asked = what.turn
        elif isinstance(what, Acknowledged):
            self.acknowledged = what.turn
            self._when.append((what.at_s, what.turn))
        elif isinstance(what, Time):
            self.now_s = what.now_s

    def at_least(self, *, fsync: bool) -> int:
        """The turn that must be there."""
        if fsync:
            return self.acknowledged
        old = (turn for when, turn in self._when if when <= self.now_s - SYNC_S)
        return max(old, default=0)


class PowerCase(TestCase):
    """Records a store and cuts the power; the store is the subclass's.

    :cvar schema: its schema
    """

    schema: str
    timeout = 120

    def setUp(self) -> None:
        self.seed = SystemRandom().randrange(10**9)
        self.chance = Random(self.seed)
        # In memory where that is offered: thousands of files are made.
        fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        holder = tempfile.TemporaryDirectory(prefix="iii-power-", dir=fast)
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name) / "store"
        self.directory.mkdir()
        self.cuts = Path(holder.name) / "cuts"
        self.engine = Engine(reactor)
        self.addCleanup(gc.collect)
        self.addCleanup(self.engine.stop)
        self.api = ModuleApi(self.engine, "test")
        self.ticks = task.Clock()
        self.api.clock = Clock.virtual(self.ticks)
        self.patch(database, "CHECKPOINT_BYTES", CHECKPOINT_BYTES)
        self.recorder = Recorder(self.directory)
        self.recorder.start()
        self.addCleanup(self.recorder.stop)
        self.patch(os, "fdatasync", self.recorder.fdatasync)
        self.turns: list[Content] = [{}]

    # For the subclass ------------------------------------------------------------------

    def use(self, file: Database) -> None:
        """Begin to use a file that has just been opened."""
        raise NotImplementedError

    def write(self, content: Content) -> Deferred[Any]:
        """Write a little, and put into ``content`` what that makes of it."""
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        """Let go of the file."""
        raise NotImplementedError

    def read(self, connection: sqlite3.Connection) -> Content:
        """All that a file holds."""
        raise NotImplementedError

    # Recording -------------------------------------------------------------------------

    def open(self, *, fsync: bool) -> Database:
        """The store's file."""
        path = self.directory / "store.sqlite"
        return Database(self.api, path, "power", self.schema, fsync=fsync)

    async def record(self, *, fsync: bool) -> None:
        """Write for a while, with restarts."""
        for _ in range(RESTARTS):
            file = self.open(fsync=fsync)
            self.use(file)
            self.recorder.mark(Opened())
            waiting: list[Deferred[None]] = []
            for _ in range(TURNS // RESTARTS):
                waiting.append(self.turn())
                if self.chance.random() < 0.4:
                    await waiting[-1]
                else:
                    await self.go_round()
                if self.chance.random() < 0.3:
                    await self.advance(file, TICK_S)
            for answered in waiting:
                await answered
            await self.close()

    def turn(self) -> Deferred[None]:
        """One batch; fires when it was answered."""
        turn = len(self.turns)
        content = dict(self.turns[-1])
        self.recorder.mark(Asked(turn))
        answered = self.write(content)
        self.turns.append(content)
        return answered.addCallback(
            lambda _: self.recorder.mark(Acknowledged(turn, self.ticks.seconds()))
        )

    async def _kept(self, file: Database) -> None:
        """Wait until the keeper has done what it was told."""
        done: Deferred[None] = Deferred()
        call = reactor.callFromThread  # type: ignore[attr-defined]
        file._keeper.submit(call, done.callback, None)
        await done

    async def advance(self, file: Database, seconds: float) -> None:
        """Move the store's time; what is due then is done before it counts."""
        self.ticks.advance(seconds)
        await self._kept(file)
        self.recorder.mark(Time(self.ticks.seconds()))

    async def go_round(self) -> None:
        """Let the reactor go round."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(0, passed.callback, None)  # type: ignore[attr-defined]
        await passed

    # Cutting ---------------------------------------------------------------------------

    def assert_kept(self, cuts: int, *, fsync: bool) -> None:
        """Nothing is missing that has to be there after any of so many cuts."""
        self.assertEqual(self.problems(cuts, fsync=fsync), [])

    def assert_cuts_hurt(self) -> None:
        """Writes are lost that a store which syncs would have to keep, and nothing else is."""
        kinds = {problem.partition(":")[0] for problem in self.problems(100, fsync=True)}
        self.assertEqual(kinds, {"LOST"})

    def problems(self, count: int, *, fsync: bool, last: bool = False) -> list[str]:
        """What is wrong after each of ``count`` cuts; a loss says so first.

        :param last: all cuts are where the notes end
        """
        self.recorder.recording = False
        notes = self.recorder.notes
        answers = [
            number + 1
            for number, note in enumerate(notes)
            if isinstance(note, Mark) and isinstance(note.what, Acknowledged)
        ]
        # Anywhere, and right behind an answer, where most is owed.
        places = sorted(
            self.chance.choice(answers) if number % 2 else self.chance.randint(1, len(notes))
            for number in range(count)
        )
        found: list[str] = []
        for position, cut in self._cuts([len(notes)] * count if last else places):
            owed, disk = cut
            directory = self.cuts / str(position)
            directory.mkdir(parents=True, exist_ok=True)
            left, told = disk.cut(self.chance)
            for name, content in left.items():
                (directory / name).write_bytes(content)
            verdict = self._verdict(directory / "store.sqlite", owed, fsync=fsync)
            if verdict is not None:
                found.append(f"{verdict} (cut at {position}: {told}; seed {self.seed})")
            for file in directory.iterdir():
                file.unlink()
        return found

    def _cuts(self, places: list[int]) -> Iterator[tuple[int, tuple[Owed, Disk]]]:
        """What is owed and what there is, at each place of the notes."""
        owed, disk = Owed(), Disk()
        for number, note in enumerate(self.recorder.notes):
            if isinstance(note, Mark):
                owed.follow(note)
            else:
                disk.follow(number, note)
            while places and places[0] == number + 1:
                places.pop(0)
                yield number + 1, (owed, disk)

    def _verdict(self, path: Path, owed: Owed, *, fsync: bool) -> str | None:
        file = StoreFile(path, self.schema)
        try:
            file.claim("corrupt")
        except StartError as error:
            return f"UNSOUND: {error}"
        try:
            with closing(file.connect()) as connection:
                state: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
                content = self.read(connection)
        finally:
            file.release()
        # Before the first start is over there is nothing to be lost, and a torn file is none.
        if owed.opened and list(path.parent.glob("*.corrupt*")):
            return "UNSOUND: moved aside"
        if state != "ok":
            return f"UNSOUND: {state}"
        return self._compared(content, owed.at_least(fsync=fsync), owed.asked)

    def _compared(self, content: Content, least: int, most: int) -> str | None:
        if content in self.turns[least : most + 1]:
            return None
        if content in self.turns:
            turn = max(turn for turn, held in enumerate(self.turns) if held == content)
            return f"LOST: it holds turn {turn}, due was {least} to {most}"
        wanted = self.turns[least]
        missing = [key for key in wanted if key not in content]
        return f"MIXED: due was turn {least} to {most}; of {least} are missing: {missing}"


def length(chance: Random) -> int:
    """Most values are short; some fill pages."""
    return chance.choice((0, 20, 200, 200, 2_000, 12_000))
