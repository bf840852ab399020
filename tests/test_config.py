"""Configuration files of every release, and what is said about mistakes in them."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import TestCase

from iii import config
from iii.access.settings import Auth, Rbac
from iii.catalogue import KNOWN, Catalogue, KnownModule, Role
from iii.config import Kind
from iii.errors import ConfigError
from iii.modules.http.config import HttpConfig
from tests.config_case import ROOT, ConfigCase

SAMPLES = Path(__file__).parent / "configs"
#: Known, and not there yet.
LATER = KnownModule(
    "modules::later::LaterModule", "iii-later", port=3199, absent="its port is not opened"
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
                    "iii-http-functions",
                ],
            )
            self.assertTrue(all(entry.implicit for entry in loaded.entries))
            self.assertEqual(loaded.worker_listeners, [config.WorkerListener(None, 49134)])
            self.assertEqual(loaded.warnings, [])
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
                [
                    ("iii-engine-functions", True),
                    ("iii-observability", True),
                    ("iii-http-functions", True),
                ],
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
        spellings = {
            "modules:\n- class: modules::streams::StreamModule\n  config: {adapter: {class: "
            "'modules::streams::adapters::KvStore'}}": "class",
            "workers:\n- name: iii-stream\n  config: {adapter: {name: kv}}": "name",
            "modules:\n- class: iii-stream#2\n  config: {adapter: {class: kv}}": "class",
            "workers:\n- class: modules::stream::StreamModule\n  config: {adapter: {name: "
            "'modules::stream::KvStore'}}": "class",
        }
        for text, flavour in spellings.items():
            with self.subTest(text):
                entry = self.load(text).entries[0]
                assert entry.adapter is not None
                self.assertEqual(
                    (entry.canonical, entry.name, entry.flavour, entry.adapter.adapter.name),
                    ("modules::stream::StreamModule", "iii-stream", flavour, "kv"),
                )

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
        text = (
            "workers:\n- name: iii-cron\n  config:\n    adapter:\n      name: kv\n"
            "      config:\n        lock_ttl_ms: 5\n"
        )
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
        self.catalogue = Catalogue((*KNOWN, LATER))
        text = "modules:\n  - class: modules::later::LaterModule\n"
        self.assertEqual(
            self.warnings(text),
            [
                "2: modules::later::LaterModule (iii-later) is accepted but not "
                "built into this release; its port is not opened"
            ],
        )
        self.assertTrue(self.load(text).entries[0].module.missing)

    def test_every_module_of_this_release_is_there(self) -> None:
        self.assertEqual([module.name for module in KNOWN if module.missing], [])

    def test_a_port_of_a_later_modules_block_is_checked_already(self) -> None:
        self.catalogue = Catalogue((*KNOWN, LATER))
        text = 'modules:\n  - class: modules::later::LaterModule\n    config: {port: "3113"}\n'
        [error] = self.errors(text)
        self.assertIn('expected an integer, found the string "3113"', error)

    def test_what_does_nothing_is_accepted_with_any_config(self) -> None:
        """01.65: usage analytics are accepted and absent."""
        text = (
            "modules:\n  - {class: modules::telemetry::TelemetryModule, config: {api_key: x}}\n"
            "  - {class: modules::worker::WorkerModule, config: {x: 1}}\n"
        )
        self.assertEqual(self.warnings(text), [])
        roles = [entry.module.role for entry in self.load(text).entries]
        self.assertEqual(roles, [Role.INERT, Role.CORE, Role.MODULE, Role.MODULE])
        text = "modules:\n  - class: modules::devtools::DevToolsModule\n"
        self.assertIn("it does nothing", self.warnings(text)[0])

    def test_an_alias_is_explained_once(self) -> None:
        loaded = self.load("modules:\n  - class: modules::rest_api::RestApiModule\n")
        self.assertEqual(
            [note.message for note in loaded.notes],
            ["'modules::rest_api::RestApiModule' means modules::api::RestApiModule (iii-http)"],
        )

    def test_the_same_module_twice_is_refused_only_on_one_address(self) -> None:
        twice = (
            "modules:\n  - {{class: iii-http, config: {{{0}}}}}\n"
            "  - {{name: http, config: {{{1}}}}}\n"
        )
        for first, second in (
            ("port: 1", "port: 2"),
            ("port: 0", "port: 0"),
            ("host: 127.0.0.1", "host: 127.0.0.2"),
        ):
            self.assertEqual(len(self.load(twice.format(first, second)).entries), 5)
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
                config.WorkerListener("0.0.0.0", 6000, 50, None, Rbac(), 4),
            ],
        )
        self.assertEqual([entry.implicit for entry in loaded.entries], [True] * 3)
        [port] = [f"{w.line}: {w.message}" for w in loaded.warnings]
        self.assertEqual(port, "1: port: has no effect, the iii-worker-manager entry decides")
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
            config.Settings("newest", 100, Auth(["secret"]), 5000),
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


class Documentation(TestCase):
    """The sample and the examples of the documentation are configurations."""

    def test_the_sample_of_the_repository_loads(self) -> None:
        loaded = config.load(ROOT / "config.yaml", environ={})
        self.assertEqual([w for w in loaded.warnings if "not built" not in w.message], [])
        self.assertEqual(loaded.worker_listeners[0].host, None)
        self.assertEqual(sum(not entry.implicit for entry in loaded.entries), 8)

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
            adapters = [name for a in module.adapters for name in (a.name, a.canonical)]
            for name in (*module.names, *adapters):
                self.assertIn(f"`{name}`", text)

    def test_the_documentation_names_every_top_level_key(self) -> None:
        text = (ROOT / "docs" / "configuration.md").read_text()
        for key in (*config.Settings.__struct_fields__, "port", "host", "modules", "workers"):
            self.assertIn(f"| `{key}` |", text)

    def test_the_documentation_names_every_key_of_the_http_module(self) -> None:
        text = (ROOT / "docs" / "configuration.md").read_text()
        for key in HttpConfig.__struct_fields__:
            self.assertRegex(text, rf"(?m)^\| `{key}[`.]")
