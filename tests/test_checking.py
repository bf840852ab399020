"""A module's own block: types, unknown keys, lines."""

from __future__ import annotations

from iii import config
from iii.config import InvalidConfiguration, Kind
from tests.config_case import ConfigCase, Cors, DemoConfig, DemoModule, LenientModule


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
        text += "  - {class: nope::X}\n"
        report = self.examine(text)
        self.assertIsNone(report.configuration)
        problems = config.check_modules([e for e in report.entries if not e.implicit])
        self.assertEqual(
            [(p.line, p.kind) for p in problems],
            [(2, Kind.ERROR), (2, Kind.UNKNOWN), (4, Kind.ERROR)],
        )
