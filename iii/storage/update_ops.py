"""The operations of an update, and how a list of them is read (docs/state.md, "Update operations").

A well-formed list is decoded in one pass into a struct per operation.  Anything else
is read again by hand: either it is the shape of the 0.10 documentation
(``{"increment": {"field": "n", "by": 1}}``), or the caller is told what is wrong in
the words clients know.

Values stay ``Raw``.  Numbers to count by may be integers of any size, or fractions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct

from iii.engine.inputs import InputError, actual
from iii.engine.invocations import NULL

Path = str | list[str] | None
Members = dict[str, Raw]


class Set(Struct, tag="set", kw_only=True, frozen=True):
    """Put ``value`` at ``path``; the empty path is the whole value."""

    name: ClassVar[str] = "set"

    path: str
    value: Raw = NULL


class Merge(Struct, tag="merge", kw_only=True, frozen=True):
    """Put the members of ``value`` into the object at ``path``."""

    name: ClassVar[str] = "merge"

    path: Path = None
    value: Raw


class Increment(Struct, tag="increment", kw_only=True, frozen=True):
    """Add ``by`` to the number at ``path``."""

    name: ClassVar[str] = "increment"

    path: str
    by: int | float


class Decrement(Struct, tag="decrement", kw_only=True, frozen=True):
    """Subtract ``by`` from the number at ``path``."""

    name: ClassVar[str] = "decrement"

    path: str
    by: int | float


class Append(Struct, tag="append", kw_only=True, frozen=True):
    """Add ``value`` to the end of the array or string at ``path``."""

    name: ClassVar[str] = "append"

    path: Path = None
    value: Raw


class Remove(Struct, tag="remove", kw_only=True, frozen=True):
    """Take out the member ``path``."""

    name: ClassVar[str] = "remove"

    path: str


Op = Set | Merge | Increment | Decrement | Append | Remove
Ops = list[Op]

# In the order in which clients are told them.
_BY_NAME: dict[str, type[Any]] = {
    kind.name: kind for kind in (Set, Merge, Increment, Decrement, Append, Remove)
}
_NAMES = ", ".join(f"`{name}`" for name in _BY_NAME)

_ops = msgspec.json.Decoder(Ops)
_items = msgspec.json.Decoder(list[Raw])
_members = msgspec.json.Decoder(Members)
_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(int | float)
_path = msgspec.json.Decoder(Path)


def read_ops(raw: Raw) -> Ops:
    """The operations in a JSON array.

    :raises InputError: it is something else
    """
    try:
        try:
            return _ops.decode(raw)
        except msgspec.ValidationError:
            return _read_by_hand(raw)
    except RecursionError as error:
        raise InputError("recursion limit exceeded") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(str(error)) from error


def _read_by_hand(raw: Raw) -> Ops:
    try:
        items = _items.decode(raw)
    except msgspec.ValidationError as error:
        raise _unexpected(raw, "a sequence") from error
    return [_read_op(item) for item in items]


def _read_op(item: Raw) -> Op:
    members = _read_object(item, "internally tagged enum UpdateOp")
    if "type" not in members:
        members = _from_old_shape(members)
    name = _read(_text, members["type"], "variant identifier")
    kind = _BY_NAME.get(name)
    if kind is None:
        raise InputError(f"unknown variant `{name}`, expected one of {_NAMES}")
    fields = {f.name: f for f in msgspec.structs.fields(kind)}
    given = {
        member: _read_field(fields[member].type, member, members[member])
        for member in sorted(members)
        if member in fields
    }
    for field in fields.values():
        if field.required and field.name not in given:
            raise InputError(f"missing field `{field.name}`")
    op: Op = kind(**given)
    return op


def _read_field(type_: Any, name: str, raw: Raw) -> Any:
    if name == "value":
        return raw
    if name == "by":
        return _read_by(raw)
    if type_ is str:
        return _read(_text, raw, "a string")
    try:
        return _path.decode(raw)
    except msgspec.ValidationError as error:
        text = "data did not match any variant of untagged enum MergePath"
        raise InputError(text) from error


def _read_by(raw: Raw) -> int | float:
    try:
        number: int | float = _number.decode(raw)
    except msgspec.ValidationError as error:
        if bytes(raw)[:1] in b"-0123456789":
            raise InputError("number out of range") from error
        raise _unexpected(raw, "i64") from error
    return number


def _read(decoder: msgspec.json.Decoder[str], raw: Raw, expected: str) -> str:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _unexpected(raw, expected) from error


def _read_object(raw: Raw, expected: str) -> Members:
    try:
        return _members.decode(raw)
    except msgspec.ValidationError as error:
        raise _unexpected(raw, expected) from error


# The shape of the 0.10 documentation ---------------------------------------------------


def _old_root(value: Raw) -> Members:
    return {"path": Raw(b'""'), "value": value}


def _old_count(value: Raw) -> Members:
    members = _read_object(value, "struct with `field` and `by`")
    if "field" not in members:
        raise InputError("missing field `field`")
    return {**members, "path": members["field"]}


def _old_remove(value: Raw) -> Members:
    return {"path": value}


_OLD_SHAPES: dict[str, Callable[[Raw], Members]] = {
    "set": _old_root,
    "merge": _old_root,
    "increment": _old_count,
    "decrement": _old_count,
    "remove": _old_remove,
}


def _from_old_shape(members: Members) -> Members:
    """``{"set": value}`` as ``{"type": "set", …}``."""
    name = next(iter(members), "")
    translate = _OLD_SHAPES.get(name)
    if translate is None or len(members) != 1:
        raise InputError("missing field `type`")
    return {**translate(members[name]), "type": Raw(f'"{name}"'.encode())}


def _unexpected(raw: Raw, expected: str) -> InputError:
    return InputError(f"invalid type: {actual(raw)}, expected {expected}")
