"""Who wants to know of a write: the trigger type ``state``.

How they are found: ``iii.engine.filters``.  The event is put together only when somebody
wants it.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from iii.engine.filters import Filter, FilteredTriggers
from iii.engine.inputs import Reader
from iii.engine.invocations import NULL, Call
from iii.modules.state.shapes import StateEvent, StateTrigger
from iii.storage.store import Change


class StateTriggers(FilteredTriggers):
    """The provider of ``state`` triggers: they filter for scope and key."""

    reader = Reader(StateTrigger)
    refusal = "Failed to parse trigger config"

    def wanted(self, config: StateTrigger) -> Filter:
        """FilteredTriggers: an empty text is a value like any other."""
        return (config.scope, config.key)

    def changed(self, scope: str, key: str, change: Change, call: Call) -> None:
        """``call`` has written a value: tell who wants to know."""
        concerned = self.concerned(scope, key)
        if concerned:
            event = _event(scope, key, change)
            self._fanout.spread(concerned, event, call.traceparent, call.baggage)


def _event(scope: str, key: str, change: Change) -> Raw:
    old, new = change
    event = StateEvent(
        "state:deleted" if new is None else "state:created" if old is None else "state:updated",
        scope,
        key,
        NULL if old is None else old,
        NULL if new is None else new,
    )
    return Raw(msgspec.json.encode(event))
