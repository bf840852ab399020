"""The subcommands of `iii`, and the demo: looking into a running engine."""

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

from tests.process_case import LIMIT_S, ROOT, ProcessCase, environment, taken_port

PORTS = "port: 0\nmodules:\n  - class: modules::api::RestApiModule\n    config: {port: 0}\n"


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

    def test_blocks_of_adapters_are_checked_too(self) -> None:
        """08 §7: with file and line; values that nobody knows warn."""
        self.write(
            "c.yaml",
            "modules:\n  - class: iii-state\n    config:\n      adapter:\n"
            "        name: kv\n        config: {cache_bytes: x, file_pat: y}\n"
            "  - class: iii-observability\n    config: {level: bogus}\n",
        )
        done = self.iii("check", "-c", "c.yaml")
        self.assertEqual(done.returncode, 1)
        self.assertIn("c.yaml:6: modules[0].config.adapter.config.cache_bytes", done.stderr)
        self.assertIn("did you mean 'file_path'?", done.stdout)
        self.assertIn("c.yaml:8: modules[1].config.level", done.stdout)
        self.assertEqual(done.stderr.count("error:"), 1)
        self.assertEqual(self.iii("check", "--strict", "-c", "c.yaml").stderr.count("error:"), 3)

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
        # Not kill: its children would stay behind.
        self.addCleanup(demo.terminate)
        assert demo.stdout is not None
        self.addCleanup(demo.stdout.close)
        impatience = threading.Timer(LIMIT_S, demo.terminate)
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
