"""The adapter ``local``: everybody is connected to this engine."""

from __future__ import annotations

from typing import Any, ClassVar

from iii.engine.module import ModuleApi
from iii.modules.pubsub.adapter import Message, Received


class LocalAdapter:
    """Hands messages on at once.

    :param settings: accepted from older configurations, without effect
    """

    kind: ClassVar[str] = "local"

    def __init__(self, settings: Any) -> None:
        self._received: Received | None = None

    def start(self, engine: ModuleApi, received: Received) -> None:
        """Adapter: remember where messages go."""
        self._received = received

    def subscribe(self, topic: str) -> None:
        """Adapter: nothing to do, every message comes by here."""

    def unsubscribe(self, topic: str) -> None:
        """Adapter: nothing to do either."""

    def publish(self, message: Message) -> None:
        """Adapter: hand ``message`` on."""
        if self._received is not None:
            self._received(message)

    def stop(self) -> None:
        """Adapter: hand nothing on any more."""
        self._received = None
