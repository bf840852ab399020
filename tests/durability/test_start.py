"""Never silently in memory, and one writer: what stops a start (08 §1)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from tests.durability.durability_case import DATA, FILES, DurabilityCase
from tests.process_case import LIMIT_S, environment

NOBODY = 65534


class Refusals(DurabilityCase):
    """08 §1: the start fails with the absolute path and the reason."""

    def assert_not_started(
        self, *texts: str | Path, command: tuple[str, ...] = (sys.executable,)
    ) -> None:
        """An engine ends by itself and says all of ``texts``."""
        done = self.run_command(*command, "-m", "iii")
        self.assertNotEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("is running", done.stdout + done.stderr)
        for text in texts:
            self.assertIn(str(text), done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def as_nobody(self) -> tuple[str, ...]:
        """A Python that is bound by the rights of files, as root is not."""
        if os.geteuid():
            return (sys.executable,)
        shown = shutil.which("setpriv")
        if shown is None:
            raise SkipTest("root may write everywhere, and setpriv is missing")
        self.directory.chmod(0o755)
        ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        command = (shown, *ids, sys.executable)
        tried = subprocess.run((*command, "-c", "import iii.config"), capture_output=True)
        if tried.returncode:
            raise SkipTest(f"another user can't run the engine: {tried.stderr.decode()[-300:]}")
        return command

    def test_a_directory_that_cannot_be_made(self) -> None:
        """08 §1: a file is in the way."""
        self.write(DATA, "")
        self.configure()
        self.assert_not_started(self.directory / DATA / "state", "Not a directory")

    def test_a_directory_that_may_not_be_written(self) -> None:
        """08 §1: it is there already."""
        self.configure()
        (self.directory / DATA / "state").mkdir(parents=True)
        (self.directory / DATA / "state").chmod(0o555)
        self.assert_not_started(
            self.directory / DATA / "state", "Permission denied", command=self.as_nobody()
        )

    def test_a_file_that_may_not_be_written(self) -> None:
        """08 §1: the directory may, and reading would work."""
        self.configure()
        self.end(self.start(), signal.SIGTERM)
        command = self.as_nobody()
        for directory in (self.directory / DATA, *(self.directory / DATA).iterdir()):
            directory.chmod(0o777)
        for path in self.file("state").parent.iterdir():
            path.chmod(0o666)
        before = self.file("state").read_bytes()
        self.file("state").chmod(0o444)
        self.assert_not_started(self.file("state"), command=command)
        self.assertEqual(self.file("state").read_bytes(), before)

    def test_a_second_engine_on_the_same_directory(self) -> None:
        """08 §1: it names the first one's process and leaves it alone.

        The first one has logged the absolute path of every store.
        """
        self.configure()
        first = self.start()
        for store in FILES:
            self.assertIn(str(self.file(store)), first.output)
        link = self.link(first)
        self.set(link, "k", 1)
        self.assert_not_started(self.file("state"), f"process {first.process.pid}")
        self.assertEqual(self.set(link, "k", 2), {"old_value": 1, "new_value": 2})

    def run_command(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the directory to its end."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
