"""How queues are called in Redis.

As people know them: ``mail``, ``mail::billing::send`` (a group), ``__fn_queue::jobs``.  No
two queues have one name, whatever topics are called: what would be ambiguous is written
as ``%`` and two digits.
"""

from __future__ import annotations

from functools import lru_cache

from iii.modules.queue.message import Message
from iii.modules.queue.names import QueueName
from iii.modules.queue.settings import LaneSettings

_NAMED = "__fn_queue"
#: A brace would end the part by which Redis Cluster places keys.
_BRACES = {"%": "%25", "{": "%7B", "}": "%7D", "\n": "%0A"}
_IN_TOPIC = str.maketrans({**_BRACES, ":": "%3A"})
_IN_FUNCTION = str.maketrans({**_BRACES, "@": "%40"})
_IN_NAMED = str.maketrans(_BRACES)


@lru_cache(10_000)
def name_of(queue: QueueName) -> str:
    """The part of its keys that tells a queue from the others."""
    if queue.kind == "named":
        return f"{_NAMED}::{queue.name.translate(_IN_NAMED)}"
    name = queue.name.translate(_IN_TOPIC)
    if name == _NAMED:
        name = "%5F_fn_queue"
    if queue.kind == "topic":
        return name
    at = "" if queue.namespace == "default" else f"@{queue.namespace.translate(_IN_FUNCTION)}"
    return f"{name}::{queue.function_id.translate(_IN_FUNCTION)}{at}"


def mode_of(settings: LaneSettings) -> str:
    """How rows are made of its messages (``script_parts``)."""
    if settings.serial:
        return "s"
    if settings.key_field is None:
        return ""
    return "o" if settings.ordered else "k"


def target_of(message: Message) -> str:
    """Who runs ``message``; one text for all messages of a topic."""
    return target(message.function_id, message.details.namespace)


def target(function_id: str | None, namespace: str | None) -> str:
    """Function and namespace in one text."""
    return f"{function_id or ''}\n{namespace}" if namespace else function_id or ""
