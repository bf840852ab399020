"""The ``iii`` command: start, stop, exit codes, and looking into a running engine."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from iii._version import __version__
from tests.process_case import LIMIT_S, Child, ProcessCase, environment, taken_port

QUIET = "port: 0\nmodules: []\n"
PORTS = "port: 0\nmodules:\n  - class: modules::api::RestApiModule\n    config: {port: 0}\n"


class Options(ProcessCase):
    """01 §15: options and exit codes."""

    def test_version_is_printed_bare(self) -> None:
        """01.51: `iii --version` prints one line with the version and exits with 0."""
        for option in ("--version", "-v"):
            done = self.iii(option)
            self.assertEqual((done.returncode, done.stdout), (0, f"{__version__}\n"))

    def test_an_unknown_option_is_a_usage_error(self) -> None:
        """01.51: `iii --nosuch` exits with 2."""
        for arguments in (["--nosuch"], ["-V"], ["nosuch"], ["--port", "65536"]):
            self.assertEqual(self.iii(*arguments).returncode, 2, arguments)

    def test_default_configuration_and_a_file_exclude_each_other(self) -> None:
        """01 §12.1: a conflict on the command line is a usage error."""
        done = self.iii("--use-default-config", "--config", "x.yaml")
        self.assertEqual(done.returncode, 2)
        self.assertIn("exclude each other", done.stderr)

    def test_help_names_the_commands(self) -> None:
        """01 §15: -h is help."""
        done = self.iii("-h")
        self.assertEqual(done.returncode, 0)
        for command in ("check", "trigger", "functions", "workers", "triggers"):
            self.assertIn(f"\n  {command} ", done.stdout)

    def test_the_commands_do_not_load_twisted(self) -> None:
        """Design: the client side of the command is the asyncio client."""
        program = "import sys, iii.cli; print('twisted' in sys.modules)"
        self.assertEqual(self.run_python("-c", program).stdout, "False\n")


class FailedStarts(ProcessCase):
    """01 §12, §13, §15: what cannot start ends with 1 and says why."""

    def assert_refused(self, text: str, *messages: str, **changes: str | None) -> str:
        self.write("config.yaml", text)
        done = self.iii(**changes)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertTrue(done.stderr.startswith("Error: "), done.stderr)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        for message in messages:
            self.assertIn(message, done.stderr)
        return done.stderr

    def test_an_unknown_module_class_is_named(self) -> None:
        """01.52: an unknown class ends the start."""
        self.assert_refused('modules: [{class: "nope::X"}]', "Unknown module class: nope::X")

    def test_an_unset_variable_is_named(self) -> None:
        """01.53: a variable without value and default ends the start."""
        self.assert_refused(
            "port: ${NO_SUCH_VAR}",
            "Environment variable 'NO_SUCH_VAR' not set and no default provided",
        )

    def test_a_quoted_number_is_no_port(self) -> None:
        """01.54: `"${P:1}"` is a string; a module refuses it with file and line."""
        text = (
            'port: 0\nmodules:\n  - class: modules::api::RestApiModule\n    config: {port: "1"}\n'
        )
        said = self.assert_refused(text, "config.yaml:4", "expected an integer")
        self.assertIn("failed to create module 'modules::api::RestApiModule'", said)

    def test_a_directory_is_no_configuration(self) -> None:
        """01.55: what is there and can't be read ends the start, never the defaults."""
        (self.directory / "config.yaml").mkdir()
        done = self.iii()
        self.assertEqual(done.returncode, 1)
        self.assertIn("config.yaml", done.stderr)

    def test_a_taken_worker_port_names_the_address(self) -> None:
        """01.58: exit code 1 within 5 s, with the address in the message."""
        port = taken_port(self)
        started = time.monotonic()
        self.assert_refused(f"port: {port}", f"address 127.0.0.1:{port} is already in use")
        self.assertLess(time.monotonic() - started, 5)

    def test_a_taken_http_port_names_the_module(self) -> None:
        """01 §14: a module that can't initialise is named as the file names it."""
        port = taken_port(self)
        self.assert_refused(
            f"port: 0\nworkers:\n  - name: iii-http\n    config: {{port: {port}}}\n",
            f"failed to initialize module 'iii-http': address 127.0.0.1:{port} is already in use",
        )

    def test_every_error_of_a_file_is_told_at_once(self) -> None:
        """01 §12: nobody has to fix a file error by error."""
        said = self.assert_refused('port: 99999\nmodules:\n  - class: "nope::X"\n  - class: 5\n')
        self.assertEqual(len(re.findall(r"^Error: config.yaml:\d", said, re.MULTILINE)), 3, said)


class Starts(ProcessCase):
    """What a start says and where it listens."""

    def test_without_a_file_the_default_modules_run(self) -> None:
        """01.55: no file, no Redis: the defaults start and the log names the missing path."""
        child = self.start("--port", "0")
        self.assertIn("worker", child.ready)
        self.assertIn("http", child.ready)
        missing = self.directory / "config.yaml"
        self.assertIn(f"Config file not found: '{missing}'", child.output)
        self.assertFalse(missing.exists())

    def test_the_port_of_the_file_may_come_from_the_environment(self) -> None:
        """01.53: the variable's value is the port."""
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        self.write("config.yaml", "port: ${IIITEST_PORT:0}\nmodules: []\n")
        child = self.start(IIITEST_PORT=str(port))
        self.assertEqual(child.ready["worker"], port)

    def test_the_ready_file_is_whole_or_absent(self) -> None:
        """08 §7: one JSON line, in a file that appears complete."""
        path = self.directory / "ready"
        self.write("config.yaml", PORTS)
        child = self.start("--ready-file", str(path))
        self.assertEqual(json.loads(path.read_text()), child.ready)
        self.assertEqual(child.ready["event"], "ready")
        self.assertEqual(list(self.directory.glob(".ready*")), [])

    def test_a_ready_line_that_cannot_be_written_ends_the_start(self) -> None:
        """08 §7: who waits for the line must not wait for ever."""
        self.write("config.yaml", QUIET)
        done = self.iii("--ready-file", "no/such/directory/ready")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Error: the ready line can't be written", done.stderr)

    def test_port_zero_also_frees_the_ports_nobody_chose(self) -> None:
        """08 §7: two default engines run beside each other."""
        first = self.start("--use-default-config", "--port", "0", III_IN_MEMORY="1")
        second = self.start("--use-default-config", "--port", "0", III_IN_MEMORY="1")
        self.assertNotEqual(first.ready["http"], second.ready["http"])

    def test_the_summary_says_what_listens_where_and_what_to_do(self) -> None:
        """Issue, part 8: start-up tells addresses, stores and the next step."""
        self.write("config.yaml", PORTS)
        child = self.start()
        for text in (
            f"ws://localhost:{child.ready['worker']}",
            f"http://localhost:{child.ready['http']}",
            str(self.directory / "config.yaml"),
            "stores",
            "curl",
        ):
            self.assertIn(text, child.output)

    def test_the_default_is_loopback_of_both_families(self) -> None:
        """01.55: nothing is reachable from other machines unless asked for."""
        self.write("config.yaml", QUIET)
        child = self.start()
        port = child.ready["worker"]
        socket.create_connection(("127.0.0.1", port), 5).close()
        if _has_ipv6():
            socket.create_connection(("::1", port), 5).close()
        self.assertNotIn("reachable from other machines", child.output)

    def test_an_open_port_without_token_is_warned_about_once(self) -> None:
        """Decision 1: a worker port beyond loopback without authentication is told."""
        self.write("config.yaml", QUIET)
        child = self.start(III_HOST="0.0.0.0")
        self.assertEqual(child.output.count("reachable from other machines"), 1)

    def test_json_format_makes_every_line_an_object(self) -> None:
        """05 A13: `format: json`; the summary goes through the log as well."""
        self.write(
            "config.yaml",
            "port: 0\nmodules:\n  - class: modules::observability::LoggingModule\n"
            "    config: {format: json}\n",
        )
        child = self.start()
        child.signal(signal.SIGTERM)
        child.wait()
        lines = [json.loads(line) for line in child.output.splitlines()]
        self.assertEqual({"timestamp", "level", "fields", "target"}, set(lines[0]))
        self.assertTrue(any("is running" in line["fields"]["message"] for line in lines))

    def test_a_low_file_limit_is_raised_or_warned_about(self) -> None:
        """Issue, part 8: RLIMIT_NOFILE goes to its hard limit; below 12,000 is told."""
        self.write("config.yaml", QUIET)
        program = (
            "import resource, runpy, sys\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 3000))\n"
            "sys.argv[0] = 'iii'\n"
            "runpy.run_module('iii', run_name='__main__')\n"
        )
        child = self.start(program=("-c", program))
        self.assertIn("only 3000 files can be open", child.output)
        limits = Path(f"/proc/{child.process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max open files\s+3000\s+3000")

    def test_an_idle_engine_connects_to_nobody(self) -> None:
        """01.65: no usage analytics; the telemetry entry is accepted (short form)."""
        self.write(
            "config.yaml", "port: 0\nmodules:\n  - class: modules::telemetry::TelemetryModule\n"
        )
        program = (
            "import runpy, socket, sys\n"
            "def refuse(*arguments): raise SystemExit('outbound: %r' % (arguments,))\n"
            "socket.socket.connect = socket.socket.connect_ex = refuse\n"
            "resolve = socket.getaddrinfo\n"
            "def numeric(host, *rest):\n"
            "    return resolve(host, *rest) if host == '::1' else refuse(host)\n"
            "socket.getaddrinfo = numeric\n"
            "sys.argv[0] = 'iii'\n"
            "runpy.run_module('iii', run_name='__main__')\n"
        )
        child = self.start(program=("-c", program))
        # The whole five minutes in `make soak`.
        time.sleep(300 if os.environ.get("III_SOAK") == "1" else 3)
        self.assertIsNone(child.process.poll(), child.output)
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 0, child.output)
        self.assertNotIn("outbound", child.output)


class Stops(ProcessCase):
    """01 §15, 08 §4: signals."""

    def test_sigterm_and_sigint_end_with_0_and_free_the_port(self) -> None:
        """01.50: orderly stop within 10 s."""
        self.write("config.yaml", PORTS)
        for number in (signal.SIGTERM, signal.SIGINT):
            child = self.start()
            started = time.monotonic()
            child.signal(number)
            self.assertEqual(child.wait(), 0, child.output)
            self.assertLess(time.monotonic() - started, 10)
            for name in ("worker", "http"):
                with self.assertRaises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", child.ready[name]), 5)

    def test_a_second_signal_ends_at_once_with_130(self) -> None:
        """08 §4: who signals twice does not want to wait."""
        self.write("config.yaml", QUIET)
        child = self.start()
        worker = self.busy_worker(child)
        child.signal(signal.SIGTERM)
        self.assert_stopping(child)
        started = time.monotonic()
        child.signal(signal.SIGTERM)
        self.assertEqual(child.wait(), 130)
        self.assertLess(time.monotonic() - started, 2)
        worker.kill()

    def busy_worker(self, child: Child) -> subprocess.Popen[bytes]:
        """A worker that executes a call which never ends."""
        program = (
            "import asyncio, sys\n"
            "from iii import III\n"
            "iii = III(sys.argv[1])\n"
            "async def forever(data):\n"
            "    print('busy', flush=True)\n"
            "    await asyncio.Event().wait()\n"
            "async def main():\n"
            "    iii.register_function('t::forever', forever)\n"
            "    await iii.connect()\n"
            "    await iii.invoke('t::forever', {})\n"
            "asyncio.run(main())\n"
        )
        worker = subprocess.Popen(
            (sys.executable, "-c", program, f"ws://127.0.0.1:{child.ready['worker']}"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        assert worker.stdout is not None
        self.addCleanup(worker.stdout.close)
        self.assertEqual(worker.stdout.readline(), b"busy\n")
        return worker

    def assert_stopping(self, child: Child) -> None:
        for _ in range(int(LIMIT_S / 0.02)):
            if "waiting for 1 call(s) or answer(s) in flight" in child.output:
                return
            time.sleep(0.02)
        self.fail(f"the engine does not stop:\n{child.output}")

    def test_systemd_is_told(self) -> None:
        """08 §7: READY=1, WATCHDOG=1 and STOPPING=1 arrive at NOTIFY_SOCKET."""
        address = str(self.directory / "notify")
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(inbox.close)
        inbox.bind(address)
        inbox.settimeout(LIMIT_S)
        self.write("config.yaml", QUIET)
        child = self.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="200000", WATCHDOG_PID=None)
        self.assertEqual(inbox.recv(100), b"READY=1")
        self.assertEqual(inbox.recv(100), b"WATCHDOG=1")
        self.assertEqual(inbox.recv(100), b"WATCHDOG=1")
        child.signal(signal.SIGTERM)
        said = {inbox.recv(100)}
        while b"STOPPING=1" not in said:
            said.add(inbox.recv(100))
        self.assertEqual(child.wait(), 0)
        self.assertLessEqual(said, {b"WATCHDOG=1", b"STOPPING=1"})


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
