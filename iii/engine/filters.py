"""Finding the triggers that an event concerns, by what they filter for.

A *filter* is a tuple: for each property of an event the value it must have, or None for
any.  Bindings are kept under their filter, so an event with *n* properties costs 2ⁿ
look-ups, however many triggers there are, and nothing at all while there are none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import product
from typing import Any, ClassVar

from iii.engine.bindings import Binding
from iii.engine.fanout import Fanout
from iii.engine.inputs import InputError, Reader
from iii.errors import Code, RegistrationError

Filter = tuple[str | None, ...]
Concerned = list[tuple[Binding, str | None]]
"""Bindings, each with its condition function."""


class Filters:
    """Bindings under their filters."""

    def __init__(self) -> None:
        self._bindings: dict[Filter, dict[Binding, str | None]] = {}
        self._filters: dict[Binding, Filter] = {}

    def add(self, binding: Binding, wanted: Filter, condition: str | None) -> None:
        """``binding`` wants events that ``wanted`` fits."""
        self._filters[binding] = wanted
        self._bindings.setdefault(wanted, {})[binding] = condition or None

    def remove(self, binding: Binding) -> None:
        """It doesn't any more; one that was refused is fine."""
        wanted = self._filters.pop(binding, None)
        if wanted is not None:
            del self._bindings[wanted][binding]
            if not self._bindings[wanted]:
                del self._bindings[wanted]

    def concerned(self, *properties: str | None) -> Concerned:
        """Who wants an event with these properties."""
        known = self._bindings
        if not known:
            return []
        # A property that is None has no value to ask for.
        asked = product(*((p, None) if p is not None else (None,) for p in properties))
        return [item for wanted in asked if wanted in known for item in known[wanted].items()]


class FilteredTriggers(ABC):
    """Base of providers whose triggers filter for properties of an event.

    :cvar reader: reads a trigger's configuration, which has a ``condition_function_id``
    :cvar refusal: how the refusal of one that can't be read begins
    :param fanout: takes events to the functions
    :param enabled: False: triggers can be registered, and nothing fires them
    """

    reader: ClassVar[Reader[Any]]
    refusal: ClassVar[str]

    def __init__(self, fanout: Fanout, *, enabled: bool = True) -> None:
        self._fanout = fanout
        self._enabled = enabled
        self._filters = Filters()

    @abstractmethod
    def wanted(self, config: Any) -> Filter:
        """What a trigger with this configuration filters for."""

    def add(self, binding: Binding) -> None:
        """Provider: ``binding`` wants to know.

        :raises RegistrationError: its configuration is wrong
        """
        try:
            config = self.reader.read(bytes(binding.config))
        except InputError as error:
            message = f"{self.refusal}: {error.text}"
            raise RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, message) from error
        self._filters.add(binding, self.wanted(config), config.condition_function_id)

    def remove(self, binding: Binding) -> None:
        """Provider: it doesn't any more."""
        self._filters.remove(binding)
        self._fanout.forget(binding)

    def concerned(self, *properties: str | None) -> Concerned:
        """The bindings that want an event with these properties, each with its condition."""
        return self._filters.concerned(*properties) if self._enabled else []
