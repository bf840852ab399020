"""The acceptance probes of the exec module, with real shells."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from iii.catalogue import Catalogue, load_class
from iii.config import from_mapping
from iii.engine.module import ModuleApi
from iii.entries import check_config
from iii.errors import ConfigError
from iii.modules.shell.config import ExecConfig
from iii.modules.shell.module import ExecModule
from tests.process_case import Child, ProcessCase
from tests.shell.cases import LogCase, ShellCase, is_running
from tests.support.engine_case import EngineCase
from tests.support.probes import probe


class Running(ShellCase):
    """05 B2, B3, B5."""

    @probe("05.53")
    async def test_commands_run_one_after_the_other(self) -> None:
        await self.run_module("sleep 0.05; echo a > $D/f1", "cat $D/f1 > $D/f2; echo b >> $D/f2")
        await self.eventually(lambda: len(self.lines("f2")) == 2)
        self.assertEqual(self.lines("f2"), ["a", "b"])

    async def test_two_modules_do_not_know_each_other(self) -> None:
        """05 B1."""
        await self.run_module("false", "echo a > $D/no")
        await self.run_module("echo b > $D/yes")
        await self.eventually(lambda: self.lines("yes"))
        await self.eventually(lambda: self.logged("Pipeline step failed, aborting pipeline"))
        self.assertEqual(self.lines("no"), [])

    async def test_an_empty_list_does_nothing(self) -> None:
        """05 B1."""
        module = await self.run_module(watch=["**/*.py"])
        self.assertIsNone(module.watcher)
        self.assertEqual(len(self.logged("nothing runs")), 1)

    @probe("05.57")
    async def test_every_kind_of_change_of_a_matching_file_starts_over(self) -> None:
        self.file("a.py").write_text("1")
        await self.run_module(
            "echo run >> $D/runs.txt; exec sleep 1000",
            watch=[f"{self.folder}/**/*.py"],
            debounce_ms=20,
        )
        await self.runs(1)
        changes: tuple[tuple[str, Any], ...] = (
            ("edit", lambda: self.file("a.py").write_text("2")),
            ("create", lambda: self.file("b.py").write_text("3")),
            ("delete", lambda: self.file("b.py").unlink()),
            ("rename", lambda: self.file("a.py").rename(self.file("c.py"))),
        )
        for count, (_, change) in enumerate(changes, 2):
            change()
            await self.runs(count)
        # Told in order: when the last one has been seen, so has the first one.
        self.file("x.txt").write_text("no")
        self.file("c.py").write_text("4")
        await self.runs(6)
        self.assertEqual(len(self.logged("File change detected")), 5)
        self.assertEqual(self.logged("x.txt"), [])

    async def runs(self, count: int) -> None:
        """Wait until the command has been started this often."""
        await self.eventually(lambda: len(self.lines("runs.txt")) == count)

    @probe("05.58")
    async def test_ten_writes_are_one_restart(self) -> None:
        await self.run_module(
            "echo run >> $D/runs.txt; exec sleep 1000",
            watch=[f"{self.folder}/*.py"],
            debounce_ms=150,
        )
        await self.runs(1)
        for index in range(10):
            self.file("a.py").write_text(str(index))
            await self.turn(0.005)
        await self.runs(2)
        self.file("b.py").write_text("the next one")
        await self.runs(3)
        lines = self.logged("File change detected")
        self.assertEqual(len(lines), 2)
        self.assertIn("a.py (and 9 more) → restarting pipeline", lines[0])

    @probe("05.59")
    async def test_a_missing_root_does_not_keep_the_commands_from_running(self) -> None:
        await self.run_module(
            "echo run >> $D/runs.txt; exec sleep 1000",
            watch=[f"{self.folder}/src/**/*.py"],
            debounce_ms=20,
        )
        await self.runs(1)
        [line] = self.logged("does not exist", "warn")
        self.assertIn(f"'{self.folder.absolute()}' is watched until it does", line)
        self.file("src").mkdir()
        self.file("src/a.py").write_text("1")
        await self.runs(2)

    async def test_the_option_prefix_labels_output(self) -> None:
        """05 "better" 23."""
        written: list[bytes] = []

        def write(_: ExecModule, descriptor: int, data: bytes) -> Deferred[None]:
            written.append(data)
            return succeed(None)

        self.patch(ExecModule, "_write", write)
        await self.run_module("echo hello", prefix=True)
        await self.run_module("echo world", prefix="two")
        await self.eventually(lambda: len(written) == 2)
        self.assertEqual(sorted(written), [b"echo | hello\n", b"two | world\n"])


class InAnEngine(EngineCase, LogCase):
    """05 B2, B5: the engine goes on, whatever its commands do."""

    async def setUp(self) -> None:
        LogCase.setUp(self)
        self.file = Path(self.mktemp())
        await super().setUp()

    async def run_module(self, *commands: str) -> None:
        """Run the module in the engine."""
        module = ExecModule(ExecConfig(list(commands)))
        module.start(ModuleApi(self.engine, "iii-exec"))
        stop = module.stop
        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))  # type: ignore[arg-type]

    async def assertAnswers(self) -> None:
        """The engine answers on its port."""
        worker = await self.worker()
        self.assertTrue(await worker.call("engine::workers::list", {}))

    @probe("05.54")
    async def test_a_failed_step_ends_the_list_and_not_the_engine(self) -> None:
        await self.run_module("false", f"touch {self.file}")
        await self.eventually(
            lambda: self.logged("Pipeline step failed, aborting pipeline", "error")
        )
        await self.assertAnswers()
        self.assertFalse(self.file.exists())

    @probe("05.60")
    async def test_the_exit_of_the_last_command_is_logged(self) -> None:
        await self.run_module("exit 3")
        await self.eventually(lambda: self.logged("ended with exit code 3", "warn"))
        await self.assertAnswers()


class Checking(ShellCase):
    """05 B1, with decision 11 for unknown keys."""

    def checked(self, config: Any) -> tuple[ExecConfig, list[str]]:
        """What a configuration file with this block means, and its warnings."""
        entry: dict[str, Any] = {"class": "modules::shell::ExecModule"}
        if config is not None:
            entry["config"] = config
        loaded = from_mapping({"modules": [entry]}, environ={})
        [found] = [e for e in loaded.entries if e.name == "iii-exec"]
        settings = check_config(found, ExecConfig)
        return settings, [str(problem.message) for problem in found.warnings]

    def test_both_names_mean_the_module(self) -> None:
        for name in ("modules::shell::ExecModule", "iii-exec"):
            known = Catalogue().find(name)
            assert known is not None
            self.assertIs(load_class(known), ExecModule)

    def test_the_configuration_of_the_original_loads(self) -> None:
        settings, warnings = self.checked({"exec": ["npm install", "npm start"], "watch": None})
        self.assertEqual(settings, ExecConfig(["npm install", "npm start"]))
        self.assertEqual(warnings, [])

    def test_what_is_wrong_is_named(self) -> None:
        for config, text in (
            (None, "the key 'exec' is missing"),
            ({"exec": "npm start"}, "expected a list"),
            ({"exec": [1]}, "expected a string, found the number 1"),
            ({"exec": ["a\0b"]}, "matching regex"),
            ({"exec": [], "watch": [""]}, "length >= 1"),
            ({"exec": [], "watch": ["{a,b}" * 12]}, "more than 1000 alternatives"),
            ({"exec": [], "restart": "on_failure"}, "did you mean 'on-failure'?"),
            ({"exec": [], "debounce_ms": -1}, ">= 0"),
            ({"exec": [], "kill_timeout_ms": 60_000}, "<= 30000"),
            ({"exec": [], "prefix": 3}, "expected"),
        ):
            with self.assertRaises(ConfigError) as caught:
                self.checked(config)
            self.assertIn(text, str(caught.exception))

    def test_an_unknown_key_is_a_warning(self) -> None:
        _, [warning] = self.checked({"exec": [], "wacth": ["x"]})
        self.assertIn("did you mean 'watch'?", warning)


CONFIG = """
port: 0
modules:
  - class: modules::observability::OtelModule
    config: {enabled: false, prometheus_port: 0}
  - class: modules::shell::ExecModule
    config:
      exec:
        - 'true'
        - |
"""


class AsAProcess(ProcessCase):
    """05 B4: nothing outlives the engine."""

    def run_engine(self, command: str, *pipes: str) -> Child:
        """An engine whose last command this is.

        :param pipes: where the command writes process ids, see ``pid_in``
        """
        self.pipes: dict[str, int] = {}
        for name in pipes:
            os.mkfifo(self.directory / name)
            self.pipes[name] = os.open(self.directory / name, os.O_RDONLY | os.O_NONBLOCK)
            self.addCleanup(os.close, self.pipes[name])
        text = f"{CONFIG}          {command}\n"
        return self.start("-c", str(self.write("config.yaml", text)))

    def pid_in(self, name: str) -> int:
        """The process id that a command writes into this pipe."""
        pipe = self.pipes[name]
        readable, _, _ = select.select([pipe], [], [], 20)
        self.assertTrue(readable, f"{name} was not written")
        return int(os.read(pipe, 64))

    def stopped(self, engine: Child) -> float:
        """Stop the engine; how many seconds that took."""
        began = time.monotonic()
        engine.signal(signal.SIGTERM)
        self.assertEqual(engine.wait(), 0, engine.output)
        return time.monotonic() - began

    @probe("05.55")
    def test_the_whole_group_ends_with_the_engine(self) -> None:
        engine = self.run_engine(
            "sleep 1000 & echo $! > one; sleep 1000 & echo $! > two; wait", "one", "two"
        )
        pids = [self.pid_in("one"), self.pid_in("two")]
        self.assertTrue(all(map(is_running, pids)))
        self.assertLess(self.stopped(engine), 2.5)
        self.assertFalse(any(map(is_running, pids)))

    @probe("05.56")
    def test_one_that_ignores_sigterm_is_killed_after_three_seconds(self) -> None:
        engine = self.run_engine("trap '' TERM; echo $$ > pid; sleep 1000; sleep 1000", "pid")
        pid = self.pid_in("pid")
        took_s = self.stopped(engine)
        self.assertFalse(is_running(pid))
        self.assertGreater(took_s, 2.9)
        self.assertLess(took_s, 4.5)
        self.assertIn("was killed (kill_timeout_ms: 3000)", engine.output)
