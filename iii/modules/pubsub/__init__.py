"""The pub/sub module (docs/pubsub.md)."""

from iii.modules.pubsub.adapter import Message, PubSubAdapter
from iii.modules.pubsub.module import PubSubModule

__all__ = ["Message", "PubSubAdapter", "PubSubModule"]
