"""Groups that somebody looks on to, beside those who subscribed: ``stream:<name>/<group>``."""

from __future__ import annotations

import msgspec

from iii.engine.watching.feeds import Feed
from iii.engine.watching.taps import MAX_EVENT_BYTES, Taps
from iii.modules.stream.events import Event
from iii.modules.stream.subscriptions import Subscriptions


class Watched:
    """Takes events to subscribers and to who looks on."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._taps = Taps()

    @property
    def feed(self) -> Feed:
        """The feed of its topics; items are the messages that subscribers get."""
        return self._taps.feed("name/group", "id", "event", "timestamp")

    def wants(self, stream: str, group: str, item: str | None) -> bool:
        """Whether anybody wants an event."""
        return self._subscriptions.wants(stream, group, item) or (
            bool(self._taps) and f"{stream}/{group}" in self._taps
        )

    def publish(self, event: Event) -> None:
        """Give it to everybody who does."""
        self._subscriptions.publish(event)
        if self._taps:
            name = f"{event.stream}/{event.group}"
            if name in self._taps:
                self._taps.tell(name, _message(event))


def _message(event: Event) -> dict[str, object]:
    size = len(event.payload)
    if size > MAX_EVENT_BYTES:
        return {"id": event.item, "event": None, "too_long": size}
    message: dict[str, object] = msgspec.json.decode(event.payload)
    return message
