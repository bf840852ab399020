"""Plain data from a file → checked structs, with every problem and its line.

msgspec knows the types; this walks the data beside them, so that *all* problems
of a file are reported, each at its own key, and so that an unknown key is a
warning with the nearest right one instead of an error.  A value of the wrong
type is always an error: ``"80"`` is not a port.

Struct types are the single description of a configuration: field names, types,
defaults and limits (``msgspec.Meta``) come from there.  What types can't say of the values
of a whole block its struct tells itself, in a method ``faults()`` that yields ``Fault``s;
they are asked for when the types are right.  A struct about who may do what
has ``strict_keys``: True, when no unknown key is forgiven, or the keys whose misspellings
are not.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from iii.errors import ConfigError
from iii.expansion import Expanded
from iii.redaction import without_secrets
from iii.yaml12 import Document, Step, plain_scalar

T = TypeVar("T", bound=msgspec.Struct)


class Kind(StrEnum):
    """How much a problem matters."""

    ERROR = "error"
    #: A name or key nobody knows: a warning, an error with ``strict``.
    UNKNOWN = "unknown"
    WARNING = "warning"
    #: Worth one line in the log, nothing to do.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to tell the author of a configuration.

    :ivar path: the file, None when the configuration did not come from one
    :ivar line: counted from 1
    """

    kind: Kind
    message: str
    path: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about the values of a block, told by its struct.

    :ivar path: the key it is about, seen from the block
    """

    message: str
    path: tuple[Step, ...] = ()
    kind: Kind = Kind.ERROR


class InvalidConfiguration(ConfigError):
    """All errors of a configuration; ``str()`` has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.message, path=first.path, line=first.line)
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a configuration: knows its line and how to call it.

    :ivar source: None when the configuration did not come from a file
    """

    path: tuple[Step, ...] = ()
    file: str | None = None
    source: tuple[Expanded, Document] | None = None
    label: str = ""

    def __truediv__(self, step: Step) -> Place:
        return Place((*self.path, step), self.file, self.source, self.label)

    def named(self, label: str) -> Place:
        """The same place, with the module's name for messages."""
        return Place(self.path, self.file, self.source, label)

    @property
    def line(self) -> int | None:
        if self.source is None:
            return None
        expanded, document = self.source
        return expanded.position(document.index(self.path)).line

    def __str__(self) -> str:
        key = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in self.path).lstrip(".")
        return f"{key} ({self.label})" if key and self.label else key or self.label

    def problem(self, kind: Kind, message: str) -> Problem:
        return Problem(kind, message, self.file, self.line)

    def error(self, message: str) -> Problem:
        return self.fault(Fault(message))

    def fault(self, fault: Fault) -> Problem:
        """What a struct told of the block that is here."""
        place = self
        for step in fault.path:
            place = place / step
        where = str(place)
        message = f"{where}: {fault.message}" if where else fault.message
        return place.problem(fault.kind, message)


_MEANT = "; did you mean '"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the most similar known word, or nothing."""
    by_form = {_form(name): name for name in known}
    close = get_close_matches(_form(word), by_form, n=1, cutoff=0.6)
    return f"{_MEANT}{by_form[close[0]]}'?" if close else ""


def _form(word: str) -> str:
    return word.lower().replace("-", "_")


_FRIENDLY = {
    "int": "an integer",
    "str": "a string",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_YAML_11_BOOLEANS = {"yes", "no", "on", "off", "y", "n"}
_SECRET = re.compile(r"token|secret|password|api_?key|^auth$", re.IGNORECASE)


def found(value: Any, *, secret: bool = False) -> str:
    """``value`` in words, for "expected …, found …"."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a mapping" if value else "an empty mapping"
        case str() if secret:
            return "a string"
        case str():
            shown = without_secrets(value)
            return f'the string "{shown if len(shown) <= 40 else shown[:39] + "…"}"'
        case _:
            return f"the number {value}"


def _hint(value: Any, expected: str) -> str:
    if not isinstance(value, str):
        return ""
    if "true or false" in expected and value.lower() in _YAML_11_BOOLEANS:
        return " (in YAML 1.2 only true and false are booleans)"
    meant = plain_scalar(value)
    if isinstance(meant, bool | int | float) and "string" not in expected:
        return " (remove the quotes)"
    return ""


def _expectation(error: msgspec.ValidationError) -> str | None:
    """msgspec's "Expected `int | null`, got `str` - at `$.x`" as words, None for other texts."""
    match = re.match(r"Expected `([^`]+)`(.*?)(?:, got `[^`]*`)?(?: - at `[^`]*`)?$", str(error))
    if match is None:
        return None
    kinds = [_FRIENDLY.get(kind, kind) for kind in match[1].split(" | ")]
    return " or ".join(kinds) + match[2]


def _choices(type_: Any) -> list[Any] | None:
    """The allowed values of a Literal or an Enum."""
    if get_origin(type_) is Literal:
        return list(get_args(type_))
    if isinstance(type_, type) and issubclass(type_, Enum):
        return [member.value for member in type_]
    return None


class Checker:
    """Checks plain data against types and collects what is wrong.

    :param coerce: read ``"80"`` and ``"true"`` as number and boolean (only for
        modules whose published configurations rely on it)
    """

    def __init__(self, *, coerce: bool = False) -> None:
        self.problems: list[Problem] = []
        self._strict_types = not coerce

    def struct(self, value: dict[str, Any], type_: type[T], place: Place) -> T | None:
        """``value`` as ``type_``; None when that has errors.  Unknown keys only warn."""
        before = self._errors()
        known = self._check_struct(value, type_, place)
        if self._errors() > before:
            return None
        result: T | None = self._convert(known, type_, place)
        told: Callable[[], Iterable[Fault]] | None = getattr(result, "faults", None)
        if told is not None:
            self.problems += map(place.fault, told())
        return None if self._errors() > before else result

    def _errors(self) -> int:
        return sum(problem.kind is Kind.ERROR for problem in self.problems)

    def _check_struct(self, value: dict[str, Any], type_: type[Any], place: Place) -> Any:
        fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
        tag_field = type_.__struct_config__.tag_field
        known: dict[str, Any] = {}
        for key, item in value.items():
            if key in fields:
                known[key] = self._check(item, fields[key].type, place / key)
            elif key == tag_field:
                known[key] = item
            else:
                self._unknown_key(key, fields, place, type_)
        for name, field in fields.items():
            if field.required and name not in value:
                self.problems.append(place.error(f"the key '{name}' is missing"))
        return known

    def _unknown_key(self, key: str, known: Iterable[str], place: Place, type_: type[Any]) -> None:
        where = f" in {place}" if str(place) else ""
        meant = nearest(key, known)
        text = f"unknown key '{key}'{where}{meant}"
        # A key about access that is misspelt would leave a door open.
        strict = getattr(type_, "strict_keys", ())
        is_error = strict is True or (strict and meant[len(_MEANT) : -len("'?")] in strict)
        kind = Kind.ERROR if is_error else Kind.UNKNOWN
        self.problems.append((place / key).problem(kind, text))

    def _check(self, value: Any, type_: Any, place: Place) -> Any:
        """Check one value; returns it without the unknown keys inside it."""
        before = self._errors()
        known = self._check_parts(value, _inner(type_, value), place)
        if self._errors() == before:  # limits of the whole: a list's length, __post_init__
            self._convert(known, type_, place)
        return known

    def _check_parts(self, value: Any, type_: Any, place: Place) -> Any:
        origin, arguments = get_origin(type_), get_args(type_)
        if isinstance(value, dict):
            if _is_struct(type_):
                return self._check_struct(value, type_, place)
            if origin is dict:
                items = value.items()
                return {k: self._check(item, arguments[1], place / k) for k, item in items}
        elif isinstance(value, list) and origin in (list, tuple, set, frozenset):
            # Of tuples only the form ``tuple[X, ...]`` makes sense in a configuration.
            return [self._check(item, arguments[0], place / i) for i, item in enumerate(value)]
        return value

    def _convert(self, value: Any, type_: Any, place: Place) -> Any:
        try:
            return msgspec.convert(value, type_, strict=self._strict_types)
        except msgspec.ValidationError as error:
            self.problems.append(place.error(self._explain(value, type_, place, error)))
            return None

    @staticmethod
    def _explain(value: Any, type_: Any, place: Place, error: msgspec.ValidationError) -> str:
        secret = any(_SECRET.search(str(step)) for step in place.path)
        choices = _choices(_inner(type_, value))
        if choices is not None:
            one_of = ", ".join(f'"{choice}"' for choice in choices)
            close = nearest(value, map(str, choices)) if isinstance(value, str) else ""
            return f"expected one of {one_of}, found {found(value, secret=secret)}{close}"
        expected = _described(type_, error) or _expectation(error)
        if expected is None:
            return re.sub(r" - at `[^`]*`$", "", str(error))
        return f"expected {expected}, found {found(value, secret=secret)}{_hint(value, expected)}"


def _described(type_: Any, error: msgspec.ValidationError) -> str | None:
    """What a type says of itself, for people who can't read its pattern."""
    if "matching regex" not in str(error):
        return None
    told = (getattr(meta, "description", None) for meta in getattr(type_, "__metadata__", ()))
    return next((text for text in told if text), None)


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _inner(type_: Any, value: Any) -> Any:
    """The part of ``type_`` that a value that isn't null must have.

    ``Annotated`` is unwrapped; of a union, its only member besides None, or the
    only struct when ``value`` is a mapping.  Otherwise the type itself.
    """
    if get_origin(type_) is Annotated:
        return _inner(get_args(type_)[0], value)
    if get_origin(type_) in (Union, types.UnionType):
        members = [member for member in get_args(type_) if member is not type(None)]
        if isinstance(value, dict) and len(members) > 1:
            members = [member for member in members if _is_struct(member)]
        if len(members) == 1:
            return _inner(members[0], value)
    return type_
