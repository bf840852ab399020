"""The configuration files of the engines that are measured.  Paths are in their directory."""

from __future__ import annotations

STATE_DIRECTORY = "state"
QUEUE_DIRECTORY = "queue"
#: of 50 messages at once; of one a group; and one that keeps what it gets
PLAIN_QUEUE, FIFO_QUEUE, PARKED_QUEUE = "plain", "ordered", "parked"

HTTP_CONFIG = """\
port: 0
modules:
  - class: modules::api::RestApiModule
    config: {host: 127.0.0.1, port: 0}
"""
STORES_CONFIG = f"""\
port: 0
modules:
  - class: modules::state::StateModule
    config:
      adapter:
        class: modules::state::adapters::KvStore
        config: {{file_path: ./{STATE_DIRECTORY}, durability: os}}
  - class: modules::stream::StreamModule
    config:
      host: 127.0.0.1
      port: 0
      adapter:
        class: modules::stream::adapters::KvStore
        config: {{file_path: ./stream, durability: os}}
"""
CRON_CONFIG = """\
port: 0
modules:
  - class: modules::cron::CronModule
    config:
      adapter:
        class: modules::cron::KvCronAdapter
        config: {file_path: ./cron}
"""


def queue_config(durability: str) -> str:
    """An engine with the queues of the suites."""
    store = (
        f"{{store_method: file_based, file_path: ./{QUEUE_DIRECTORY}, durability: {durability}}}"
    )
    return f"""\
port: 0
modules:
  - class: modules::queue::QueueModule
    config:
      queue_configs:
        {PLAIN_QUEUE}: {{concurrency: 50}}
        {FIFO_QUEUE}: {{type: fifo, message_group_field: group, backoff_ms: 10}}
        {PARKED_QUEUE}: {{concurrency: 0}}
      adapter:
        class: modules::queue::BuiltinQueueAdapter
        config: {store}
"""
