"""Leases of what runs in this engine, and of its share in groups, go on and on.

They are renewed at a third of their time, many with one command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from iii.engine.clock import Timer
from iii.modules.queue.adapters.redis.facts_scripts import RENEW
from iii.modules.queue.adapters.redis.hub import Hub
from iii.redis import RedisError

if TYPE_CHECKING:
    from iii.redis.protocol import Part

log = Logger()

BATCH = 200

Held = tuple[str, str, str]
"""Name of the queue, id, token; without id and token: the engine's share in a group."""


class Leases:
    """Renews.

    :param held: what this engine has
    """

    def __init__(self, hub: Hub, held: Callable[[], Iterable[Held]]) -> None:
        self._hub = hub
        self._held = held
        self._timer: Timer | None = None

    def start(self) -> None:
        """Renew from time to time."""
        self._timer = self._hub.clock.call_later(self._hub.lease_ms / 3000, self._again)

    def stop(self) -> None:
        """Renew no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def renew(self) -> None:
        """Renew everything now."""
        if not self._hub.redis.up:
            return
        held = list(self._held())
        for at in range(0, len(held), BATCH):
            some = held[at : at + BATCH]
            parts: list[Part] = [part for one in some for part in one]
            renewed = self._hub.run(RENEW, self._hub.lease_ms, len(some), *parts)
            renewed.addCallbacks(self._renewed, _later, callbackArgs=(some,))

    def _again(self) -> None:
        self.start()
        self.renew()

    def _renewed(self, lost: list[int], some: list[Held]) -> None:
        held = set(self._held()) if lost else set()
        for number in lost:
            if some[number - 1] in held:
                name, id, _ = some[number - 1]
                log.warn(
                    "queue {queue}: the lease of message {id} was not renewed in time; it may"
                    " run on another engine as well",
                    queue=name,
                    id=id,
                )


def _later(failure: Failure) -> None:
    """Redis is away, which its client tells; it is renewed when it is back."""
    failure.trap(RedisError)
