"""Which items of a topic a subscriber wants.

A filter is an object: field → what its value has to be.  All of them have to fit.

- a text, number or boolean, or null: that value
- a list: one of these
- an object with ``min``, ``max``, ``contains``, ``prefix`` or ``not``: all of that; texts
  are searched whatever their case

A name with dots goes into objects: ``attributes.order_id``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iii.errors import Code, InvocationError

MAX_FILTER_FIELDS = 16
MAX_FILTER_VALUES = 100
MAX_FILTER_CHARS = 1_024

Matches = Callable[[Any], bool]


def everything(item: Any) -> bool:
    """The filter that nobody has set."""
    return True


def compiled(filter: dict[str, Any] | None, fields: frozenset[str]) -> Matches:
    """Whether an item fits.

    :param fields: of the topic's items
    :raises InvocationError: the filter makes no sense
    """
    if not filter:
        return everything
    if len(filter) > MAX_FILTER_FIELDS:
        raise _wrong(f"a filter has at most {MAX_FILTER_FIELDS} fields")
    tests: list[tuple[list[str], Matches]] = []
    for name, wish in filter.items():
        path = name.split(".")
        if path[0] not in fields:
            known = ", ".join(sorted(fields))
            raise _wrong(f"no field {name[:100]!r} to filter by; there are: {known}")
        if path[1:]:
            path = [path[0], ".".join(path[1:])]
        tests.append((path, _test(name, wish)))
    return lambda item: all(test(_value(item, path)) for path, test in tests)


def _value(item: Any, path: list[str]) -> Any:
    first = path[0]
    value = item.get(first) if isinstance(item, dict) else getattr(item, first, None)
    if len(path) == 1:
        return value
    return value.get(path[1]) if isinstance(value, dict) else None


def _test(name: str, wish: Any) -> Matches:
    if isinstance(wish, dict):
        parts = [_operator(name, operator, value) for operator, value in wish.items()]
        return lambda value: all(part(value) for part in parts)
    if isinstance(wish, list):
        if len(wish) > MAX_FILTER_VALUES:
            raise _wrong(f"{name}: at most {MAX_FILTER_VALUES} values")
        each = [_equals(name, one) for one in wish]
        return lambda value: any(one(value) for one in each)
    return _equals(name, wish)


def _equals(name: str, wish: Any) -> Matches:
    if isinstance(wish, dict | list):
        raise _wrong(f"{name}: a value is a text, a number, a boolean or null")
    if isinstance(wish, str) and len(wish) > MAX_FILTER_CHARS:
        raise _wrong(f"{name}: a text has at most {MAX_FILTER_CHARS} characters")
    return lambda value: value == wish and isinstance(value, bool) == isinstance(wish, bool)


def _operator(name: str, operator: str, wish: Any) -> Matches:
    if operator in ("min", "max"):
        if isinstance(wish, bool) or not isinstance(wish, int | float):
            raise _wrong(f"{name}: {operator} is a number")
        if operator == "min":
            return lambda value: isinstance(value, int | float) and value >= wish
        return lambda value: isinstance(value, int | float) and value <= wish
    if operator in ("contains", "prefix"):
        if not isinstance(wish, str) or len(wish) > MAX_FILTER_CHARS:
            raise _wrong(f"{name}: {operator} is a text of at most {MAX_FILTER_CHARS} characters")
        text = wish.lower()
        if operator == "prefix":
            return lambda value: isinstance(value, str) and value.lower().startswith(text)
        return lambda value: isinstance(value, str) and text in value.lower()
    if operator == "not":
        test = _test(name, wish)
        return lambda value: not test(value)
    raise _wrong(f"{name}: no {operator[:50]!r}; there are: min, max, contains, prefix, not")


def _wrong(text: str) -> InvocationError:
    return InvocationError(Code.INVALID_ARGUMENTS, text)
