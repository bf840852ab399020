"""The configuration files of the engines that are measured.  Paths are in their directory."""

from __future__ import annotations

STATE_DIRECTORY = "state"
QUEUE_DIRECTORY = "queue"
#: of 50 messages at once; of one a group; and one that keeps what it gets
PLAIN_QUEUE, FIFO_QUEUE, PARKED_QUEUE = "plain", "ordered", "parked"

#: What the suites of other things run with: calls are not recorded, figures not shown.
_QUIET = """\
  - class: modules::observability::OtelModule
    config: {enabled: false, prometheus_port: 0}
"""
_RECORDED = _QUIET.replace("enabled: false, ", "")
HTTP_CONFIG = f"""\
port: 0
modules:
{_QUIET}\
  - class: modules::api::RestApiModule
    config: {{host: 127.0.0.1, port: 0}}
"""
#: The same with default settings of observability, except that no port is opened.
RECORDED_CONFIG = HTTP_CONFIG.replace(_QUIET, _RECORDED)
#: The same with room for all spans of a measure, so that each can be counted.
ROOMY_CONFIG = RECORDED_CONFIG.replace("{prometheus", "{memory_max_bytes: 536870912, prometheus")
#: Quiet but for a console, which keeps all calls.
CONSOLE_CONFIG = f"""\
{HTTP_CONFIG}\
  - class: modules::console::ConsoleModule
    config: {{host: 127.0.0.1, port: 0}}
"""
STORES_CONFIG = f"""\
port: 0
modules:
{_QUIET}\
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
CRON_CONFIG = f"""\
port: 0
modules:
{_QUIET}\
  - class: modules::cron::CronModule
    config:
      adapter:
        class: modules::cron::KvCronAdapter
        config: {{file_path: ./cron}}
"""


def bridge_config(url: str) -> str:
    """An engine that forwards a function to the one at ``url``."""
    return f"""\
port: 0
modules:
{_QUIET}\
  - class: modules::bridge_client::BridgeClientModule
    config:
      url: "{url}"
      forward:
        - {{local_function: bridged.echo, remote_function: bench.echo}}
"""


def redis_stores_config(url: str) -> str:
    """An engine with state and streams in a Redis."""
    return f"""\
port: 0
modules:
{_QUIET}\
  - class: modules::state::StateModule
    config:
      adapter:
        class: modules::state::adapters::RedisAdapter
        config: {{redis_url: "{url}"}}
  - class: modules::stream::StreamModule
    config:
      host: 127.0.0.1
      port: 0
      adapter:
        class: modules::stream::adapters::RedisAdapter
        config: {{redis_url: "{url}"}}
"""


def queue_config(durability: str) -> str:
    """An engine with the queues of the suites."""
    store = (
        f"{{store_method: file_based, file_path: ./{QUEUE_DIRECTORY}, durability: {durability}}}"
    )
    return _queues_on("modules::queue::BuiltinQueueAdapter", store)


def redis_queue_config(url: str) -> str:
    """The same queues in a Redis."""
    return _queues_on("modules::queue::RedisAdapter", f'{{redis_url: "{url}"}}')


def rabbitmq_config(url: str) -> str:
    """The same queues on a RabbitMQ."""
    return _queues_on("modules::queue::RabbitMQAdapter", f'{{amqp_url: "{url}"}}')


def _queues_on(adapter: str, settings: str) -> str:
    return f"""\
port: 0
modules:
{_QUIET}\
  - class: modules::queue::QueueModule
    config:
      queue_configs:
        {PLAIN_QUEUE}: {{concurrency: 50}}
        {FIFO_QUEUE}: {{type: fifo, message_group_field: group, concurrency: 50, backoff_ms: 10}}
        {PARKED_QUEUE}: {{concurrency: 0}}
      adapter:
        class: {adapter}
        config: {settings}
"""
