"""What a trigger on a topic says: its topic, its condition, its settings.

Three generations wrote this, and none was ever refused for a wrong value: what has the
wrong type counts as absent.  docs/queues.md has the table.
"""

from __future__ import annotations

from typing import Any

import msgspec

from iii.engine.bindings import Binding
from iii.errors import Code, RegistrationError
from iii.modules.queue.limits import RateLimit
from iii.modules.queue.settings import HIGHEST_BROKER_PRIORITY, LaneSettings

LARGEST_NUMBER = 2**53


class TopicTrigger(msgspec.Struct):
    """The configuration of a ``queue`` or ``durable:subscriber`` trigger, for listings."""

    topic: str
    condition_function_id: str | None = None
    queue_config: dict[str, Any] | None = None


class Subscription:
    """A trigger, read.

    :raises RegistrationError: it names no topic
    """

    __slots__ = ("condition", "settings", "topic")

    def __init__(self, binding: Binding, defaults: LaneSettings) -> None:
        config = _object(msgspec.json.decode(binding.config))
        topic = config.get("topic", config.get("queue"))
        if not isinstance(topic, str) or not topic:
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, "Topic is not set")
        condition = config.get("condition_function_id", config.get("_condition_path"))
        metadata = {} if binding.metadata is None else msgspec.json.decode(binding.metadata)
        self.topic = topic
        self.condition = condition if isinstance(condition, str) and condition else None
        self.settings = _settings(_chosen(config, _object(metadata)), defaults)


def _chosen(config: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """``queue_config``, or where older documentation had it."""
    if "queue_config" in config:
        return _object(config["queue_config"])
    older = config.get("queue")
    if isinstance(older, dict):
        return older
    return _object(_object(metadata.get("infrastructure")).get("queue"))


def _settings(said: dict[str, Any], defaults: LaneSettings) -> LaneSettings:
    changes: dict[str, Any] = {}
    for key, field, factor in (
        ("concurrency", "concurrency", 1),
        ("backoffDelayMs", "backoff_ms", 1),
        ("maxBackoffMs", "max_backoff_ms", 1),
        ("delaySeconds", "delay_ms", 1000),
        ("dispatchTimeoutMs", "dispatch_timeout_ms", 1),
        ("ttlMs", "ttl_ms", 1),
        ("concurrencyPerKey", "per_key", 1),
        ("maxPriority", "max_priority", 1),
    ):
        number = _whole(said.get(key))
        if number is not None:
            changes[field] = number * factor
    retries = _whole(said.get("maxRetries"))
    if retries is not None:
        changes["max_attempts"] = retries + 1
    if isinstance(said.get("type"), str):
        changes["serial"] = said["type"].lower() == "fifo"
    if isinstance(said.get("backoffType"), str):
        changes["backoff"] = "fixed" if said["backoffType"].lower() == "fixed" else "exponential"
    if isinstance(said.get("jitter"), bool):
        changes["jitter"] = said["jitter"]
    if isinstance(said.get("concurrencyKey"), str) and said["concurrencyKey"]:
        changes["key_field"] = said["concurrencyKey"]
    changes.update(_rate_limit(said.get("rateLimit")))
    settings = msgspec.structs.replace(defaults, **changes)
    return _consistent(settings)


def _rate_limit(said: Any) -> dict[str, Any]:
    limit = _object(said)
    count, per_ms = _whole(limit.get("count")), _whole(limit.get("perMs"))
    return {"rate_limit": RateLimit(count, per_ms)} if count and per_ms else {}


def _consistent(settings: LaneSettings) -> LaneSettings:
    """A serial queue has one group; a slot per key is one at least; of a bound 0 is none."""
    return msgspec.structs.replace(
        settings,
        key_field=None if settings.serial else settings.key_field,
        concurrency=min(1, settings.concurrency) if settings.serial else settings.concurrency,
        per_key=max(1, settings.per_key),
        ttl_ms=settings.ttl_ms or None,
        max_priority=min(settings.max_priority or 0, HIGHEST_BROKER_PRIORITY) or None,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        return None
    return value
