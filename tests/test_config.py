"""Configuration: expansion, both file syntaxes, and what is said about mistakes."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest import TestCase

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from iii import config
from iii._version import __version__
from iii.catalogue import KNOWN, Catalogue, Role, find_adapter, load_class
from iii.config import Configuration, InvalidConfiguration, Kind, Report
from iii.errors import ConfigError
from iii.expansion import expand

ROOT = Path(__file__).parent.parent
SAMPLES = Path(__file__).parent / "configs"


class Cors(msgspec.Struct):
    """Part of a module's configuration."""

    allowed_origins: list[str] = []


class DemoConfig(msgspec.Struct):
    """What a module declares."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 3111
    host: str | None = None
    flag: bool = False
    ratio: float = 1.0
    mode: Literal["standard", "fifo"] = "standard"
    cors: Cors | None = None
    queues: dict[str, Cors] = {}
    api_token: int = 0


class DemoModule:
    """A module as the catalogue sees it."""

    name = "iii-demo"
    config = DemoConfig


class LenientModule:
    """A module whose published configurations quote numbers."""

    name = "iii-lenient"
    config = DemoConfig
    coerce_strings = True


class ConfigCase(TestCase):
    """Writes a text to a file and reads it."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = Path(scratch.name) / "config.yaml"
        self.catalogue = Catalogue()
        self.catalogue.register_module("demo::Demo", DemoModule)

    def examine(
        self, text: str | bytes, environ: Mapping[str, str] | None = None, *, strict: bool = False
    ) -> Report:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        return config.examine(
            self.path, environ=environ or {}, catalogue=self.catalogue, strict=strict
        )

    def load(self, text: str, environ: Mapping[str, str] | None = None) -> Configuration:
        report = self.examine(text, environ)
        self.assertEqual([str(p) for p in report.errors], [])
        assert report.configuration is not None
        return report.configuration

    def errors(self, text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
        """The errors as ``line: message``."""
        report = self.examine(text, environ)
        self.assertIsNone(report.configuration)
        for problem in report.errors:
            self.assertEqual(problem.path, str(self.path))
        return [f"{problem.line}: {problem.message}" for problem in report.errors]

    def warnings(self, text: str) -> list[str]:
        return [f"{p.line}: {p.message}" for p in self.load(text).warnings]

    def demo(self, text: str) -> DemoConfig:
        """The checked configuration of the only ``demo::Demo`` entry."""
        [entry] = [e for e in self.load(text).entries if e.name == "iii-demo"]
        return config.check_config(entry, DemoConfig)

    def demo_errors(self, block: str) -> list[str]:
        """Errors of a ``config:`` block whose keys begin on line 4."""
        text = "modules:\n  - class: demo::Demo\n    config:\n" + re.sub("(?m)^", "      ", block)
        with self.assertRaises(InvalidConfiguration) as caught:
            self.demo(text)
        return [f"{p.line}: {p.message}" for p in caught.exception.problems]


class Expansion(ConfigCase):
    """01 §12.2."""

    def test_values_defaults_and_what_is_left_alone(self) -> None:
        environ = {"SET": "v", "EMPTY": "", " A ": "spaces"}
        cases = {
            "${SET}": "v",
            "${SET:d}": "v",
            "${EMPTY:d}": "",
            "${NOT:d}": "d",
            "${NOT:}": "",
            "${NOT:-x}": "-x",
            "${ A }": "spaces",
            "${NOT:redis://h:6379/0}": "redis://h:6379/0",
            "${NOT:a$b{c}": "a$b{c",
            "${NOT:${SET:x}}": "${SET:x}",
            "${}": "${}",
            "${:x}": "${:x}",
            "$SET ${SET": "$SET ${SET",
            "a${SET}b${SET}": "avbv",
            "${V:__III_ENGINE_VERSION__}": __version__,
        }
        for text, expanded in cases.items():
            with self.subTest(text):
                result = expand(text, environ)
                self.assertEqual((result.text, result.unset), (expanded, []))

    def test_substituted_text_is_not_expanded_again(self) -> None:
        self.assertEqual(expand("${A}", {"A": "${B}", "B": "no"}).text, "${B}")

    def test_comment_lines_are_left_alone(self) -> None:
        text = "# ${UNSET}\n  \t# ${UNSET}\nkey: 1 # ${SET}\n"
        self.assertEqual(
            expand(text, {"SET": "v"}).text, "# ${UNSET}\n  \t# ${UNSET}\nkey: 1 # v\n"
        )

    def test_a_value_with_line_breaks_does_not_shift_the_lines_of_errors(self) -> None:
        text = 'a: "${MANY}"\nb: ${D:1\n}\nmodules: 7\n'
        self.assertEqual(
            [e for e in self.errors(text, {"MANY": "x\n\n\n  y"})],
            ["4: modules: expected a list or null, found the number 7"],
        )

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="${}:AB#x \n\r", max_size=40))
    def test_any_text_is_expanded_and_every_character_has_an_origin(self, text: str) -> None:
        expanded = expand(text, {"A": "1\n2"})
        self.assertEqual(len(text.split("\n")[0:1]), 1)
        for index, character in enumerate(expanded.text):
            origin = expanded.origin(index)
            self.assertTrue(text[origin] == character or text[origin] == "$")
            line, column = expanded.position(index)
            self.assertEqual(text.split("\n")[line - 1][column - 1 : column] or "\n", text[origin])
        for unset in expanded.unset:
            self.assertEqual(text[expanded.origin(unset.index) :][:2], "${")

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=60).filter(lambda text: "${" not in text))
    def test_a_text_without_references_stays_as_it_is(self, text: str) -> None:
        once = expand(text, {})
        self.assertEqual(once.text, text)
        self.assertEqual(expand(once.text, {}).text, text)

    def test_unset_without_default_is_fatal(self) -> None:
        """01.53: ``port: ${NO_SUCH_VAR}`` is refused, with a default or a value it counts."""
        text = "Environment variable 'NO_SUCH_VAR' not set and no default provided"
        self.assertEqual(self.errors("\nport: ${NO_SUCH_VAR}\n"), [f"2: {text}"])

        loaded = self.load("port: ${NO_SUCH_VAR:50001}\n")
        self.assertEqual(loaded.worker_listeners[0].port, 50001)

        loaded = self.load("port: ${NO_SUCH_VAR:50001}\n", {"NO_SUCH_VAR": "50002"})
        self.assertEqual(loaded.worker_listeners[0].port, 50002)

    def test_every_unset_variable_is_named(self) -> None:
        errors = self.errors("a: ${ONE}\n# ${COMMENT}\nb: [${TWO}, ${THREE:3}]\n")
        self.assertEqual([error.split("'")[1] for error in errors], ["ONE", "TWO"])
        self.assertEqual([error[0] for error in errors], ["1", "3"])

    def test_types_are_decided_after_expansion(self) -> None:
        """01.54: a quoted number is no port, ``yes`` is no boolean."""
        block = 'url: ${A:redis://h:6379/0}\nport: "${P:1}"\nflag: ${F:yes}\n'
        self.assertEqual(
            self.demo_errors(block),
            [
                "5: modules[0].config.port (demo::Demo): expected an integer, "
                'found the string "1" (remove the quotes)',
                "6: modules[0].config.flag (demo::Demo): expected true or false, "
                'found the string "yes" (in YAML 1.2 only true and false are booleans)',
            ],
        )
        [entry, *_] = self.load(
            "modules:\n- {class: demo::Demo, config: {url: '${A:redis://h:6379/0}', n: ${N:3112}, "
            "b: ${B:true}, x: '${X:}', z: ${Z:} }}"
        ).entries
        self.assertEqual(
            entry.config, {"url": "redis://h:6379/0", "n": 3112, "b": True, "x": "", "z": None}
        )


class Files(ConfigCase):
    """01 §12.1: where a configuration comes from."""

    def test_no_file_means_the_default_set(self) -> None:
        """01.55: the modules of decision 8, in order, on loopback, nothing to install."""
        missing = self.path.with_name("missing.yaml")
        for loaded in (
            config.load(missing, environ={}),
            config.load(None, environ={}),
            config.default_configuration({}),
        ):
            self.assertIsNone(loaded.source)
            self.assertEqual(
                [entry.name for entry in loaded.entries],
                [
                    "iii-engine-functions",
                    "iii-observability",
                    "iii-state",
                    "iii-stream",
                    "iii-queue",
                    "iii-pubsub",
                    "iii-cron",
                    "iii-http",
                    "iii-kv-server",
                    "iii-console",
                ],
            )
            self.assertTrue(all(entry.implicit for entry in loaded.entries))
            self.assertEqual(loaded.worker_listeners, [config.WorkerListener(None, 49134)])
            self.assertEqual(len(loaded.warnings), 1)
        self.assertEqual(
            [str(note) for note in config.load(missing, environ={}).notes],
            [f"Config file not found: '{missing}'. Running with the default modules."],
        )

    def test_a_file_that_must_exist_is_missed(self) -> None:
        with self.assertRaisesRegex(ConfigError, r"^Config file not found: '.*nope.yaml'\.$"):
            config.load(self.path.with_name("nope.yaml"), environ={}, must_exist=True)

    def test_a_directory_is_an_error(self) -> None:
        """01.55: never silently the defaults."""
        with self.assertRaises(ConfigError) as caught:
            config.load(self.path.parent, environ={})
        self.assertEqual(
            str(caught.exception),
            f"{self.path.parent}: the configuration can't be read: Is a directory",
        )

    def test_bytes_that_are_no_text_are_an_error(self) -> None:
        self.assertEqual(self.errors(b"a: 1\nb: \xff\n"), ["2: not UTF-8 text (byte 0xff)"])

    def test_an_empty_file_means_no_modules_but_the_mandatory_ones(self) -> None:
        for text in ("", "modules:\n", "workers: []\nmodules: []", "\ufeff# nothing\r\n"):
            loaded = self.load(text)
            self.assertEqual(
                [(entry.name, entry.implicit) for entry in loaded.entries],
                [("iii-engine-functions", True), ("iii-observability", True)],
            )
            self.assertEqual(loaded.worker_listeners, [config.WorkerListener(None, 49134)])
            self.assertEqual(loaded.warnings, [])

    def test_broken_yaml_names_line_and_column(self) -> None:
        self.assertEqual(
            self.errors("port: 1\nmodules: [\n"),
            [
                "3: expected the node content, but found '<stream end>' "
                "(while parsing a flow node) (column 1)"
            ],
        )
        self.assertEqual(
            self.errors("port: 1\nport: 2\nmodules: {a: 1, a: 2}\n"),
            ["2: duplicate key 'port' (column 1)", "3: duplicate key 'a' (column 17)"],
        )
        self.assertEqual(
            self.errors("- a\n"),
            ["1: expected a mapping with modules: or workers:, found a list"],
        )

    def test_all_errors_are_in_the_exception(self) -> None:
        self.path.write_text("port: x\nmodules:\n  - class: nope::X\n  - {}\n")
        with self.assertRaises(ConfigError) as caught:
            config.load(self.path, environ={})
        lines = str(caught.exception).splitlines()
        self.assertEqual([line.split(":")[1] for line in lines], ["1", "3", "4"])
        self.assertEqual((caught.exception.path, caught.exception.line), (str(self.path), 1))
        self.assertEqual(caught.exception.code, "config_error")

    def test_reading_a_configuration_loads_no_network_library(self) -> None:
        code = "import sys, iii.config; sys.exit('twisted' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode, 0)


class Entries(ConfigCase):
    """01 §12.4 and §13."""

    def test_an_unknown_class_is_fatal(self) -> None:
        """01.52: ``Unknown module class: nope::X``, with its line."""
        self.assertEqual(
            self.errors("modules:\n  - class: nope::X\n"), ["2: Unknown module class: nope::X"]
        )
        self.assertEqual(
            self.errors("modules:\n  - config: {}\n    class: modules::api::RestApiModul\n"),
            [
                "3: Unknown module class: modules::api::RestApiModul; "
                "did you mean 'modules::api::RestApiModule'?"
            ],
        )

    def test_an_unknown_worker_name_only_warns(self) -> None:
        text = "workers:\n  - name: iii-htp\n"
        [warning] = self.warnings(text)
        self.assertTrue(warning.startswith("2: UNKNOWN WORKER 'iii-htp': "), warning)
        self.assertTrue(warning.endswith("; did you mean 'iii-http'?"), warning)
        self.assertIsNone(self.examine(text, strict=True).configuration)

    def test_every_name_of_a_module_finds_it(self) -> None:
        """01.56: old package names, class and worker name, class and name of the adapter."""
        spellings = [
            "modules:\n- class: modules::streams::StreamModule\n  config: {adapter: {class: "
            "'modules::streams::adapters::KvStore'}}",
            "workers:\n- name: iii-stream\n  config: {adapter: {name: kv}}",
            "modules:\n- class: iii-stream#2\n  config: {adapter: {class: kv}}",
            "workers:\n- class: modules::stream::StreamModule\n  config: {adapter: {name: "
            "'modules::stream::KvStore'}}",
        ]
        for text in spellings:
            with self.subTest(text):
                entry = self.load(text).entries[0]
                self.assertEqual(
                    (entry.canonical, entry.name), ("modules::stream::StreamModule", "iii-stream")
                )
                assert entry.adapter is not None
                self.assertEqual(entry.adapter.adapter.name, "kv")
                self.assertEqual(entry.flavour, "class" if "class: mod" in text else entry.flavour)

    def test_the_catalogue_knows_every_name_of_the_specification(self) -> None:
        expected = {
            "iii-http": "modules::api::RestApiModule modules::rest_api::RestApiModule http",
            "iii-queue": "modules::queue::QueueModule modules::event::EventModule queue",
            "iii-cron": "modules::cron::CronModule cron",
            "iii-stream": "modules::stream::StreamModule modules::streams::StreamModule",
            "iii-state": "modules::state::StateModule state",
            "iii-pubsub": "modules::pubsub::PubSubModule pubsub",
            "iii-kv-server": "modules::kv_server::KvServer",
            "iii-observability": "modules::observability::OtelModule "
            "modules::observability::ObservabilityModule modules::observability::LoggingModule",
            "iii-exec": "modules::shell::ExecModule",
            "iii-bridge": "modules::bridge_client::BridgeClientModule",
            "iii-http-functions": "modules::http_functions::HttpFunctionsModule",
            "iii-engine-functions": "modules::worker::WorkerModule",
            "iii-telemetry": "modules::telemetry::TelemetryModule",
            "iii-console": "modules::console::ConsoleModule",
            "iii-devtools": "modules::devtools::DevToolsModule",
            "iii-worker-manager": "iii-worker-manager#1",
            "configuration": "configuration",
        }
        catalogue = Catalogue()
        for name, others in expected.items():
            for written in (name, *others.split()):
                found = catalogue.find(written)
                self.assertIsNotNone(found, written)
                assert found is not None
                self.assertEqual(found.name, name, written)
        self.assertEqual({module.name for module in catalogue}, set(expected))

    def test_the_catalogue_knows_every_adapter_of_the_specification(self) -> None:
        expected = {
            ("queue", "builtin"): "BuiltinQueueAdapter adapters::BuiltinQueueAdapter "
            "event::BuiltinQueueAdapter event::adapters::InMemoryAdapter",
            ("queue", "redis"): "RedisAdapter adapters::RedisAdapter event::RedisAdapter "
            "event::adapters::RedisAdapter",
            ("queue", "rabbitmq"): "RabbitMQAdapter adapters::RabbitMQAdapter",
            ("queue", "bridge"): "adapters::Bridge",
            ("cron", "kv"): "KvCronAdapter adapters::KvCronAdapter",
            ("cron", "redis"): "RedisCronAdapter adapters::RedisCronAdapter adapters::RedisAdapter",
            ("iii-stream", "kv"): "adapters::KvStore streams::adapters::KvStore",
            ("iii-stream", "redis"): "adapters::RedisAdapter streams::adapters::RedisAdapter",
            ("iii-stream", "bridge"): "adapters::Bridge",
            ("state", "kv"): "adapters::KvStore",
            ("state", "redis"): "adapters::RedisAdapter",
            ("state", "bridge"): "adapters::Bridge",
            ("pubsub", "local"): "LocalAdapter adapters::LocalAdapter",
            ("pubsub", "redis"): "RedisAdapter adapters::RedisAdapter",
        }
        for (name, adapter), classes in expected.items():
            module = Catalogue().find(name)
            assert module is not None
            package = module.canonical.split("::")[1]
            for class_ in classes.split():
                own = class_.startswith(("event::", "streams::"))
                full = f"modules::{class_}" if own else f"modules::{package}::{class_}"
                for written in (adapter, full):
                    found = find_adapter(module, written)
                    self.assertEqual(found and found.name, adapter, (name, written))

    def test_an_unknown_adapter_is_fatal(self) -> None:
        text = "workers:\n- name: iii-cron\n  config:\n    adapter:\n      {key}: {value}\n"
        self.assertEqual(
            self.errors(text.format(key="name", value="rediss")),
            [
                "4: workers[0].config.adapter (iii-cron): Adapter factory 'rediss' not found. "
                "Available: [kv, redis]; did you mean 'redis'?"
            ],
        )
        [error] = self.errors(text.format(key="class", value="a::B"))
        self.assertIn(
            "Adapter factory 'a::B' not found. Available: "
            "[modules::cron::KvCronAdapter, modules::cron::RedisCronAdapter]",
            error,
        )

    def test_the_config_of_an_adapter_is_kept_with_its_lines(self) -> None:
        text = "workers:\n- name: iii-cron\n  config:\n    adapter:\n      name: kv\n      config:\n        lock_ttl_ms: 5\n"
        entry = self.load(text).entries[0]
        assert entry.adapter is not None
        self.assertEqual((entry.config, entry.adapter.config), ({}, {"lock_ttl_ms": 5}))
        self.assertEqual((entry.adapter.place / "lock_ttl_ms").line, 7)

    def test_malformed_entries_are_told_apart(self) -> None:
        text = """modules:
  - modules::api::RestApiModule
  - {}
  - class: 7
  - {class: iii-http, config: []}
  - {class: iii-http, name: iii-cron}
  - {class: modules::api::RestApiModule, name: http}
  - {name: iii-cron, config: {adapter: kv}}
  - {name: iii-cron, config: {adapter: {}}}
  - {name: iii-cron, config: {adapter: {class: kv, name: redis}}}
"""
        self.assertEqual(
            self.errors(text),
            [
                "2: modules[0]: expected a mapping with class: or name:, "
                'found the string "modules::api::RestApiModule"',
                "3: modules[1]: the key 'class' or 'name' is missing",
                "4: modules[2].class: expected a string or null, found the number 7",
                "5: modules[3].config: expected a mapping or null, found an empty list",
                "6: modules[4]: class: iii-http and name: iii-cron are different modules; give one",
                "8: modules[6].config.adapter (iii-cron): expected a mapping with class: or name:, "
                'found the string "kv"',
                "9: modules[7].config.adapter (iii-cron): the key 'class' or 'name' is missing",
                "10: modules[8].config.adapter (iii-cron): kv and redis are different adapters; "
                "give one",
            ],
        )

    def test_a_module_of_a_later_release_warns_and_loads(self) -> None:
        text = "modules:\n  - class: modules::cron::CronModule\n"
        self.assertEqual(
            self.warnings(text),
            [
                "2: modules::cron::CronModule (iii-cron) is accepted but not built into this "
                "release; its triggers stay parked"
            ],
        )
        self.assertTrue(self.load(text).entries[0].module.missing)
        for module in KNOWN:
            if module.missing:
                with self.subTest(module.name):
                    self.assertTrue(module.absent)
                    [warning] = self.warnings(f"workers:\n  - name: {module.name}\n")
                    self.assertIn(f"{module.canonical} ({module.name}) is accepted", warning)

    def test_a_port_of_a_later_modules_block_is_checked_already(self) -> None:
        text = 'modules:\n  - class: modules::stream::StreamModule\n    config: {port: "3112"}\n'
        [error] = self.errors(text)
        self.assertIn('expected an integer, found the string "3112"', error)

    def test_what_does_nothing_is_accepted_with_any_config(self) -> None:
        """01.65: usage analytics are accepted and absent."""
        text = (
            "modules:\n  - {class: modules::telemetry::TelemetryModule, config: {api_key: x}}\n"
            "  - {class: modules::worker::WorkerModule, config: {x: 1}}\n"
        )
        self.assertEqual(self.warnings(text), [])
        roles = [entry.module.role for entry in self.load(text).entries]
        self.assertEqual(roles, [Role.INERT, Role.CORE, Role.MODULE])
        text = "modules:\n  - class: modules::devtools::DevToolsModule\n"
        self.assertIn("it does nothing", self.warnings(text)[0])

    def test_an_alias_is_explained_once(self) -> None:
        loaded = self.load("modules:\n  - class: modules::rest_api::RestApiModule\n")
        self.assertEqual(
            [note.message for note in loaded.notes],
            ["'modules::rest_api::RestApiModule' means modules::api::RestApiModule (iii-http)"],
        )

    def test_the_same_module_twice_is_refused_only_on_one_address(self) -> None:
        twice = "modules:\n  - {{class: iii-http, config: {{{0}}}}}\n  - {{name: http, config: {{{1}}}}}\n"
        for first, second in (
            ("port: 1", "port: 2"),
            ("port: 0", "port: 0"),
            ("host: 127.0.0.1", "host: 127.0.0.2"),
        ):
            self.assertEqual(len(self.load(twice.format(first, second)).entries), 4)
        for first, second in (
            ("", ""),
            ("port: 3111", ""),
            ("host: localhost", "host: 127.0.0.1"),
        ):
            self.assertEqual(
                self.errors(twice.format(first, second)),
                ["3: iii-http listens on 127.0.0.1:3111 twice (first on line 2)"],
            )
        self.load("modules: [{class: iii-cron}, {class: iii-cron}]")

    def test_sample_configurations_of_three_releases_load(self) -> None:
        """01.57: our equivalents of the published samples; unknown keys only warn."""
        expected = {
            "release-0.8": "http observability stream state queue pubsub cron kv-server exec",
            "release-0.10": "stream state http queue pubsub cron http-functions bridge telemetry "
            "observability exec",
            "release-0.11": "stream state http observability queue pubsub cron exec",
        }
        self.assertEqual({path.stem for path in SAMPLES.glob("*.yaml")}, set(expected))
        for sample, names in expected.items():
            with self.subTest(sample):
                loaded = config.load(SAMPLES / f"{sample}.yaml", environ={})
                listed = [entry.name for entry in loaded.entries if not entry.implicit]
                self.assertEqual(listed, [f"iii-{name}" for name in names.split()])
                self.assertEqual([listener.port for listener in loaded.worker_listeners], [49134])
                unknown = [w.message for w in loaded.warnings if w.kind is Kind.UNKNOWN]
                self.assertEqual(len(unknown), 0 if sample == "release-0.8" else 1)
                adapters = {e.name: e.adapter.adapter.name for e in loaded.entries if e.adapter}
                self.assertEqual(adapters["iii-queue"], "builtin")


class Engine(ConfigCase):
    """Listeners and engine settings."""

    def test_the_top_level_port_and_host(self) -> None:
        [listener] = self.load("# a comment\nhost: 0.0.0.0\nport: 0\n").worker_listeners
        self.assertEqual((listener.host, listener.port, listener.line), ("0.0.0.0", 0, 3))

    def test_worker_manager_entries_win(self) -> None:
        text = """port: 5000
workers:
  - name: iii-worker-manager
  - name: iii-worker-manager#1
    config: {host: 0.0.0.0, port: 6000, handshake_timeout_ms: 50, rbac: {expose_functions: []}}
"""
        loaded = self.load(text)
        self.assertEqual(
            loaded.worker_listeners,
            [
                config.WorkerListener(None, 49134, line=3),
                config.WorkerListener("0.0.0.0", 6000, 50, None, {"expose_functions": []}, 4),
            ],
        )
        self.assertEqual([entry.implicit for entry in loaded.entries], [True, True])
        port, rbac = [f"{w.line}: {w.message}" for w in loaded.warnings]
        self.assertEqual(port, "1: port: has no effect, the iii-worker-manager entry decides")
        self.assertTrue(rbac.startswith("5: rbac: is accepted but NOT ENFORCED in this release"))
        self.assertEqual(
            self.errors("workers: [{name: iii-worker-manager}, {name: iii-worker-manager}]"),
            ["1: iii-worker-manager listens on 127.0.0.1:49134 twice (first on line 1)"],
        )

    def test_iii_host_is_the_default_of_every_listener(self) -> None:
        text = (
            "modules:\n- class: iii-http\n- {class: iii-http, config: {host: 127.0.0.1, port: 1}}\n"
        )
        loaded = self.load(text, {"III_HOST": "0.0.0.0"})
        self.assertEqual(loaded.default_host, "0.0.0.0")
        self.assertEqual(
            [e.config.get("host") for e in loaded.entries[:2]], ["0.0.0.0", "127.0.0.1"]
        )
        self.assertEqual(loaded.worker_listeners[0].host, "0.0.0.0")
        self.assertEqual(
            self.load("host: ::1", {"III_HOST": "0.0.0.0"}).worker_listeners[0].host, "::1"
        )
        self.assertIsNone(self.load("", {"III_HOST": ""}).default_host)

    def test_iii_in_memory(self) -> None:
        for text, value in {"1": True, "true": True, "0": False, "": False}.items():
            self.assertEqual(self.load("", {"III_IN_MEMORY": text}).in_memory, value)
        with self.assertRaisesRegex(ConfigError, "III_IN_MEMORY must be 1 or 0, not 'yes'"):
            config.default_configuration({"III_IN_MEMORY": "yes"})

    def test_engine_settings_and_their_lines(self) -> None:
        loaded = self.load(
            "function_routing: newest\nshutdown_timeout_ms: 100\nauth:\n  tokens: ['${T:secret}']\n"
            "registration_namespace_grace_ms: 5000\n"
        )
        self.assertEqual(
            loaded.settings,
            config.Settings("newest", 100, config.Auth(["secret"]), 5000),
        )
        self.assertEqual(loaded.line_of("auth"), 3)
        self.assertEqual(self.load("").settings, config.Settings("balance", 8000, None, None))

    def test_wrong_engine_settings_are_fatal(self) -> None:
        text = (
            "port: 70000\nhost: ''\nfunction_routing: newst\nshutdown_timeout_ms: -1\n"
            "auth: {tokens: [${T:}]}\n"
        )
        self.assertEqual(
            self.errors(text),
            [
                "1: port: expected an integer <= 65535, found the number 70000",
                '2: host: expected a string of length >= 1, found the string ""',
                '3: function_routing: expected one of "balance", "newest", '
                "found the string \"newst\"; did you mean 'newest'?",
                "4: shutdown_timeout_ms: expected an integer >= 0, found the number -1",
                "5: auth.tokens: expected a list of length >= 1, found an empty list",
            ],
        )

    def test_a_token_that_is_not_set_never_means_no_authentication(self) -> None:
        for tokens in ("['${T:}']", "[~]", "~"):
            self.assertEqual(len(self.errors(f"auth:\n  tokens: {tokens}\n")), 1)
        self.assertEqual(self.errors("auth: {}\n"), ["1: auth: the key 'tokens' is missing"])

    def test_the_same_rules_hold_for_a_configuration_made_in_a_program(self) -> None:
        loaded = config.from_mapping(
            {"port": 0, "modules": [{"class": "iii-http", "config": {"port": 0}}]}, environ={}
        )
        self.assertEqual(loaded.worker_listeners[0].port, 0)
        self.assertEqual((loaded.entries[0].name, loaded.entries[0].line), ("iii-http", None))
        with self.assertRaises(ConfigError) as caught:
            config.from_mapping({"modules": [{"class": "nope::X"}]}, environ={})
        self.assertEqual(str(caught.exception), "Unknown module class: nope::X")


class ModuleConfig(ConfigCase):
    """Decision 11 and 08 §7: a module's own block."""

    def test_a_block_becomes_the_modules_struct(self) -> None:
        checked = self.demo(
            "modules:\n- class: demo::Demo\n  config: {port: 1, ratio: 1, mode: fifo, "
            "cors: {allowed_origins: [a]}, queues: {q: {allowed_origins: [b]}}}"
        )
        expected = DemoConfig(1, None, False, 1.0, "fifo", Cors(["a"]), {"q": Cors(["b"])})
        self.assertEqual(checked, expected)
        self.assertEqual(self.demo("modules:\n- class: demo::Demo\n"), DemoConfig())

    def test_all_wrong_types_are_reported_at_their_keys(self) -> None:
        block = """port: true
host: 7
flag: "true"
ratio: [1]
mode: fif
cors:
  allowed_origins: [a, 2]
queues:
  q: {allowed_origins: x}
  r: 5
api_token: hunter2
"""
        prefix = "modules[0].config."
        self.assertEqual(
            [
                error.replace(prefix, "").replace(" (demo::Demo)", "")
                for error in self.demo_errors(block)
            ],
            [
                "4: port: expected an integer, found true",
                "5: host: expected a string or null, found the number 7",
                '6: flag: expected true or false, found the string "true" (remove the quotes)',
                "7: ratio: expected a number, found a list",
                '8: mode: expected one of "standard", "fifo", found the string "fif"; '
                "did you mean 'fifo'?",
                "10: cors.allowed_origins[1]: expected a string, found the number 2",
                '12: queues.q.allowed_origins: expected a list, found the string "x"',
                "13: queues.r: expected a mapping, found the number 5",
                "14: api_token: expected an integer, found a string",
            ],
        )

    def test_unknown_keys_warn_with_the_nearest_right_one(self) -> None:
        text = """modules:
  - class: demo::Demo
    config:
      prot: 1
      cors: {allowed-origins: [a], zzz: 1}
      queues: {q: {allowed_origin: []}}
"""
        [entry] = [e for e in self.load(text).entries if not e.implicit]
        self.assertEqual(
            config.check_config(entry, DemoConfig),
            DemoConfig(cors=Cors(), queues={"q": Cors()}),
        )
        where = "modules[0].config"
        self.assertEqual(
            [f"{w.line}: {w.message}" for w in entry.warnings],
            [
                f"4: unknown key 'prot' in {where} (demo::Demo); did you mean 'port'?",
                f"5: unknown key 'allowed-origins' in {where}.cors (demo::Demo); "
                "did you mean 'allowed_origins'?",
                f"5: unknown key 'zzz' in {where}.cors (demo::Demo)",
                f"6: unknown key 'allowed_origin' in {where}.queues.q (demo::Demo); "
                "did you mean 'allowed_origins'?",
            ],
        )
        with self.assertRaises(InvalidConfiguration) as caught:
            config.check_config(entry, DemoConfig, strict=True)
        self.assertEqual(len(caught.exception.problems), 4)
        config.check_config(entry, DemoConfig)
        self.assertEqual(len(entry.warnings), 4)

    def test_unknown_keys_outside_of_modules_warn_too(self) -> None:
        text = "prot: 1\nmodules:\n  - {class: demo::Demo, confg: {}}\n"
        self.assertEqual(
            self.warnings(text),
            [
                "1: unknown key 'prot'; did you mean 'port'?",
                "3: unknown key 'confg' in modules[0]; did you mean 'config'?",
            ],
        )
        report = self.examine(text, strict=True)
        self.assertEqual([problem.kind for problem in report.problems], [Kind.ERROR] * 2)

    def test_the_line_of_any_key_can_be_asked_for(self) -> None:
        entry = self.load(
            "modules:\n  - class: demo::Demo\n    config:\n      cors:\n        allowed_origins:\n"
            "          - a\n"
        ).entries[0]
        self.assertEqual(entry.line, 2)
        self.assertEqual(entry.line_of("cors"), 4)
        self.assertEqual(entry.line_of("cors", "allowed_origins", 0), 6)
        self.assertEqual(entry.line_of("absent"), 3)

    def test_every_module_is_checked_at_once(self) -> None:
        """08 §7: ``iii check`` sees all blocks, lenient modules with their own rule."""
        self.catalogue.register_module("demo::Lenient", LenientModule)
        self.catalogue.register_module("demo::Broken", DemoModule)
        text = """modules:
  - {class: demo::Demo, config: {port: "1", prot: 2}}
  - {class: demo::Lenient, config: {port: "9464", flag: "true"}}
  - {class: demo::Broken, config: {flag: 1}}
"""
        explicit = [entry for entry in self.load(text).entries if not entry.implicit]
        problems = config.check_modules(explicit)
        self.assertEqual([(p.line, p.kind) for p in problems], [(2, Kind.ERROR), (4, Kind.ERROR)])


class Registrations(TestCase):
    """Decision 38: modules and adapters of third parties."""

    def test_a_registered_module_is_found_by_class_and_name(self) -> None:
        catalogue = Catalogue()
        catalogue.register_module("mycorp::Demo", DemoModule)
        for written in ("mycorp::Demo", "iii-demo", "mycorp::Demo#3"):
            found = catalogue.find(written)
            assert found is not None
            self.assertIs(load_class(found), DemoModule)
            self.assertFalse(found.missing)
        self.assertIsNone(Catalogue().find("mycorp::Demo"))

    def test_a_module_of_the_engine_can_be_replaced_under_all_its_names(self) -> None:
        catalogue = Catalogue()
        catalogue.register_module("modules::cron::CronModule", DemoModule)
        found = catalogue.find("cron")
        assert found is not None
        self.assertIs(found.module, DemoModule)
        self.assertEqual((found.name, found.missing), ("iii-cron", False))

    def test_a_registered_adapter_is_found(self) -> None:
        catalogue = Catalogue()
        factory = object()
        catalogue.register_adapter("modules::event::EventModule", "mycorp::SqsAdapter", factory)
        catalogue.register_adapter("queue", "builtin", factory)
        loaded = config.from_mapping(
            {
                "modules": [
                    {"class": "iii-queue", "config": {"adapter": {"class": "mycorp::SqsAdapter"}}}
                ]
            },
            environ={},
            catalogue=catalogue,
        )
        choice = loaded.entries[0].adapter
        assert choice is not None
        self.assertIs(choice.adapter.factory, factory)
        queue = catalogue.find("queue")
        assert queue is not None
        self.assertEqual((queue.adapters[0].name, queue.adapters[0].factory), ("builtin", factory))
        with self.assertRaisesRegex(
            ConfigError, "Unknown module class: nope; did|Unknown module class: nope"
        ):
            catalogue.register_adapter("nope", "x", factory)

    def test_entry_points_bring_modules_or_register_what_they_like(self) -> None:
        catalogue = Catalogue()
        here = __name__
        points: dict[str, str] = {
            "mycorp::Demo": f"{here}:DemoModule",
            "mycorp": f"{here}:register_all",
            "broken": f"{here}:absent",
        }
        for name, value in points.items():
            catalogue.add_entry_point(EntryPoint(name, value, "iii.modules"))
        self.assertIsNotNone(catalogue.find("mycorp::Demo"))
        self.assertIsNotNone(catalogue.find("mycorp::Lenient"))
        [fault] = catalogue.faults
        self.assertTrue(fault.startswith(f"entry point 'broken' ({here}:absent) can't be loaded"))
        loaded = config.from_mapping({}, environ={}, catalogue=catalogue)
        self.assertEqual([warning.message for warning in loaded.warnings], [fault])
        self.assertEqual(Catalogue.with_entry_points().faults, [])

    def test_a_class_that_cannot_be_imported_is_a_config_error(self) -> None:
        catalogue = Catalogue()
        catalogue.register_module("x::Y", "iii.no_such_module:Y")  # type: ignore[arg-type]
        found = catalogue.find("x::Y")
        assert found is not None
        with self.assertRaisesRegex(ConfigError, r"x::Y \(x::Y\) can't be loaded: No module named"):
            load_class(found)


def register_all(catalogue: Catalogue) -> None:
    """What an entry point may name instead of a class."""
    catalogue.register_module("mycorp::Lenient", LenientModule)


class Documentation(TestCase):
    """The sample and the examples of the documentation are configurations."""

    def test_the_sample_of_the_repository_loads(self) -> None:
        loaded = config.load(ROOT / "config.yaml", environ={})
        self.assertEqual([w for w in loaded.warnings if "not built" not in w.message], [])
        self.assertEqual(loaded.worker_listeners[0].host, None)
        self.assertEqual(sum(not entry.implicit for entry in loaded.entries), 7)

    def test_every_example_of_the_documentation_loads(self) -> None:
        text = (ROOT / "docs" / "configuration.md").read_text()
        examples = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(examples), 5)
        environ = {"III_TOKEN": "secret"}
        for example in examples:
            with self.subTest(example), tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "config.yaml"
                path.write_text(example)
                report = config.examine(path, environ=environ, strict=True)
                self.assertEqual([str(problem) for problem in report.errors], [])

    def test_the_documentation_names_every_module_and_adapter(self) -> None:
        text = (ROOT / "docs" / "configuration.md").read_text()
        for module in KNOWN:
            adapters: list[Any] = [name for a in module.adapters for name in (a.name, a.canonical)]
            for name in (*module.names, *adapters):
                self.assertIn(f"`{name}`", text)

    def test_the_documentation_names_every_top_level_key(self) -> None:
        text = (ROOT / "docs" / "configuration.md").read_text()
        for key in (*config.Settings.__struct_fields__, "port", "host", "modules", "workers"):
            self.assertIn(f"| `{key}` |", text)
