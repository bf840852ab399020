"""Attributes and their values, out of OTLP's forms.

Spans, metrics and resources keep text, log records keep JSON.  A value whose key is on
the list of secrets is never kept, however deep it lies.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import msgspec

from iii.modules.observability.ingest.wire import AnyValue, KeyValue, Resource, Scope
from iii.modules.observability.model import Pairs
from iii.modules.observability.spans.records import REDACTED_VALUE

MAX_DEPTH = 32
MAX_TIME_NS = 2**63 - 1
#: Attribute keys are few and come again: so many of up to so many characters are shared.
MAX_KEYS = 4_096
MAX_KEY_CHARS = 128

UNKNOWN_SERVICE = "unknown"


class Origin(msgspec.Struct, gc=False):
    """Where items come from: a resource and a scope."""

    service_name: str
    resource: dict[str, str]
    scope_name: str | None = None
    scope_version: str | None = None


class Attributes:
    """Turns attributes into the engine's forms.

    :param redact: keys whose values are not kept, lower case
    """

    def __init__(self, redact: frozenset[str]) -> None:
        self._redact = redact
        #: keys that are no secret
        self._known: dict[str, str] = {}

    def pairs(self, attributes: list[KeyValue] | None) -> Pairs:
        """As a list of text pairs, in their order."""
        if not attributes:
            return []
        known = self._known
        pairs = []
        for attribute in attributes:
            key, value = attribute.key, attribute.value
            shared = known.get(key)
            if shared is None and self._hidden(key):
                pairs.append((key, REDACTED_VALUE))
            elif value is not None and value.string_value is not None:
                pairs.append((shared or key, value.string_value))
            else:
                pairs.append((shared or key, self.text(value)))
        return pairs

    def values(self, attributes: list[KeyValue] | None, depth: int = 0) -> dict[str, Any]:
        """As an object whose values are JSON."""
        return {
            attribute.key: REDACTED_VALUE
            if self._hidden(attribute.key)
            else self.value(attribute.value, depth)
            for attribute in attributes or ()
        }

    def text(self, value: AnyValue | None) -> str:
        """One value as text: what is no text itself as JSON, nothing as nothing."""
        if value is None:
            return ""
        if value.string_value is not None:
            return value.string_value
        if value.int_value is not None:
            return str(value.int_value)
        plain = self.value(value)
        if isinstance(plain, str):
            return plain
        if plain is None:
            return ""
        if isinstance(plain, float) and plain.is_integer() and abs(plain) < 2**53:
            return str(int(plain))
        return msgspec.json.encode(plain).decode()

    def value(self, value: AnyValue | None, depth: int = 0) -> Any:
        """One value as JSON.

        :raises ValueError: it is nested too deeply
        """
        if value is None:
            return None
        if value.string_value is not None:
            return value.string_value
        if value.int_value is not None:
            return _integer(value.int_value)
        if value.bool_value is not None:
            return value.bool_value
        if value.double_value is not None:
            return _number(value.double_value)
        if depth >= MAX_DEPTH:
            raise ValueError(f"a value is nested more than {MAX_DEPTH} deep")
        if value.array_value is not None:
            return [self.value(one, depth + 1) for one in value.array_value.values or ()]
        if value.kvlist_value is not None:
            return self.values(value.kvlist_value.values, depth + 1)
        return value.bytes_value

    def origin(self, resource: Resource | None) -> Origin:
        """Where items of ``resource`` come from, no scope said yet."""
        attributes = dict(self.pairs(resource.attributes if resource is not None else None))
        return Origin(attributes.get("service.name") or UNKNOWN_SERVICE, attributes)

    def _hidden(self, key: str) -> bool:
        if key in self._known:
            return False
        if key.lower() in self._redact:
            return True
        if len(key) <= MAX_KEY_CHARS:
            if len(self._known) >= MAX_KEYS:
                self._known.clear()
            self._known[key] = key
        return False


def within(origin: Origin, scope: Scope | None) -> Origin:
    """The same, of one scope."""
    if scope is None:
        return origin
    return Origin(origin.service_name, origin.resource, scope.name or None, scope.version or None)


def nanoseconds(value: int | str | None) -> int:
    """A time; 0: there is none.

    :raises ValueError: it is no time
    """
    time = int(value or 0)
    if not 0 <= time <= MAX_TIME_NS:
        raise ValueError(f"{time} is no time in nanoseconds")
    return time


def known_id(id: str | None) -> str | None:
    """None for an id that is empty or nothing but zeros."""
    return id if id and id.strip("0") else None


def _integer(value: int | str) -> int | str:
    """A number of 64 bits; anything else stays the text it is."""
    try:
        number = int(value)
    except ValueError:
        return str(value)
    return number if -(2**63) <= number < 2**64 else str(value)


def _number(value: float | str) -> float | str:
    """Finite numbers are numbers, the others text: JSON has no other way to say them."""
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return number if isfinite(number) else str(value)
