"""`twistd iii`: in the foreground, as a daemon, and from an installed wheel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
import zipfile
from pathlib import Path

from tests.process_case import LIMIT_S, ROOT, ProcessCase, environment

PROGRAM = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
QUIET = "port: 0\nmodules: []\n"


class Twistd(ProcessCase):
    """Issue, part 8: the checkout under twistd."""

    def setUp(self) -> None:
        super().setUp()
        self.write("config.yaml", QUIET)

    def foreground(self, *options: str) -> tuple[str, ...]:
        """A program and its arguments for ``start``."""
        return ("-c", PROGRAM, "-n", "--pidfile", "it.pid", *options, "iii")

    def daemon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Start a daemon and wait until it has detached."""
        return self.run_python(
            *("-c", PROGRAM, "--pidfile", "it.pid", "--logfile", "it.log", "iii"), *arguments
        )

    def eventually(self, path: Path, *, there: bool = True) -> None:
        for _ in range(int(LIMIT_S / 0.02)):
            if path.exists() is there:
                return
            time.sleep(0.02)
        self.fail(f"{path.name}: expected there={there}")

    def test_in_the_foreground_it_logs_in_the_engines_format_and_exits_with_0(self) -> None:
        """Issue, part 8: `twistd -n iii`; SIGTERM ends it in good order."""
        child = self.start("-c", "config.yaml", program=self.foreground())
        socket.create_connection(("127.0.0.1", child.ready["worker"]), 5).close()
        self.assertTrue((self.directory / "it.pid").exists())
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 0, child.output)
        self.assertRegex(child.output, r" [AP]M\] \[INFO\] iii\.process SIGTERM: stopping")
        self.assertFalse((self.directory / "it.pid").exists())

    def test_a_log_file_can_be_rotated(self) -> None:
        """Issue, part 8: twistd's log file, rotated by SIGUSR1 as twistd's own."""
        child = self.start(program=self.foreground("--logfile", "it.log"))
        child.signal(signal.SIGUSR1)
        self.eventually(self.directory / "it.log.1")
        self.assertIn("is running", (self.directory / "it.log.1").read_text())

    def test_a_taken_port_is_one_line_and_exit_code_1(self) -> None:
        """01.58: under twistd too."""
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        port = holder.getsockname()[1]
        done = self.run_python(*self.foreground(), "--port", str(port))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(f"Error: address 127.0.0.1:{port} is already in use", done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        self.assertFalse((self.directory / "it.pid").exists())

    def test_a_wrong_configuration_is_told_before_detaching(self) -> None:
        """01.52: on the terminal, with exit code 1."""
        self.write("config.yaml", "modules: [{class: nope::X}]\n")
        done = self.daemon()
        self.assertEqual(done.returncode, 1)
        self.assertIn("Error: config.yaml:1: Unknown module class: nope::X", done.stderr)
        self.assertFalse((self.directory / "it.pid").exists())

    def test_a_daemon_has_pid_and_log_file_and_stops(self) -> None:
        """Issue, part 8: daemonised."""
        done = self.daemon("--ready-file", "ready")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.eventually(self.directory / "ready")
        pid = int((self.directory / "it.pid").read_text())
        self.addCleanup(self.end, pid)
        ready = json.loads((self.directory / "ready").read_text())
        socket.create_connection(("127.0.0.1", ready["worker"]), 5).close()
        os.kill(pid, signal.SIGTERM)
        self.eventually(self.directory / "it.pid", there=False)
        self.assertIn("stopped", (self.directory / "it.log").read_text())

    def test_a_daemon_that_cannot_start_says_so_to_its_parent(self) -> None:
        """01.58: the command that started it fails."""
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        done = self.daemon("--port", str(holder.getsockname()[1]))
        self.assertEqual(done.returncode, 1)
        self.assertIn("is already in use", done.stderr)
        self.eventually(self.directory / "it.pid", there=False)

    def end(self, pid: int) -> None:
        """Kill the daemon if the test left it."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class Wheel(ProcessCase):
    """Issue, part 8: an installed wheel, outside the checkout."""

    def test_the_installed_wheel_runs_outside_the_checkout(self) -> None:
        """Issue, part 8: `iii` and `twistd -n iii` of a wheel in an environment of its own."""
        wheel = self.built()
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        self.assertIn("twisted/plugins/iii_plugin.py", names)
        self.assertIn("iii/py.typed", names)
        self.assertFalse([name for name in names if name.startswith("tests/")])
        python = self.installed(wheel)
        where = subprocess.run(
            (python, "-c", "import iii; print(iii.__file__)"),
            cwd=self.directory,
            env=environment(PYTHONPATH=None),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(where.returncode, 0, where.stderr)
        self.assertIn(str(self.directory / "env"), where.stdout)
        self.write("config.yaml", QUIET)
        for command in ((python, "-c", PROGRAM, "-n", "iii"), (python.with_name("iii"),)):
            child = self.start(command=command, PYTHONPATH=None)
            socket.create_connection(("127.0.0.1", child.ready["worker"]), 5).close()
            child.signal(signal.SIGTERM)
            self.assertEqual(child.wait(), 0, child.output)

    def built(self) -> Path:
        """The wheel, built from a copy: a build writes into its source."""
        source = self.directory / "source"
        source.mkdir()
        kept = ("iii", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
        subprocess.run(("cp", "-r", *(str(ROOT / name) for name in kept), str(source)), check=True)
        done = self.run_python(
            *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--wheel-dir", "wheels", "./source"),
            limit_s=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        [wheel] = (self.directory / "wheels").glob("iii_engine-*.whl")
        return wheel

    def installed(self, wheel: Path) -> Path:
        """The Python of a new environment with the wheel; its dependencies are ours."""
        home = self.directory / "env"
        done = self.run_python("-m", "venv", "--without-pip", str(home), limit_s=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        python = home / "bin" / "python"
        done = self.run_python(
            *("-m", "pip", "--python", str(python)),
            *("install", "--quiet", "--no-deps", "--no-index", str(wheel)),
            # With the checkout on the path pip would find it installed already.
            env=environment(PYTHONPATH=None),
            limit_s=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        # A path in a .pth file is only a path: the checkout, which is installed there by a
        # .pth file of its own, does not come along.
        [packages] = (home / "lib").glob("python3.*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return python
