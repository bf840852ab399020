"""Every name of every module and adapter, and what third parties add."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from unittest import TestCase

from iii import config
from iii.catalogue import Catalogue, find_adapter, load_class
from iii.errors import ConfigError
from tests.config_case import DemoModule, LenientModule


class Names(TestCase):
    """01 §13."""

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
        with self.assertRaisesRegex(ConfigError, "^Unknown module class: nope$"):
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
