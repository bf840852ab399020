"""Who wants to know of a write: the trigger type ``state``.

How they are found: ``iii.engine.filters``.  The event is put together only when somebody
wants it.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.filters import Filters
from iii.engine.inputs import InputError, Reader
from iii.engine.invocations import NULL
from iii.errors import Code, RegistrationError
from iii.modules.state.shapes import StateEvent, StateTrigger
from iii.storage.store import Change

_READER = Reader(StateTrigger)


class StateTriggers:
    """The provider of ``state`` triggers.

    :param fanout: takes events to the functions
    :param enabled: False: triggers can be registered, and nothing fires them
    """

    def __init__(self, fanout: Fanout, *, enabled: bool = True) -> None:
        self._fanout = fanout
        self._enabled = enabled
        self._filters = Filters()

    def add(self, binding: Binding) -> None:
        """Provider: ``binding`` wants to know.

        :raises RegistrationError: its configuration is wrong
        """
        try:
            config = _READER.read(bytes(binding.config))
        except InputError as error:
            message = f"Failed to parse trigger config: {error.text}"
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, message) from error
        self._filters.add(binding, (config.scope, config.key), config.condition_function_id)

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        self._filters.remove(binding)
        self._fanout.forget(binding)

    def changed(self, scope: str, key: str, change: Change) -> None:
        """A value was written: tell who wants to know."""
        concerned = self._filters.concerned(scope, key) if self._enabled else []
        if not concerned:
            return
        payload = _event(scope, key, change)
        for binding, condition in concerned:
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
