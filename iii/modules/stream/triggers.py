"""Who wants to know what happens in a stream: the trigger type ``stream``.

How they are found: ``iii.engine.filters``.
"""

from __future__ import annotations

from msgspec import Raw

from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.filters import Concerned, Filters
from iii.engine.inputs import InputError, Reader
from iii.errors import Code, RegistrationError
from iii.modules.stream.shapes import StreamTrigger

_READER = Reader(StreamTrigger)


class StreamTriggers:
    """The provider of ``stream`` triggers.

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
            message = f"Failed to deserialize stream trigger: {error.text}"
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, message) from error
        wanted = (config.stream_name or None, config.group_id or None, config.item_id or None)
        self._filters.add(binding, wanted, config.condition_function_id)

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        self._filters.remove(binding)
        self._fanout.forget(binding)

    def concerned(self, stream: str, group: str, item: str | None) -> Concerned:
        """The bindings that want to know, each with its condition.

        :param item: None for an event of the group, which no filter for an item matches
        """
        return self._filters.concerned(stream, group, item) if self._enabled else []

    def deliver(self, concerned: Concerned, payload: Raw) -> None:
        """Call their functions with ``payload``."""
        for binding, condition in concerned:
            self._fanout.deliver(binding, condition, payload)
