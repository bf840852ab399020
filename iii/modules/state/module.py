"""The ``iii-state`` module: values under a scope and a key, and triggers on their writes.

Where the values are kept is the adapter's business; ``state.*`` are the names that
SDKs before 0.2 call.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from iii.engine.adapters import Adapters
from iii.engine.fanout import Fanout
from iii.engine.module import FunctionRow, Module, ModuleApi
from iii.modules.state import shapes
from iii.modules.state.browsing import Browsing
from iii.modules.state.config import StateConfig
from iii.modules.state.service import State
from iii.modules.state.triggers import StateTriggers
from iii.storage.figures import show_file_size
from iii.storage.store import Store

# Old name → the function.
ALIASES = {
    "state.get": "state::get",
    "state.set": "state::set",
    "state.delete": "state::delete",
    "state.update": "state::update",
    "state.list": "state::list",
    "state.list_groups": "state::list_groups",
    "state.getGroup": "state::list",
    "state.listGroups": "state::list_groups",
}


class StateModule(Module):
    """Keeps state.  Trigger type ``state``."""

    name = "iii-state"
    config = StateConfig
    adapters = Adapters(
        kv="iii.storage.kvstore:KvStore",
        redis="iii.modules.state.adapters.redis:RedisState",
        bridge="iii.modules.state.adapters.bridge:BridgeState",
    )

    def __init__(self, settings: StateConfig) -> None:
        super().__init__(settings)
        self._store: Store | None = None
        self._opening: Deferred[Store] | None = None
        self._fanout: Fanout | None = None

    def start(self, engine: ModuleApi) -> Deferred[None] | None:
        """Module: open the store, offer functions and the trigger type."""
        opened = self.adapter.open(engine, "state", self.stores)
        if isinstance(opened, Deferred):
            self._opening = opened
            return opened.addCallback(self._begin, engine)
        self._begin(opened, engine)
        return None

    def _begin(self, store: Store, engine: ModuleApi) -> None:
        settings: StateConfig = self.settings
        self._store = store
        self._fanout = Fanout(engine, "state")
        triggers = StateTriggers(self._fanout, engine.clock, enabled=settings.triggers_enabled)
        state = State(store, triggers, settings.max_value_bytes)
        for id, handler, takes, gives, description in _writing(state):
            engine.function(
                id, handler, takes=takes, gives=gives, description=description, wants_call=True
            )
        engine.functions(_reading(state), ALIASES)
        engine.functions(_browsing(Browsing(store, engine.clock)), {})
        self._fanout.show("iii_state_triggers")
        show_file_size(engine, "state", self.stores)
        watched = triggers.watched.feed("scope", "event_type", "key", "old_value", "new_value")
        engine.feed("state", watched)
        engine.trigger_type(
            "state",
            triggers,
            description="A value of the state was written or deleted",
            trigger_schema=shapes.StateTrigger,
        )

    @property
    def under_way(self) -> int:
        """Module: events that wait for their turn; what runs is a call like any other."""
        return 0 if self._fanout is None else self._fanout.waiting

    def stop(self) -> Deferred[None] | None:
        """Module: finish the writes."""
        if self._opening is not None:
            self._opening.cancel()
        if self._fanout is not None:
            self._fanout.stop()
        return None if self._store is None else self._store.close()


def _writing(state: State) -> tuple[FunctionRow, ...]:
    """Triggers are fired below the call that has written."""
    return (
        ("state::set", state.set, shapes.SetInput, shapes.Written, "Keep a value"),
        ("state::delete", state.delete, shapes.DeleteInput, None, "Take a value out"),
        (
            "state::update",
            state.update,
            shapes.UpdateInput,
            shapes.Updated,
            "Change a value with no other write in between",
        ),
    )


def _browsing(browsing: Browsing) -> tuple[FunctionRow, ...]:
    return (
        (
            "engine::state::scopes",
            browsing.scopes,
            shapes.ScopesInput,
            shapes.Scopes,
            "List the scopes with the number of their keys",
        ),
        (
            "engine::state::entries",
            browsing.entries,
            shapes.BrowseInput,
            None,
            "Browse keys and values of a scope",
        ),
    )


def _reading(state: State) -> tuple[FunctionRow, ...]:
    return (
        ("state::get", state.get, shapes.GetInput, None, "Get a value"),
        ("state::list", state.list, shapes.ListInput, list[Any], "List the values of a scope"),
        (
            "state::list_groups",
            state.list_groups,
            shapes.ListGroupsInput,
            shapes.Groups,
            "List the scopes",
        ),
        (
            "state::list_keys",
            state.list_keys,
            shapes.ListInput,
            shapes.Keys,
            "List the keys of a scope",
        ),
        (
            "state::list_entries",
            state.list_entries,
            shapes.ListEntriesInput,
            shapes.Entries,
            "List keys and values of a scope, a page at a time",
        ),
    )
