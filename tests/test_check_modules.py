"""``iii check`` and the check before a reload: blocks of modules and of their adapters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from iii import config
from iii.catalogue import load_class
from iii.checking import Fault, Kind, Problem
from iii.config import InvalidConfiguration
from iii.entries import Entry, check_adapter
from tests.config_case import ConfigCase
from tests.reload.reload_case import ReloadCase


class SpoolConfig(msgspec.Struct):
    """What an adapter takes; not every value makes sense."""

    directory: str = "spool"
    size: int = 1

    def faults(self) -> Iterator[Fault]:
        """The values."""
        if self.size > 9:
            yield Fault("too large", ("size",))
        if self.directory == "tmp":
            yield Fault("not a good place", ("directory",), Kind.WARNING)


class Spool:
    """An adapter of somebody else."""

    config = SpoolConfig

    def __init__(self, settings: SpoolConfig) -> None:
        self.settings = settings


class DemoModule:
    """A module with a back end."""

    name = "iii-demo"
    config = SpoolConfig
    adapters: ClassVar[dict[str, type[Spool]]] = {}


class ModulesCase(ConfigCase):
    """Checks texts."""

    def setUp(self) -> None:
        super().setUp()
        self.catalogue.register_module("demo::Demo", DemoModule)
        self.catalogue.register_adapter("demo::Demo", "my::Spool", Spool)

    def entries(self, text: str) -> list[Entry]:
        """What the text configures."""
        return [entry for entry in self.load(text).entries if not entry.implicit]

    def told(self, text: str, *, strict: bool = False) -> list[str]:
        """``line kind: message``, without where it is."""
        problems = config.check_modules(self.entries(text), strict=strict)
        return [_short(problem) for problem in problems]


def _short(problem: Problem) -> str:
    return f"{problem.line} {problem.kind}: {problem.message.split(': ', 1)[-1]}"


class Adapters(ModulesCase):
    """The ``config:`` of ``adapter:``."""

    TEXT = """modules:
  - class: demo::Demo
    config:
      size: 10
      adapter:
        class: my::Spool
        config:
          size: 12
          directry: tmp
          directory: tmp
"""

    def test_it_is_checked_like_the_modules_own(self) -> None:
        where = "modules[0].config"
        [entry] = self.entries(self.TEXT)
        self.assertEqual(
            [f"{p.line} {p.kind}: {p.message}" for p in config.check_modules([entry])],
            [
                f"4 error: {where}.size (demo::Demo): too large",
                f"8 error: {where}.adapter.config.size (demo::Demo): too large",
                f"9 unknown: unknown key 'directry' in {where}.adapter.config (demo::Demo); "
                "did you mean 'directory'?",
                f"10 warning: {where}.adapter.config.directory (demo::Demo): not a good place",
            ],
        )

    def test_strictness_is_about_names_only(self) -> None:
        """Decision 11: what is unknown becomes an error, other warnings stay."""
        [entry] = self.entries(self.TEXT.replace("10", "1").replace("12", "1"))
        problems = config.check_modules([entry], strict=True)
        self.assertEqual([p.kind for p in problems], [Kind.UNKNOWN, Kind.WARNING])
        self.assertEqual([p.kind for p in entry.warnings], [Kind.WARNING])

    def test_wrong_types_are_told_instead_of_values(self) -> None:
        """A struct is asked only for a block that is one."""
        text = self.TEXT.replace("12", "[]")
        self.assertIn(
            "8 error: expected an integer, found an empty list",
            self.told(text),
        )

    def test_the_start_refuses_the_same(self) -> None:
        """And gets the adapter and its settings from the check."""
        [entry] = self.entries(self.TEXT)
        with self.assertRaises(InvalidConfiguration) as caught:
            check_adapter(entry, {})
        self.assertEqual([p.line for p in caught.exception.problems], [8])
        [entry] = self.entries(self.TEXT.replace("12", "3"))
        factory, settings = check_adapter(entry, {})
        self.assertEqual((factory, settings), (Spool, SpoolConfig("tmp", 3)))

    def test_one_that_is_not_there_is_told(self) -> None:
        """A name of the catalogue without a class."""
        text = "modules:\n  - class: iii-cron\n    config:\n      adapter: {name: redis}\n"
        [entry] = self.entries(text)
        with self.assertRaises(InvalidConfiguration) as caught:
            check_adapter(entry, {})
        self.assertIn("adapter 'redis' is not built into this release", str(caught.exception))

    def test_a_default_back_end_has_nothing_to_check(self) -> None:
        self.assertEqual(self.told("modules:\n  - class: iii-state\n"), [])


class Shipped(ModulesCase):
    """What would otherwise only be told by the start, at its line."""

    def adapter(self, module: str, name: str, block: str) -> list[str]:
        """What is told of the ``config:`` of an adapter, whose keys begin on line 6."""
        return self.told(
            f"modules:\n  - class: {module}\n    config:\n      adapter:\n"
            f"        name: {name}\n        config: {{{block}}}\n"
        )

    def test_every_adapter_on_redis(self) -> None:
        for module in ("iii-state", "iii-stream", "iii-queue", "iii-pubsub", "iii-cron"):
            [told] = self.adapter(module, "redis", 'redis_url: "http://u:hush@x"')
            self.assertIn("6 error: redis_url can't be used: it must start with redis://", told)
            self.assertNotIn("hush", told)
            [told] = self.adapter(module, "redis", 'redis_url: "rediss://x?ca=/no/such"')
            self.assertIn("6 error: redis_url can't be used: the file of ca=", told)

    def test_rabbitmq(self) -> None:
        [told] = self.adapter("iii-queue", "rabbitmq", 'amqp_url: "amqp://x/a/b"')
        self.assertIn("6 error: amqp_url can't be used", told)
        [told] = self.adapter("iii-queue", "rabbitmq", 'amqp_url: "amqps://x?ca=/no/such"')
        self.assertIn("the file of ca=", told)

    def test_other_engines(self) -> None:
        for module in ("iii-state", "iii-stream", "iii-queue"):
            [told] = self.adapter(module, "bridge", 'bridge_url: "http://x"')
            self.assertIn("6 error: bridge_url can't be used", told)
        text = "modules:\n  - class: iii-bridge\n    config:\n      url: wss://x\n      {}\n"
        [told] = self.told(text.format("ca: /no/such"))
        self.assertIn("5 error: ca: /no/such can't be used", told)
        [told] = self.told(text.format('token: "two words"'))
        self.assertIn("5 error: token can't be used", told)

    def test_stores(self) -> None:
        [told] = self.adapter("iii-state", "kv", "store_method: in-memory")
        self.assertIn("6 unknown: 'in-memory' is neither in_memory nor file_based", told)
        self.assertIn("did you mean 'in_memory'?", told)
        for module, name in (("iii-stream", "kv"), ("iii-queue", "builtin"), ("iii-cron", "kv")):
            for method, durability in (("in_memory", "fsync"), ("file_based", "memory")):
                block = f"store_method: {method}, durability: {durability}"
                [told] = self.adapter(module, name, block)
                self.assertIn("exclude each other", told)

    def test_queues_that_make_no_sense(self) -> None:
        """Each at its own line."""
        text = """modules:
  - class: iii-queue
    config:
      queue_configs:
        a: {type: fifo}
        b: {}
        c: {type: lifo}
"""
        self.assertEqual(
            self.told(text),
            [
                "5 error: Queue 'a' is of type 'fifo' but 'message_group_field' is not set",
                "7 error: Queue 'c' has invalid type 'lifo'. Must be 'standard' or 'fifo'",
            ],
        )

    def test_observability(self) -> None:
        """05 A13: what is skipped at the start."""
        text = """modules:
  - class: iii-observability
    config:
      level: info,iii.wire=debgu
      format: jsn
      logs_batch_size: 0
      logs_flush_interval_ms: "99"
"""
        self.assertEqual(
            self.told(text),
            [
                "4 unknown: 'iii.wire=debgu' is no level and is skipped; did you mean 'debug'?",
                "5 unknown: 'jsn' is no format, default is used; did you mean 'json'?",
                "6 warning: 0 is not between 1 and 10000, 100 is used",
                "7 warning: 99 is not between 100 and 3600000, 5000 is used",
            ],
        )
        self.assertEqual(
            self.told("modules:\n  - class: iii-observability\n    config: {log_level: bogus}\n"),
            ["3 unknown: 'bogus' is no level and is skipped"],
        )

    def test_metrics_of_alerts(self) -> None:
        """05 A12: names that only the engine could have; others are the workers'."""

        def told(metric: str) -> list[str]:
            return self.told(
                "modules:\n  - class: iii-observability\n    config:\n      alerts:\n"
                f"        - name: a\n          threshold: 1\n          metric: {metric}\n"
            )

        for metric in (
            "iii.invocation.total",
            "iii_invocations_total",
            "III.Invocations.Total",
            "iii.invocations.totl",
        ):
            self.assertEqual(
                told(metric),
                [
                    f"7 unknown: the engine has no metric '{metric}'; "
                    "did you mean 'iii.invocations.total'?"
                ],
            )
        self.assertIn("'iii.workers.active'", told("iii.worker.active")[0])
        for metric in (
            "iii.workers.active",
            "iii.invocations.error_rate",
            "iii.worker.cpu.percent",
            "iii.worker.uptime_seconds",
            "shop.orders",
        ):
            self.assertEqual(told(metric), [])

    def test_every_adapter_says_what_it_takes(self) -> None:
        """So that none goes unchecked."""
        self.catalogue.register_module("demo::Demo", DemoModule)
        for module in self.catalogue:
            if module.missing or not isinstance(module.module, str):
                continue
            class_ = load_class(module)
            for name, adapter in class_.adapters.items():
                if name == "local":
                    continue  # pub/sub inside one engine: nothing to choose
                type_ = getattr(adapter, "config", None)
                self.assertTrue(isinstance(type_, type), f"{module.name} {name}")


class Reload(ReloadCase):
    """01 §18.14: the same before a reload."""

    async def test_a_wrong_block_of_an_adapter_changes_nothing(self) -> None:
        await self.start({"name": "iii-state"})
        self.path.write_text(
            "port: 0\nmodules:\n  - name: iii-state\n    config:\n      adapter:\n"
            "        name: kv\n        config: {cache_bytes: -1}\n"
        )
        await self.engine.service.reload()
        told = [line for line in self.log if "not reloaded" in line]
        self.assertEqual(len(told), 1)
        self.assertIn(
            f"{self.path}:7: modules[0].config.adapter.config.cache_bytes (iii-state): ", told[0]
        )
