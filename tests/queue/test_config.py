"""Configurations of all generations (03 §1.2)."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from iii.catalogue import Catalogue
from iii.config import from_mapping
from iii.entries import Entry, check_config
from iii.errors import ConfigError, StartError
from iii.modules.queue.builtin import BuiltinAdapter
from iii.modules.queue.config import QueueConfig
from iii.modules.queue.module import QueueModule
from iii.service import create_module
from tests.support.probes import probe

CLASS, NAME = "modules::queue::QueueModule", "iii-queue"
ADAPTER: dict[str, Any] = {
    "max_attempts": 5,
    "backoff_ms": 10,
    "concurrency": 2,
    "poll_interval_ms": 50,
    "mode": "fifo",
    "store_method": "file_based",
    "file_path": "./data/q",
    "save_interval_ms": 5000,
    "channel_size": 256,
}


def entry(config: dict[str, Any], *, written: str = CLASS) -> Entry:
    """The entry of a configuration with one module."""
    catalogue = Catalogue()
    catalogue.register_module(CLASS, QueueModule)
    key = ("modules", "class") if "::" in written else ("workers", "name")
    loaded = from_mapping(
        {key[0]: [{key[1]: written, "config": config}]}, environ={}, catalogue=catalogue
    )
    return next(one for one in loaded.entries if one.name == NAME)


class Files(TestCase):
    """What is read, what is said about the rest."""

    @probe("03.66")
    def test_every_spelling_loads(self) -> None:
        """Classes of 0.8 to 0.10, names of 0.11 and later; adapters by either."""
        for written in (CLASS, "modules::event::QueueModule", NAME, "queue"):
            for key, adapter in (
                ("class", "modules::queue::BuiltinQueueAdapter"),
                ("class", "modules::queue::adapters::BuiltinQueueAdapter"),
                ("name", "builtin"),
            ):
                queues = {"mail": {"max_retries": 5, "poll_interval_ms": 50, "max_priority": 9}}
                config = {"queue_configs": queues, "adapter": {key: adapter, "config": ADAPTER}}
                module = create_module(entry(config, written=written))
                self.assertIsInstance(module, QueueModule)
                self.assertEqual(module.adapter.topic_settings.max_attempts, 5)
                self.assertTrue(module.adapter.topic_settings.serial)
                self.assertEqual(module.settings.queue_configs["mail"].max_retries, 5)

    @probe("03.66")
    def test_an_unknown_key_is_one_warning(self) -> None:
        """With the nearest right one, also inside a queue."""
        one = entry({"queue_configs": {"mail": {"max_retrys": 5}}})
        check_config(one, QueueConfig)
        [warning] = one.warnings
        self.assertIn("max_retries", str(warning))
        one = entry({"queue_config": {}})
        check_config(one, QueueConfig)
        self.assertEqual(len(one.warnings), 1)

    def test_a_wrong_type_is_fatal(self) -> None:
        """And its place is named."""
        for config, place in (
            ({"queue_configs": {"mail": {"concurrency": "4"}}}, "queue_configs.mail.concurrency"),
            ({"queue_configs": {"mail": {"backoff_ms": -1}}}, "queue_configs.mail.backoff_ms"),
            ({"queue_configs": []}, "queue_configs"),
        ):
            with self.assertRaises(ConfigError) as caught:
                check_config(entry(config), QueueConfig)
            self.assertIn(place, str(caught.exception))
        adapter = {"class": "modules::queue::BuiltinQueueAdapter", "config": {"max_attempts": "x"}}
        with self.assertRaises(StartError) as refused:
            create_module(entry({"adapter": adapter}))
        self.assertIn("max_attempts", refused.exception.message)

    def test_no_adapter_is_the_builtin_one(self) -> None:
        """Durable, in ``./data/queue``."""
        module = create_module(entry({}))
        self.assertIsInstance(module.adapter, BuiltinAdapter)

    def test_in_memory_may_come_from_outside(self) -> None:
        """``III_IN_MEMORY`` counts where no method is named."""
        module = create_module(entry({}), in_memory=True)
        self.assertEqual(module.adapter._settings.store_method, "in_memory")
        adapter = {"name": "builtin", "config": {"store_method": "file_based"}}
        module = create_module(entry({"adapter": adapter}), in_memory=True)
        self.assertEqual(module.adapter._settings.store_method, "file_based")

    def test_an_unknown_adapter_is_fatal(self) -> None:
        """As the original says it."""
        with self.assertRaisesRegex(ConfigError, "Adapter factory 'modules::queue::Nope'"):
            entry({"adapter": {"class": "modules::queue::Nope"}})


class Problems(TestCase):
    """What makes no sense stops the start."""

    def problem(self, **queues: dict[str, Any]) -> str:
        """Why the module doesn't start."""
        with self.assertRaises(StartError) as refused:
            create_module(entry({"queue_configs": queues}))
        return str(refused.exception)

    @probe("03.30")
    def test_the_type_is_one_of_two(self) -> None:
        """And a FIFO queue needs its field."""
        self.assertIn(
            "Queue 'x' has invalid type 'lifo'. Must be 'standard' or 'fifo'",
            self.problem(x={"type": "lifo"}),
        )
        self.assertIn(
            "Queue 'x' is of type 'fifo' but 'message_group_field' is not set",
            self.problem(x={"type": "fifo"}),
        )

    def test_keys_don_t_mix(self) -> None:
        """One field groups messages."""
        problem = self.problem(
            x={"type": "fifo", "message_group_field": "a", "concurrency_key": "b"}
        )
        self.assertIn("'concurrency_key' is for standard queues", problem)
        limit = {"count": 1, "per_ms": 1, "key_field": "b"}
        problem = self.problem(x={"concurrency_key": "a", "rate_limit": limit})
        self.assertIn("both need the same field", problem)
