"""What everything is called on the broker: the original's names, and ours beside them.

A queue has a *place*: the queue itself, how fresh messages get there, where its dead
letters are, and what its *waits* are called.  A wait is a queue whose messages go back to
the place after a time (``Keeper``).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from iii.engine.functions import DEFAULT_NAMESPACE
from iii.modules.queue.names import QueueName


class Place(msgspec.Struct, frozen=True):
    """Where the messages of one queue are.

    :ivar exchange: fresh messages go there, with ``key``
    :ivar dead: the queue of dead letters
    :ivar waits: beginning of the names of waits
    :ivar parked: messages that wait for their function; "" for topics, which just wait
    """

    queue: str
    exchange: str
    key: str
    dead: str
    waits: str
    parked: str = ""

    def wait(self, ms: int) -> str:
        """The wait of so many milliseconds."""
        return f"{self.waits}.{ms}.queue"


class Names:
    """The names with one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.place = lru_cache(10_000)(self._place)

    @property
    def log(self) -> str:
        """The exchange, and with ``.log`` the queue, of what is known about queues."""
        return f"{self._prefix}.__queues"

    def exchange(self, topic: str) -> str:
        """Where messages of a topic are published."""
        return f"{self._prefix}.{topic}.exchange"

    def delayed(self, topic: str) -> Place:
        """Where messages of a topic are before they are published."""
        stem = f"{self._prefix}.{topic}.delayed"
        queue = f"{stem}.queue"
        return Place(queue, "", queue, "", stem)

    def _place(self, queue: QueueName) -> Place:
        if queue.kind == "named":
            main = f"{self._prefix}.__fn_queue::{queue.name}"
            return Place(
                f"{main}.queue",
                main,
                queue.name,
                f"{main}::dlq.queue",
                f"{main}::retry",
                f"{main}::parked.queue",
            )
        stem = f"{self._prefix}.{queue.name}"
        if queue.kind == "group":
            stem = f"{self._prefix}.{_group(queue)}"
        main = f"{stem}.queue"
        return Place(
            main,
            self.exchange(queue.name),
            queue.name,
            f"{stem}.dlq",
            f"{stem}.retry",
        )


def _group(queue: QueueName) -> str:
    if queue.namespace == DEFAULT_NAMESPACE:
        return f"{queue.name}.{queue.function_id}"
    return f"{_escaped(queue.name)}.{_escaped(queue.function_id)}@{_escaped(queue.namespace)}"


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace("@", "\\@")
