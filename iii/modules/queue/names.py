"""What the queues are called.

Three kinds share one adapter: the queue of a topic (also where its messages wait for a
first group), the queue of one group of subscribers, and a named queue.  ``str()`` gives
the name the original used; ``text`` is unambiguous, for an adapter to store.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from iii.engine.functions import DEFAULT_NAMESPACE


class QueueName(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """One internal queue.

    :ivar kind: ``topic``, ``group`` (of a topic) or ``named``
    :ivar name: the topic, or the name of the named queue
    :ivar function_id: whose group
    :ivar namespace: of that function
    """

    kind: Literal["topic", "group", "named"]
    name: str
    function_id: str = ""
    namespace: str = DEFAULT_NAMESPACE

    @property
    def text(self) -> str:
        """For storing: no two queues have the same."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of_text(cls, text: str) -> QueueName:
        """The opposite of ``text``."""
        return msgspec.json.decode(text, type=cls)

    @property
    def group(self) -> str | None:
        """The group as lists show it; None: there is none."""
        if self.kind != "group":
            return None
        at = "" if self.namespace == DEFAULT_NAMESPACE else f"@{self.namespace}"
        return f"{self.function_id}{at}"

    def __str__(self) -> str:
        if self.kind == "named":
            return f"__fn_queue::{self.name}"
        return self.name if self.kind == "topic" else f"{self.name}::{self.group}"


def topic(name: str) -> QueueName:
    """The queue of a topic."""
    return QueueName("topic", name)


@lru_cache(1_000)
def named(name: str) -> QueueName:
    """A named queue."""
    return QueueName("named", name)
