"""What update operations make of a value: one pure implementation for every store.

The value is taken apart only where an operation touches it: an object becomes a
dictionary whose members stay ``Raw``, arrays and strings grow as bytes.  So what
isn't touched comes out as it went in (numbers of any size, order of members, escapes),
and a large value costs little more than a copy.

An operation that can't be done changes nothing, is told in ``Outcome.errors``, and the
next one goes on.  Every check of an operation therefore comes before its first change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from iii.engine.invocations import NULL
from iii.storage.update_ops import (
    Append,
    Decrement,
    Increment,
    Merge,
    Op,
    Ops,
    Path,
    Remove,
    Set,
    read_ops,
)

__all__ = ["OpError", "Ops", "Outcome", "apply", "read_ops"]

MAX_SEGMENTS = 32
MAX_SEGMENT_BYTES = 256
MAX_MERGE_KEYS = 1024
MAX_MERGE_DEPTH = 16
DOC_URL = "https://iii.dev/docs/workers/iii-state#error-codes"


class _Grown:
    """An array or a string that was appended to: joined once, however often it grows.

    :ivar parts: its text without what closes it
    """

    __slots__ = ("kind", "parts")

    def __init__(self, kind: str, text: bytes) -> None:
        self.kind = kind
        self.parts = [text]


Node = Raw | dict[str, Any] | _Grown
"""JSON as it came, an object taken apart (member → ``Node``), or what is growing."""

_FORBIDDEN = frozenset({"__proto__", "constructor", "prototype"})
#: UTF-8 has up to four bytes a character.
_SURELY_SHORT = MAX_SEGMENT_BYTES // 4

_object = msgspec.json.Decoder(dict[str, Raw])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _whole(grown: _Grown) -> Raw:
    return Raw(b"".join((*grown.parts, b"]" if grown.kind == "array" else b'"')))


_encode = msgspec.json.Encoder(enc_hook=_whole).encode

_KINDS = {
    b"{": "object",
    b"[": "array",
    b'"': "string",
    b"t": "boolean",
    b"f": "boolean",
    b"n": "null",
}
_WHITE = (b" ", b"\n", b"\r", b"\t")
# A string, or a bracket outside strings.
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")


class OpError(Struct, frozen=True):
    """An operation that was not done.

    :ivar op_index: which one, counted from 0
    :ivar code: e.g. ``increment.not_number``
    """

    op_index: int
    code: str
    message: str
    doc_url: str = DOC_URL


class Outcome(Struct, frozen=True):
    """The new value, and what could not be done."""

    new: Raw
    errors: list[OpError]


class _Refused(Exception):
    """This operation can't be done.  The code is the operation's name and ``reason``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


def apply(old: Raw | None, ops: Ops) -> Outcome:
    """What ``ops`` make of ``old``; None when there is no value yet.

    It never raises for data.
    """
    # Nobody has touched what isn't there yet; until then its root may become anything.
    virgin = old is None
    node: Node = {} if old is None else old
    errors: list[OpError] = []
    for index, op in enumerate(ops):
        try:
            node = _APPLY[type(op)](op, node, virgin)
            virgin = False
        except _Refused as refused:
            errors.append(OpError(index, f"{op.name}.{refused.reason}", refused.message))
    return Outcome(node if isinstance(node, Raw) else Raw(_encode(node)), errors)


# The operations: (operation, value, virgin) → new value --------------------------------


def _set(op: Set, node: Node, virgin: bool) -> Node:
    if not op.path:
        return op.value
    members = _target(op, node)
    members[op.path] = op.value
    return members


def _remove(op: Remove, node: Node, virgin: bool) -> Node:
    if not op.path:
        return NULL
    members = _target(op, node)
    members.pop(op.path, None)
    return members


def _increment(op: Increment, node: Node, virgin: bool) -> Node:
    return _count(op, node, virgin, op.by)


def _decrement(op: Decrement, node: Node, virgin: bool) -> Node:
    return _count(op, node, virgin, -op.by)


def _count(op: Increment | Decrement, node: Node, virgin: bool, by: int | float) -> Node:
    path = op.path
    if not path:
        return _number(by) if virgin else _sum(node, by, "root")
    members = _target(op, node)
    current = members.get(path)
    members[path] = _number(by) if current is None else _sum(current, by, path)
    return members


def _merge(op: Merge, node: Node, virgin: bool) -> Node:
    segments = _checked_segments(op.path)
    value = _merge_members(op.value)
    if not segments:
        target = _members(node)
        if target is None:
            return node
        target.update(value)
        return target
    root = _members(node)
    if root is None:
        root = {}
    _walk(root, segments).update(value)
    return root


def _append(op: Append, node: Node, virgin: bool) -> Node:
    segments = _checked_segments(op.path)
    if not segments:
        return _grown(NULL if virgin else node, op.value, "root")
    root = _members(node)
    if root is None:
        raise _no_object("append", f"[{', '.join(segments)}]", node)
    leaf = segments[-1]
    parent = root if len(segments) == 1 else _walk(root, segments[:-1])
    current = parent.get(leaf)
    if current is not None:
        parent[leaf] = _grown(current, op.value, _shown(op.path))
    elif len(segments) == 1:
        parent[leaf] = _grown(NULL, op.value, _shown(op.path))
    else:
        parent[leaf] = _listed(op.value)
    return root


_APPLY: dict[type[Op], Callable[[Any, Node, bool], Node]] = {
    Set: _set,
    Merge: _merge,
    Increment: _increment,
    Decrement: _decrement,
    Append: _append,
    Remove: _remove,
}


# Paths ---------------------------------------------------------------------------------


def _check_segment(segment: str) -> None:
    if not segment:
        raise _Refused("path.empty_segment", "Path contains an empty segment")
    if len(segment) > _SURELY_SHORT and (size := len(segment.encode())) > MAX_SEGMENT_BYTES:
        text = f"Path segment of {size} bytes exceeds maximum of {MAX_SEGMENT_BYTES}"
        raise _Refused("path.segment_too_long", text)
    if segment in _FORBIDDEN:
        text = f"Path segment '{segment}' is not allowed (prototype pollution)."
        raise _Refused("path.proto_polluted", text)


def _checked_segments(path: Path) -> list[str]:
    """The way to go; none for the root."""
    if not path:
        return []
    segments = [path] if isinstance(path, str) else path
    if len(segments) > MAX_SEGMENTS:
        text = f"Path depth {len(segments)} exceeds maximum of {MAX_SEGMENTS}"
        raise _Refused("path.too_deep", text)
    for segment in segments:
        _check_segment(segment)
    return segments


def _target(op: Set | Remove | Increment | Decrement, node: Node) -> dict[str, Any]:
    """The members of the object that ``op`` changes a member of."""
    _check_segment(op.path)
    members = _members(node)
    if members is None:
        raise _no_object(op.name, op.path, node)
    return members


def _walk(members: dict[str, Any], segments: list[str]) -> dict[str, Any]:
    """The members at the end of the way, which is made where there is none."""
    for segment in segments:
        below = _members(members.get(segment, NULL))
        members[segment] = members = {} if below is None else below
    return members


def _shown(path: Path) -> str:
    return path if isinstance(path, str) else f"[{', '.join(path or ())}]"


def _no_object(name: str, path: str, node: Node) -> _Refused:
    text = f"Cannot {name} at path '{path}': target is {_kind(node)}, expected object."
    return _Refused("target_not_object", text)


# Values --------------------------------------------------------------------------------


def _members(node: Node) -> dict[str, Any] | None:
    """An object taken apart; None when it isn't one."""
    if isinstance(node, dict):
        return node
    if isinstance(node, _Grown):
        return None
    try:
        return _object.decode(node)
    except msgspec.ValidationError:
        return None
    except RecursionError as error:
        text = "The value is nested too deeply to be changed"
        raise _Refused("value.too_deep", text) from error
    except _UNREADABLE as error:
        raise _Refused("value.not_json", f"The value can't be read: {error}") from error


def _kind(node: Node) -> str:
    if isinstance(node, dict):
        return "object"
    if isinstance(node, _Grown):
        return node.kind
    first = bytes(memoryview(node)[:1])
    if first in _WHITE:  # only around a whole value
        first = _text(node)[:1]
    return _KINDS.get(first, "number")


def _text(raw: Any) -> bytes:
    return bytes(raw).strip()


def _number(number: int | float) -> Raw:
    if isinstance(number, int):
        return Raw(b"%d" % number)
    if not math.isfinite(number):
        raise OverflowError
    return Raw(_encode(number))


def _sum(current: Any, by: int | float, path: str) -> Raw:
    kind = _kind(current)
    if kind != "number":
        raise _Refused("not_number", f"Expected number at path '{path}', got {kind}.")
    text = bytes(current).strip()
    try:
        # An integer of any size stays exact; what isn't one has a dot or an exponent.
        whole = text.lstrip(b"-").isdigit()
        return _number((int(text) if whole else float(text)) + by)
    except (ValueError, OverflowError):
        message = f"Number at path '{path}' is out of range."
        raise _Refused("not_number", message) from None


def _grown(current: Node, value: Raw, path: str) -> Node:
    """``current`` with ``value`` at its end."""
    kind = _kind(current)
    if kind == "null":
        return value if _kind(value) == "string" else _listed(value)
    if kind == "array":
        if isinstance(current, Raw) and _EMPTY_ARRAY.fullmatch(_text(current)):
            return _listed(value)
        added = b",%b" % bytes(value)
    elif kind != "string":
        text = f"target is {kind}, expected array, string, null, or missing field"
        raise _Refused("type_mismatch", f"Cannot append at path '{path}': {text}.")
    elif (other := _kind(value)) != "string":
        text = f"Expected string append value at path '{path}', got {other}."
        raise _Refused("type_mismatch", text)
    else:
        added = _text(value)[1:-1]
    grown = current if isinstance(current, _Grown) else _Grown(kind, _text(current)[:-1])
    grown.parts.append(added)
    return grown


def _listed(value: Raw) -> Raw:
    return Raw(b"[%b]" % bytes(value))


def _merge_members(value: Raw) -> dict[str, Any]:
    """The members of a value that may be merged."""
    members = _members(value)
    if members is None:
        raise _Refused("value.not_an_object", "Merge value must be a JSON object")
    if len(members) > MAX_MERGE_KEYS:
        text = f"Merge value has {len(members)} top-level keys, exceeds maximum of {MAX_MERGE_KEYS}"
        raise _Refused("value.too_many_keys", text)
    if not _FORBIDDEN.isdisjoint(members):
        key = next(key for key in members if key in _FORBIDDEN)
        text = f'Merge value top-level key "{key}" is a prototype-pollution sink'
        raise _Refused("value.proto_polluted", text)
    depth = _depth(bytes(value))
    if depth > MAX_MERGE_DEPTH:
        text = f"Merge value JSON nesting depth {depth} exceeds maximum of {MAX_MERGE_DEPTH}"
        raise _Refused("value.too_deep", text)
    return members


def _depth(text: bytes) -> int:
    """How deep arrays and objects are nested; may say more when there are only few."""
    few = text.count(b"{") + text.count(b"[")
    if few <= MAX_MERGE_DEPTH:
        return few
    deepest = depth = 0
    for match in _BRACKETS.finditer(text):
        token = match[0]
        if token in (b"{", b"["):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"}", b"]"):
            depth -= 1
    return deepest
