"""The ``iii-pubsub`` module: messages for whoever listens at this moment.

Nothing is kept: who is not connected misses the message (the queue module keeps them).
How messages travel is the adapter's business.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from iii.engine.adapters import Adapters
from iii.engine.fanout import Fanout
from iii.engine.module import Module, ModuleApi
from iii.modules.pubsub.adapter import PubSubAdapter
from iii.modules.pubsub.shapes import PublishInput, SubscribeTrigger, TopicFigures, TopicRow
from iii.modules.pubsub.topics import Topics


class PubSubModule(Module):
    """Publishes messages.  Trigger type ``subscribe``."""

    name = "iii-pubsub"
    adapters = Adapters(
        local="iii.modules.pubsub.adapters.local:LocalAdapter",
        redis="iii.modules.pubsub.adapters.redis:RedisAdapter",
    )
    adapter: PubSubAdapter

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._fanout: Fanout | None = None

    def start(self, engine: ModuleApi) -> Awaitable[None] | None:
        """Module: offer the functions and the trigger type."""
        self._fanout = Fanout(engine, "pubsub")
        topics = Topics(self.adapter, self._fanout, engine.clock)
        engine.instrument(
            "iii_pubsub_published_total",
            "counter",
            "Messages that were published here",
            lambda: topics.published,
            ("topic",),
        )
        self._fanout.show("iii_pubsub")
        engine.function(
            "publish",
            topics.publish,
            takes=PublishInput,
            description="Publishes an event",
            wants_call=True,
        )
        engine.function(
            "engine::pubsub::list_topics",
            topics.rows,
            gives=list[TopicRow],
            description="List the topics that have subscribers",
        )
        engine.function(
            "engine::pubsub::topics",
            topics.figures,
            gives=list[TopicFigures],
            description="List the topics with their subscribers and rates",
        )
        engine.feed("pubsub", topics.watched.feed("topic", "topic", "trace_id", "data"))
        engine.trigger_type(
            "subscribe",
            topics,
            description="Subscribe to a topic",
            trigger_schema=SubscribeTrigger,
        )
        return self.adapter.start(engine, topics.received)

    @property
    def under_way(self) -> int:
        """Module: messages that wait for their turn; what runs is a call like any other."""
        return 0 if self._fanout is None else self._fanout.waiting

    def stop(self) -> Awaitable[None] | None:
        """Module: let go of the broker."""
        if self._fanout is None:
            return None
        self._fanout.stop()
        return self.adapter.stop()
