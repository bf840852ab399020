"""Who wants to know of a write: the trigger type ``state``.

Bindings are found by what they filter for, so a write costs four lookups however
many triggers there are, and the event is put together only when somebody wants it.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.inputs import InputError, Reader
from iii.engine.invocations import NULL
from iii.errors import Code, RegistrationError
from iii.modules.state.shapes import StateEvent, StateTrigger
from iii.storage.store import Change

Filter = tuple[str | None, str | None]

_READER = Reader(StateTrigger)


class StateTriggers:
    """The provider of ``state`` triggers.

    :param fanout: takes events to the functions
    :param enabled: False: triggers can be registered, and nothing fires them
    """

    def __init__(self, fanout: Fanout, *, enabled: bool = True) -> None:
        self._fanout = fanout
        self._enabled = enabled
        # scope and key filter → binding → condition
        self._wanted: dict[Filter, dict[Binding, str | None]] = {}
        self._filters: dict[Binding, Filter] = {}

    def add(self, binding: Binding) -> None:
        """Provider: ``binding`` wants to know.

        :raises RegistrationError: its configuration is wrong
        """
        try:
            config = _READER.read(bytes(binding.config))
        except InputError as error:
            message = f"Failed to parse trigger config: {error.text}"
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, message) from error
        wanted = self._filters[binding] = (config.scope, config.key)
        self._wanted.setdefault(wanted, {})[binding] = config.condition_function_id

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        wanted = self._filters.pop(binding, None)
        if wanted is not None:
            del self._wanted[wanted][binding]
            if not self._wanted[wanted]:
                del self._wanted[wanted]
        self._fanout.forget(binding)

    def changed(self, scope: str, key: str, change: Change) -> None:
        """A value was written: tell who wants to know."""
        known = self._wanted
        if not known or not self._enabled:
            return
        payload: Raw | None = None
        for wanted in ((scope, key), (scope, None), (None, key), (None, None)):
            bindings = known.get(wanted)
            if bindings is None:
                continue
            if payload is None:
                payload = _event(scope, key, change)
            # A copy: what a delivery sets off may register triggers.
            for binding, condition in list(bindings.items()):
                self._fanout.deliver(binding, condition, payload)


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
