"""Who wants to know of a write: the trigger type ``state``.

How they are found: ``iii.engine.filters``.  The event is put together only when somebody
wants it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw

from iii.engine.clock import Clock
from iii.engine.fanout import Fanout
from iii.engine.filters import Filter, FilteredTriggers
from iii.engine.inputs import Reader
from iii.engine.invocations import NULL, Call
from iii.engine.watching.taps import Taps, now, shown
from iii.modules.state.shapes import StateEvent, StateTrigger
from iii.storage.store import Change


class StateTriggers(FilteredTriggers):
    """The provider of ``state`` triggers: they filter for scope and key."""

    reader = Reader(StateTrigger)
    refusal = "Failed to parse trigger config"

    def __init__(self, fanout: Fanout, clock: Clock, *, enabled: bool = True) -> None:
        super().__init__(fanout, enabled=enabled)
        self._clock = clock
        #: who looks on, without a trigger
        self.watched = Taps()

    def wanted(self, config: StateTrigger) -> Filter:
        """FilteredTriggers: an empty text is a value like any other."""
        return (config.scope, config.key)

    def changed(self, scope: str, key: str, change: Change, call: Call) -> None:
        """``call`` has written a value: tell who wants to know."""
        if self.watched and scope in self.watched:
            self.watched.tell(scope, self._seen(scope, key, change))
        concerned = self.concerned(scope, key)
        if concerned:
            event = _event(scope, key, change)
            self._fanout.spread(concerned, event, call.traceparent, call.baggage)

    def _seen(self, scope: str, key: str, change: Change) -> dict[str, Any]:
        old, new = change
        return {
            "event_type": _kind(change),
            "scope": scope,
            "key": key,
            **now(self._clock),
            "old_value": shown(NULL if old is None else old)["data"],
            "new_value": shown(NULL if new is None else new)["data"],
        }


def _kind(change: Change) -> Literal["state:created", "state:updated", "state:deleted"]:
    old, new = change
    return "state:deleted" if new is None else "state:created" if old is None else "state:updated"


def _event(scope: str, key: str, change: Change) -> Raw:
    old, new = change
    event = StateEvent(
        _kind(change),
        scope,
        key,
        NULL if old is None else old,
        NULL if new is None else new,
    )
    return Raw(msgspec.json.encode(event))
