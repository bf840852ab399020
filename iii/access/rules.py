"""``expose_functions``: which functions a restricted connection may call.

A rule is ``match("glob")``, ``{match: glob, namespace: name}`` or
``{metadata: {key: value}}``.  In a glob only ``*`` is special.  A rule without a
``namespace`` is about the ``default`` one.

A metadata rule looks at every owner of a function: what one connection says about an id
does not expose what others run under it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from iii.engine.functions import Function

#: ``iii.engine.functions.DEFAULT_NAMESPACE``; the engine is not loaded to check a file.
DEFAULT_NAMESPACE = "default"
_MATCH = re.compile(r"""match\((["'])(.*)\1\)""", re.DOTALL)


class Glob:
    """A text in which ``*`` stands for any characters, none included.

    Matching takes time in proportion to the text, whatever the pattern.
    """

    __slots__ = ("_first", "_last", "_middle")

    def __init__(self, pattern: str) -> None:
        self._first, *rest = pattern.split("*")
        self._last: str | None = None
        self._middle: list[str] = []
        if rest:
            *self._middle, self._last = rest

    def matches(self, text: str) -> bool:
        """Whether all of ``text`` matches."""
        first, last = self._first, self._last
        if last is None:
            return text == first
        at, end = len(first), len(text) - len(last)
        if end < at or not (text.startswith(first) and text.endswith(last)):
            return False
        for part in self._middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One item of ``expose_functions``.

    :ivar id: what the function's id must match; None: any
    :ivar namespace: where the function must be
    :ivar metadata: key → exact value, or the ``Glob`` a text must match
    """

    id: Glob | None
    namespace: str = DEFAULT_NAMESPACE
    metadata: tuple[tuple[str, Any], ...] = ()

    def exposes(self, id: str, namespace: str, function: Function | None) -> bool:
        """Whether the function may be called.

        :param function: None when nobody owns it
        """
        if namespace != self.namespace:
            return False
        if self.id is not None:
            return self.id.matches(id)
        specs = [] if function is None else function.specs
        return bool(specs) and all(self._has_metadata(spec.metadata) for spec in specs)

    def _has_metadata(self, metadata: Raw | None) -> bool:
        said = None if metadata is None else msgspec.json.decode(metadata)
        return isinstance(said, dict) and all(
            key in said and _is(said[key], wanted) for key, wanted in self.metadata
        )


def parse_rule(item: Any) -> Rule:
    """A rule as written in a configuration.

    :raises ValueError: it is none; says what is expected
    """
    if isinstance(item, str):
        return Rule(_glob_of(item))
    if isinstance(item, dict) and item.keys() == {"metadata"}:
        metadata = item["metadata"]
        if not isinstance(metadata, dict) or not metadata:
            raise ValueError("metadata: expected a mapping with at least one key")
        return Rule(None, metadata=tuple((key, _value_of(v)) for key, v in metadata.items()))
    if isinstance(item, dict) and "match" in item and item.keys() <= {"match", "namespace"}:
        pattern, namespace = item["match"], item.get("namespace")
        if not isinstance(pattern, str) or not pattern:
            raise ValueError("match: expected a pattern such as api::*")
        if namespace is not None and not (isinstance(namespace, str) and namespace.strip()):
            raise ValueError("namespace: expected a name")
        return Rule(Glob(pattern), namespace or DEFAULT_NAMESPACE)
    raise ValueError(_EXPECTED)


def parse_rules(items: Iterable[Any]) -> tuple[Rule, ...]:
    """All rules of a list.

    :raises ValueError: one of them is none
    """
    return tuple(parse_rule(item) for item in items)


_EXPECTED = (
    'expected match("glob"), {match: glob, namespace: name} or {metadata: {key: value}}; a plain '
    'name is written match("name")'
)


def _glob_of(text: str) -> Glob:
    match = _MATCH.fullmatch(text)
    if match is None or not match[2]:
        raise ValueError(_EXPECTED)
    return Glob(match[2])


def _value_of(value: Any) -> Any:
    """What a metadata rule asks of one key."""
    if isinstance(value, str) and (match := _MATCH.fullmatch(value)):
        return Glob(match[2])
    return value


def _is(said: Any, wanted: Any) -> bool:
    if isinstance(wanted, Glob):
        return isinstance(said, str) and wanted.matches(said)
    # 1 is not true.
    return isinstance(said, bool) == isinstance(wanted, bool) and bool(said == wanted)
