"""What ``publish`` takes, what a ``subscribe`` trigger says, what listings show."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Raw, Struct

from iii.engine.inputs import Input


class PublishInput(Input):
    """``publish``.  ``data`` passes through unread."""

    called: ClassVar[str] = "PublishInput"

    topic: str
    data: Raw


class SubscribeTrigger(Struct):
    """The ``config`` of a ``subscribe`` trigger."""

    topic: str
    condition_function_id: str | None = None


class TopicFigures(Struct):
    """A row of ``engine::pubsub::topics``.

    :ivar functions: the ids of those that hear its messages
    :ivar published: messages from here since the start
    :ivar rate_per_second: those of the last minute
    """

    name: str
    broker_type: str
    subscriber_count: int
    functions: list[str]
    published: int
    rate_per_second: float


class TopicRow(Struct):
    """A topic that somebody subscribes to.

    :ivar broker_type: the adapter
    :ivar subscriber_count: how many triggers; those that replicas share count each
    """

    name: str
    broker_type: str
    subscriber_count: int
