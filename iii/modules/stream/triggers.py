"""Who wants to know what happens in a stream: the trigger type ``stream``.

Bindings are found by what they filter for, so an event costs eight lookups at most,
however many triggers there are.
"""

from __future__ import annotations

from msgspec import Raw

from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.inputs import InputError, Reader
from iii.errors import Code, RegistrationError
from iii.modules.stream.shapes import StreamTrigger

# Stream, group and item; None: any.
Filter = tuple[str | None, str | None, str | None]
Wanted = list[tuple[Binding, str | None]]

_READER = Reader(StreamTrigger)


class StreamTriggers:
    """The provider of ``stream`` triggers.

    :param fanout: takes events to the functions
    :param enabled: False: triggers can be registered, and nothing fires them
    """

    def __init__(self, fanout: Fanout, *, enabled: bool = True) -> None:
        self._fanout = fanout
        self._enabled = enabled
        # filter → binding → condition
        self._known: dict[Filter, dict[Binding, str | None]] = {}
        self._filters: dict[Binding, Filter] = {}

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
        self._filters[binding] = wanted
        self._known.setdefault(wanted, {})[binding] = config.condition_function_id

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        wanted = self._filters.pop(binding, None)
        if wanted is not None:
            del self._known[wanted][binding]
            if not self._known[wanted]:
                del self._known[wanted]
        self._fanout.forget(binding)

    def concerned(self, stream: str, group: str, item: str | None) -> Wanted:
        """The bindings that want to know, each with its condition.

        :param item: None for an event of the group, which no filter for an item matches
        """
        known = self._known
        if not known or not self._enabled:
            return []
        found: Wanted = []
        items = (None,) if item is None else (item, None)
        for wanted in ((s, g, i) for s in (stream, None) for g in (group, None) for i in items):
            if wanted in known:
                found += known[wanted].items()
        return found

    def deliver(self, concerned: Wanted, payload: Raw) -> None:
        """Call their functions with ``payload``."""
        for binding, condition in concerned:
            self._fanout.deliver(binding, condition, payload)
