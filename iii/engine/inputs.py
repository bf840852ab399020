"""How the input of an in-process function is read, and how its mistakes are told.

An input is a msgspec struct, and a right one costs one decode.  Only when that fails is
the input looked at member by member: an older spelling of a field is taken for it, and
what is wrong is said in the words that clients of the original know:
``missing field `scope` ``, ``invalid type: integer `5`, expected a string``.

One mistake is told.  Members that are there come first, in the alphabetical order of
their names as they were sent; then what is missing, in the order of the struct.  Of two
equal members the last counts; unknown members are ignored.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Raw, inspect

T = TypeVar("T", bound=msgspec.Struct)

Check = Callable[[Raw], object]

MAX_SHOWN_CHARS = 128

#: what a decode raises on bytes that are no input
REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# What JSON is, by its first byte; the rest are numbers.
_KINDS = {b"n": "null", b"t": "boolean", b"f": "boolean", b'"': "string", b"[": "sequence"}
_KINDS[b"{"] = "map"

_SEQUENCE = (("sequence",), "a sequence")
_MAP = (("map",), "a map")
_VARIANT = (("string", "integer"), "a string")

# What a type takes, and how that is put.
_EXPECTED: dict[type[inspect.Type], tuple[tuple[str, ...], str]] = {
    inspect.NoneType: (("null",), "null"),
    inspect.BoolType: (("boolean",), "a boolean"),
    inspect.IntType: (("integer",), "i64"),
    inspect.FloatType: (("integer", "floating point"), "f64"),
    inspect.StrType: (("string",), "a string"),
    inspect.ListType: _SEQUENCE,
    inspect.SetType: _SEQUENCE,
    inspect.FrozenSetType: _SEQUENCE,
    inspect.TupleType: _SEQUENCE,
    inspect.VarTupleType: _SEQUENCE,
    inspect.DictType: _MAP,
    inspect.TypedDictType: _MAP,
    inspect.DataclassType: _MAP,
    inspect.LiteralType: _VARIANT,
    inspect.EnumType: _VARIANT,
}

_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)

# msgspec's names of types in its complaints about values: "Expected `int` >= 1".
_WORDS = {"int": "i64", "float": "f64", "str": "a string", "array": "a sequence", "object": "a map"}
_BOUND = re.compile(r"Expected `(\w+)`( .*)")
_PLACE = re.compile(r" - at `(?:key in )?\$?\.?(.*)`$")

# How the original writes characters of a string that can't stand for themselves.
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}

_MISSING_FIELD = re.compile(r"Object missing required field `([^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.?([^`]*)`)?")


class InputError(ValueError):
    """An input that can't be read; ``text`` says why, without naming the function.

    A handler may raise it too, about a part that it reads itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Input(msgspec.Struct):
    """Base of inputs that have older spellings and a name in error messages.

    :cvar called: the name clients know, e.g. ``StateSetInput``
    :cvar aliases: field → its older names, best first; they count when the field is missing
    :cvar checks: ``Raw`` field → the reader its handler uses, which raises ``InputError``;
        asked only about inputs that are wrong, so that the first mistake is the one told
    """

    called: ClassVar[str] = ""
    aliases: ClassVar[dict[str, tuple[str, ...]]] = {}
    checks: ClassVar[dict[str, Check]] = {}


class Reader(typing.Generic[T]):
    """Reads inputs of one type.

    ``NativeFunction.start`` does what ``read`` does without the call: it is run for
    every message.

    :param takes: the struct, perhaps an ``Input``
    :ivar decode: reads an input that is as it should be; raises one of ``REFUSED``
    :ivar null: what a ``null`` is read as
    """

    def __init__(self, takes: type[T]) -> None:
        self._takes = takes
        self._exactly = msgspec.json.Decoder(takes).decode
        special = takes if issubclass(takes, Input) else Input
        self._aliases = special.aliases
        self._checks = special.checks
        #: clients of the original know the texts to the letter; elsewhere the field is named
        self._names_fields = not special.called
        required = {f.encode_name for f in msgspec.structs.fields(takes) if f.required}
        self.null = b"null" if special.called and required else b"{}"
        # A decode that ends well without a field has not looked for its older names.
        aliases_show = required.issuperset(self._aliases)
        self.decode = self._exactly if aliases_show else self.read_closely

    def read(self, data: bytes) -> T:
        """The input in ``data``.

        :raises InputError: it is not one
        """
        try:
            return self.decode(self.null if data == b"null" else data)
        except REFUSED:
            return self.read_closely(data)

    def read_closely(self, data: bytes) -> T:
        """The input in ``data``, which ``decode`` has refused, or what is wrong with it.

        :raises InputError: it is not one
        """
        try:
            if data.strip() == b"null":
                data = self.null
            members = self._members(data)
            names = self._sent_as(members)
            try:
                return self._exactly(_renamed(members, names))
            except msgspec.ValidationError as error:
                raise InputError(self._mistake(members, names) or str(error)) from None
        except RecursionError:
            raise InputError("recursion limit exceeded") from None
        except REFUSED as error:
            raise InputError(f"invalid JSON: {error}") from None

    def _members(self, data: bytes) -> dict[str, Raw]:
        try:
            return msgspec.json.decode(data, type=dict[str, Raw])
        except msgspec.ValidationError:
            whole = msgspec.json.decode(data, type=Raw)  # it may be broken further on
            raise InputError(_wrong_type(whole, f"struct {_name(self._takes)}")) from None

    def _sent_as(self, members: dict[str, Raw]) -> dict[str, str]:
        """Field → the member that is it."""
        names: dict[str, str] = {}
        for field in self._takes.__struct_encode_fields__:
            for name in (field, *self._aliases.get(field, ())):
                if name in members:
                    names[field] = name
                    break
        return names

    def _mistake(self, members: dict[str, Raw], names: dict[str, str]) -> str | None:
        """What to say about an input that was refused; None: nothing we have words for."""
        for field, name in sorted(names.items(), key=lambda item: item[1]):
            wrong = self._wrong(field, members[name])
            if wrong is not None:
                return f"{wrong} at `{name}`" if self._names_fields else wrong
        return _missing(self._shape, names)

    def _wrong(self, field: str, value: Raw) -> str | None:
        try:
            if field in self._checks:
                self._checks[field](value)
            type_, shape = self._types[field]
            text = mistake(shape, value)
            if text is None:
                msgspec.json.decode(value, type=type_)
        except InputError as error:
            return error.text
        except msgspec.ValidationError as error:
            return _wrong_value(value, str(error))
        return text

    @cached_property
    def _shape(self) -> inspect.StructType:
        shape = inspect.type_info(self._takes)
        assert isinstance(shape, inspect.StructType)
        return shape

    @cached_property
    def _types(self) -> dict[str, tuple[Any, inspect.Type]]:
        """Field → its type, and the same as ``inspect`` puts it."""
        fields = zip(msgspec.structs.fields(self._takes), self._shape.fields, strict=True)
        return {field.encode_name: (field.type, shape.type) for field, shape in fields}


def mistake(type_: inspect.Type, value: Raw) -> str | None:
    """Why ``value`` is no ``type_``; None: its type is right, all the way in."""
    if isinstance(type_, inspect.UnionType):
        return _union_mistake(type_, value)
    if isinstance(type_, inspect.Metadata):
        return mistake(type_.type, value)
    kinds, expected = _expectation(type_)
    if expected is None:
        return None
    if kind(value) not in kinds:
        return _wrong_type(value, expected)
    if isinstance(type_, inspect.LiteralType | inspect.EnumType):
        return _variant_mistake(type_, value)
    if isinstance(type_, _LISTS):
        items = msgspec.json.decode(value, type=list[Raw])
        return _first(mistake(type_.item_type, item) for item in items)
    if isinstance(type_, inspect.DictType):
        members = msgspec.json.decode(value, type=dict[str, Raw])
        return _first(mistake(type_.value_type, members[name]) for name in sorted(members))
    if isinstance(type_, inspect.StructType) and not type_.array_like:
        return _struct_mistake(type_, value)
    return None


def kind(value: Raw) -> str:
    """What JSON is: ``null``, ``integer``, ``map`` …"""
    text = bytes(value)
    named = _KINDS.get(text[:1])
    if named is not None:
        return named
    return "floating point" if any(sign in text for sign in b".eE") else "integer"


def actual(value: Raw) -> str:
    """What JSON is and says, in the original's words: ``integer `5` ``, ``sequence``."""
    what = kind(value)
    if what == "string":
        try:
            text = msgspec.json.decode(value, type=str)
        except REFUSED:  # shown as it was sent
            text = bytes(value)[1:-1].decode(errors="replace")
        return f'string "{"".join(map(_escaped, text[:MAX_SHOWN_CHARS]))}{_cut(text)}"'
    if what in ("boolean", "integer", "floating point"):
        text = bytes(value).decode()
        if what == "floating point":
            text = _plain(text)
        return f"{what} `{_shortened(text)}`"
    return what


def _expectation(type_: inspect.Type) -> tuple[tuple[str, ...], str | None]:
    """The kinds of JSON a type takes, and how that is put; None: anything."""
    if isinstance(type_, inspect.StructType):
        return ("sequence" if type_.array_like else "map",), f"struct {_name(type_.cls)}"
    if isinstance(type_, inspect.Metadata):
        return _expectation(type_.type)
    return _EXPECTED.get(type(type_), ((), None))


def _name(struct: type[Any]) -> str:
    return (issubclass(struct, Input) and struct.called) or struct.__name__


def _wrong_type(value: Raw, expected: str) -> str:
    return f"invalid type: {actual(value)}, expected {expected}"


def _wrong_value(value: Raw, complaint: str) -> str:
    """The type is right, the value is not: too large, too short …"""
    place = _PLACE.search(complaint)
    text = _PLACE.sub("", complaint)
    bound = _BOUND.fullmatch(text)
    if bound:
        text = f"expected {_WORDS.get(bound[1], bound[1])}{bound[2]}"
    else:
        text = text[:1].lower() + text[1:]
    if place and place[1]:
        return f"invalid value: {text} at `{_shortened(place[1])}`"
    return f"invalid value: {actual(value)}, {text}"


def _union_mistake(type_: inspect.UnionType, value: Raw) -> str | None:
    """A member of the union that takes this kind of JSON tells; none: all are named."""
    what = kind(value)
    expected: list[str] = []
    for one in type_.types:
        kinds, words = _expectation(one)
        if words is None:
            return None
        if what in kinds:
            return mistake(one, value)
        if not isinstance(one, inspect.NoneType) and words not in expected:
            expected.append(words)
    return _wrong_type(value, " or ".join(expected))


def _variant_mistake(type_: inspect.LiteralType | inspect.EnumType, value: Raw) -> str | None:
    if isinstance(type_, inspect.LiteralType):
        variants = list(type_.values)
    else:
        variants = [member.value for member in type_.cls]
    whole = kind(value) == "integer"
    if whole and not any(isinstance(one, int) for one in variants):
        return _wrong_type(value, "a string")
    given = bytes(value).decode() if whole else msgspec.json.decode(value, type=str)
    if given in map(str, variants):
        return None
    return f"unknown variant `{_shortened(given)}`, expected {_one_of(variants)}"


def _one_of(variants: list[Any]) -> str:
    quoted = [f"`{variant}`" for variant in variants]
    return " or ".join(quoted) if len(quoted) < 3 else f"one of {', '.join(quoted)}"


def _struct_mistake(type_: inspect.StructType, value: Raw) -> str | None:
    members = msgspec.json.decode(value, type=dict[str, Raw])
    types = {field.encode_name: field.type for field in type_.fields}
    known = sorted(members.keys() & types.keys())
    wrong = _first(mistake(types[name], members[name]) for name in known)
    return wrong or _missing(type_, members)


def _missing(type_: inspect.StructType, there: dict[str, Any]) -> str | None:
    for field in type_.fields:
        if field.required and field.encode_name not in there:
            return f"missing field `{field.encode_name}`"
    return None


def _first(mistakes: typing.Iterable[str | None]) -> str | None:
    return next((text for text in mistakes if text is not None), None)


def _renamed(members: dict[str, Raw], names: dict[str, str]) -> bytes:
    """The input with every field under its own name."""
    for field, name in names.items():
        if field != name:
            members = {**members, field: members[name]}
    return msgspec.json.encode(members)


def _plain(number: str) -> str:
    """A floating point number as the original writes it: no exponent, always a point."""
    value = float(number)
    if value in (float("inf"), float("-inf")):
        return number
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else f"{text}.0"


def _escaped(char: str) -> str:
    return _ESCAPES.get(char) or (char if char.isprintable() else f"\\u{{{ord(char):x}}}")


def _shortened(text: str) -> str:
    return text[:MAX_SHOWN_CHARS] + _cut(text)


def _cut(text: str) -> str:
    return "…" if len(text) > MAX_SHOWN_CHARS else ""


def explain(error: Exception) -> str:
    """msgspec's complaint in the words clients know."""
    text = str(error)
    if missing := _MISSING_FIELD.search(text):
        return f"missing field `{missing[1]}`"
    if wrong := _WRONG_TYPE.search(text):
        where = f" at `{wrong[3]}`" if wrong[3] else ""
        return f"invalid type: {wrong[2]}, expected {wrong[1]}{where}"
    return text
