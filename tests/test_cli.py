"""The ``iii`` command: start, stop, exit codes, and looking into a running engine."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from iii._version import __version__
from tests.process_case import LIMIT_S, ROOT, Child, ProcessCase, environment

QUIET = "port: 0\nmodules: []\n"
PORTS = "port: 0\nmodules:\n  - class: modules::api::RestApiModule\n    config: {port: 0}\n"


def taken_port(case: ProcessCase) -> int:
    """A port that somebody else listens on until the test ends."""
    holder = socket.create_server(("127.0.0.1", 0))
    case.addCleanup(holder.close)
    port: int = holder.getsockname()[1]
    return port


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
        first = self.start("--use-default-config", "--port", "0")
        second = self.start("--use-default-config", "--port", "0")
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
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
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
            if "waiting for 1 call(s) in flight" in child.output:
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


class Check(ProcessCase):
    """08 §7: `iii check`."""

    def test_a_good_file_is_ok(self) -> None:
        """08 §7: exit code 0."""
        self.write("config.yaml", PORTS)
        done = self.iii("check")
        self.assertEqual((done.returncode, done.stdout), (0, "config.yaml: ok\n"))

    def test_the_configuration_of_the_checkout_is_ok_even_strictly(self) -> None:
        """Issue, part 1: the shipped file has no unknown key."""
        done = self.iii("check", "--strict", "-c", str(ROOT / "config.yaml"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_misspelled_key_is_a_warning_with_line_and_suggestion(self) -> None:
        """Decision 11: unknown keys warn, and are errors with --strict."""
        self.write(
            "c.yaml",
            "port: 0\nmodules:\n  - class: modules::api::RestApiModule\n"
            "    config: {defualt_timeout: 5}\n",
        )
        done = self.iii("check", "-c", "c.yaml")
        self.assertEqual(done.returncode, 0)
        self.assertIn("c.yaml:4", done.stdout)
        self.assertIn("did you mean 'default_timeout'?", done.stdout)
        self.assertEqual(self.iii("check", "-c", "c.yaml", "--strict").returncode, 1)
        self.assertEqual(self.iii("-c", "c.yaml", "check", "--strict").returncode, 1)

    def test_json_has_every_problem(self) -> None:
        """08 §7: --json everywhere."""
        self.write("c.yaml", "prot: 1\nmodules: [{class: nope::X}]\n")
        done = self.iii("check", "-c", "c.yaml", "--json")
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1)
        self.assertFalse(report["ok"])
        rows = [(row["severity"], row["line"]) for row in report["problems"]]
        self.assertEqual(rows, [("warning", 1), ("error", 2)])

    def test_a_missing_file_is_an_error(self) -> None:
        """08 §7: checking nothing is no success."""
        self.assertEqual(self.iii("check", "-c", "nosuch.yaml").returncode, 1)

    def test_nothing_is_started_or_written(self) -> None:
        """08 §7: checking a file of a running engine is harmless."""
        port = taken_port(self)
        self.write("config.yaml", f"port: {port}\n")
        self.assertEqual(self.iii("check").returncode, 0)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["config.yaml"])


class Looking(ProcessCase):
    """01 §15, 08 §7: commands that talk to a running engine."""

    def setUp(self) -> None:
        super().setUp()
        self.write("config.yaml", PORTS)
        self.engine = self.start()
        self.port = str(self.engine.ready["worker"])

    def test_trigger_prints_the_result_as_json(self) -> None:
        """01 §15: both syntaxes, and the alias `t`."""
        for arguments in (
            ["trigger", "--function-id", "engine::channels::create", "--payload", "{}"],
            ["trigger", "engine::channels::create"],
            ["t", "engine::channels::create", "buffer_size=4"],
            ["t", "engine::channels::create", "--json", '{"buffer_size": -1}', "buffer_size=4"],
        ):
            done = self.iii(*arguments, "--port", self.port)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(set(json.loads(done.stdout)), {"writer", "reader"})

    def test_a_remote_error_goes_to_stderr_as_json(self) -> None:
        """01 §15: `Error: {code,message,stacktrace}` and exit code 1."""
        done = self.iii("trigger", "no::such", "--port", self.port)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        error = json.loads(done.stderr.removeprefix("Error: "))
        self.assertEqual(set(error), {"code", "message", "stacktrace"})
        self.assertEqual(error["code"], "function_not_found")

    def test_values_are_json_where_they_can_be(self) -> None:
        """01 §15: `k=v` values are decoded when possible, else strings."""
        done = self.iii("t", "engine::channels::create", "buffer_size=four", "--port", self.port)
        self.assertEqual(done.returncode, 1)
        self.assertIn("deserialization_error", done.stderr)

    def test_an_invalid_payload_is_told_before_connecting(self) -> None:
        """01 §15: `Invalid JSON payload: …`."""
        done = self.iii("trigger", "--function-id", "x", "--payload", "{", "--port", "1")
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith("Error: Invalid JSON payload: "), done.stderr)

    def test_no_engine_is_told_with_its_address(self) -> None:
        """08 §7: a command does not wait for an engine to appear."""
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        done = self.iii("functions", "--port", str(port))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"^Error: no engine at ws://localhost:{port}: ")
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_the_address_may_be_a_host_a_url_or_the_environment(self) -> None:
        """01 §15: --address and III_URL."""
        url = f"ws://127.0.0.1:{self.port}"
        for arguments, variable in (
            (["--address", "127.0.0.1", "--port", self.port], None),
            (["--address", url], None),
            (["--address", f"127.0.0.1:{self.port}"], None),
            ([], url),
        ):
            done = self.iii("functions", "--json", *arguments, III_URL=variable)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout), {"functions": []})

    def test_the_lists_show_what_a_worker_registered(self) -> None:
        """08 §7: functions, workers, triggers, as tables and as JSON."""
        self.demo_worker()
        listed = json.loads(self.iii("functions", "--json", "--port", self.port).stdout)
        self.assertEqual([row["function_id"] for row in listed["functions"]], ["demo::greet"])
        workers = json.loads(self.iii("workers", "--json", "--port", self.port).stdout)
        runtimes = [row["runtime"] for row in workers["workers"]]
        self.assertEqual(runtimes.count("python"), 1, "the command itself must not be listed")
        triggers = json.loads(self.iii("triggers", "--json", "--port", self.port).stdout)
        [trigger] = triggers["registered_triggers"]
        self.assertEqual(trigger["function_id"], "demo::greet")
        table = self.iii("functions", "--port", self.port).stdout
        self.assertIn("demo::greet", table)
        self.assertIn("Greets whoever is named", table)

    def test_watch_prints_a_line_for_each_change(self) -> None:
        """08 §7: --watch --json follows the list."""
        watch = subprocess.Popen(
            (sys.executable, "-m", "iii", "functions", "--watch", "--json", "--port", self.port),
            env=environment(),
            stdout=subprocess.PIPE,
        )
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        assert watch.stdout is not None
        self.addCleanup(watch.stdout.close)
        self.assertEqual(json.loads(watch.stdout.readline()), {"functions": []})
        self.demo_worker()
        [row] = json.loads(watch.stdout.readline())["functions"]
        self.assertEqual(row["function_id"], "demo::greet")
        watch.send_signal(signal.SIGINT)
        self.assertEqual(watch.wait(LIMIT_S), 130)

    def demo_worker(self) -> None:
        """The demo's worker, connected and registered."""
        worker = subprocess.Popen(
            (sys.executable, str(ROOT / "examples/demo/worker.py")),
            env=environment(III_URL=f"ws://127.0.0.1:{self.port}"),
        )
        self.addCleanup(worker.wait)
        self.addCleanup(worker.terminate)
        url = f"http://127.0.0.1:{self.engine.ready['http']}/greet?name=Ada"
        for _ in range(int(LIMIT_S / 0.05)):
            if _fetch(url) == b'{"message":"Hello, Ada!"}':
                return
            time.sleep(0.05)
        self.fail(f"the worker does not answer:\n{self.engine.output}")


class MakeRun(ProcessCase):
    """Issue, part 10: `make run`."""

    def test_the_printed_curl_line_works_and_ctrl_c_stops_both(self) -> None:
        """Issue, part 10: engine, worker, route; Ctrl-C of the terminal ends all three."""
        demo = subprocess.Popen(
            (sys.executable, str(ROOT / "examples/demo/run.py")),
            cwd=self.directory,
            env=environment(III_PORT="0", III_HTTP_PORT="0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(demo.wait)
        self.addCleanup(demo.kill)
        assert demo.stdout is not None
        self.addCleanup(demo.stdout.close)
        impatience = threading.Timer(LIMIT_S, demo.kill)
        impatience.start()
        self.addCleanup(impatience.cancel)
        text = ""
        while "Ctrl-C stops both." not in text:
            line = demo.stdout.readline()
            self.assertTrue(line, text)
            text += line
        [command] = re.findall(r"^  (curl '.*/greet.*')$", text, re.MULTILINE)
        shown = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
        self.assertEqual(json.loads(shown.stdout), {"message": "Hello, Ada!"})
        os.killpg(demo.pid, signal.SIGINT)
        rest = demo.stdout.read()
        self.assertEqual(demo.wait(LIMIT_S), 0, text + rest)
        port = int(re.findall(r"ws://localhost:(\d+)", text)[0])
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            body: bytes = response.read()
            return body
    except OSError:
        return b""


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
