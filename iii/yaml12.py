"""YAML as configuration files mean it: the 1.2 core schema, with positions.

PyYAML scans, parses and composes; which plain scalar is a number, a boolean or
null is decided here, by one table.  ``yes``, ``on``, ``0777``, ``1_000``, ``12:30``
and dates are strings.  ``<<`` is an ordinary key.  Keys are always strings (the
key ``1:`` is ``"1"``), and a key given twice is an error.

Aliases share one value, as in the source; an alias inside its own anchor and a
document that would unfold to more than ``MAX_NODES`` values are refused.
Nothing in here knows about lines: a place is the index of a character, which
``iii.expansion`` turns into a line of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import yaml
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser, ParserError
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner, ScannerError

MAX_NODES = 1_000_000

_TAG = "tag:yaml.org,2002:"
_STR, _MAP, _SEQ = _TAG + "str", _TAG + "map", _TAG + "seq"

#: A step into a document: the name of a key or the number of a list item.
Step = str | int


def _integer(text: str) -> int:
    """``0x``, ``0o`` and ``0b`` say their base themselves."""
    return int(text, 0)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Scalar(NamedTuple):
    tag: str
    pattern: re.Pattern[str]
    read: Callable[[str], Any]


# The first pattern that matches a plain scalar decides; no match is a string.
_SCALARS = tuple(
    _Scalar(_TAG + tag, re.compile(pattern), read)
    for tag, pattern, read in (
        ("null", r"null|Null|NULL|~|", lambda text: None),
        ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
        ("int", r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)", _integer),
        (
            "float",
            r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
            _float,
        ),
    )
)
_BY_TAG = {scalar.tag: scalar for scalar in _SCALARS}


def plain_scalar(text: str) -> Any:
    """What ``text`` means when it stands in a file without quotes."""
    for scalar in _SCALARS:
        if scalar.pattern.fullmatch(text):
            return scalar.read(text)
    return text


class Fault(NamedTuple):
    """Something wrong with a text: where (index of a character) and what."""

    place: int
    message: str


class YamlError(Exception):
    """The text is not one well-formed document; ``faults`` has all that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = list(faults)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's safe machinery up to the node graph, with the core schema's resolver."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is not ScalarNode:
            return _MAP if kind is MappingNode else _SEQ
        if implicit[0]:
            for scalar in _SCALARS:
                if scalar.pattern.fullmatch(value):
                    return scalar.tag
        return _STR

    def compose_node(self, parent: Any, index: Any) -> Node | None:
        # Where PyYAML differs from YAML 1.2: an anchor may be given anew, and the
        # tag ``!`` makes a scalar a string.
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        if isinstance(event, yaml.ScalarEvent) and event.tag == "!":
            event.tag = _STR
        return super().compose_node(parent, index)


class Document:
    """A parsed document: its value, and where each part of it stands.

    :ivar value: plain dicts with string keys, lists and scalars
    """

    def __init__(self, root: Node | None) -> None:
        self._root = root
        self.value: Any = None if root is None else _Builder().document(root)

    def index(self, path: Sequence[Step]) -> int:
        """Index of the character where ``path`` begins: its key, or its list item.

        Where the document ends earlier than ``path``, the last part that exists.
        """
        node, found = self._root, 0
        for step in path:
            match node:
                case MappingNode():
                    pairs = [(k, v) for k, v in node.value if k.value == step]
                    if not pairs:
                        return found
                    key, node = pairs[0]
                    found = key.start_mark.index
                case SequenceNode() if isinstance(step, int) and step < len(node.value):
                    node = node.value[step]
                    found = node.start_mark.index
                case _:
                    return found
        return found


class _Builder:
    """Node graph → values.  Goes on after a fault, so that all are reported."""

    def __init__(self) -> None:
        self._built: dict[Node, tuple[Any, int]] = {}  # value, and how many values it unfolds to
        self._open: set[Node] = set()
        self._faults: list[Fault] = []

    def document(self, root: Node) -> Any:
        value, _ = self._build(root)
        if self._faults:
            raise YamlError(sorted(self._faults))
        return value

    def _fault(self, node: Node, message: str) -> None:
        self._faults.append(Fault(node.start_mark.index, message))

    def _build(self, node: Node) -> tuple[Any, int]:
        if node in self._built:
            return self._built[node]
        if node in self._open:
            self._fault(node, "an alias stands inside its own anchor")
            return None, 1
        self._open.add(node)
        value: Any
        match node:
            case MappingNode():
                value, size = self._mapping(node)
            case SequenceNode():
                value, size = self._sequence(node)
            case _:
                value, size = self._scalar(cast(ScalarNode, node)), 1
        self._open.discard(node)
        if size > MAX_NODES:
            raise YamlError([Fault(node.start_mark.index, "aliases unfold to too many values")])
        self._built[node] = value, size
        return value, size

    def _mapping(self, node: MappingNode) -> tuple[dict[str, Any], int]:
        self._expect_tag(node, _MAP)
        value: dict[str, Any] = {}
        size = 1
        for key, item in node.value:
            built, item_size = self._build(item)
            size += item_size
            if not isinstance(key, ScalarNode):
                self._fault(key, "a key must be a single value, not a list or a mapping")
            elif key.value in value:
                self._fault(key, f"duplicate key '{key.value}'")
            else:
                value[key.value] = built
        return value, size

    def _sequence(self, node: SequenceNode) -> tuple[list[Any], int]:
        self._expect_tag(node, _SEQ)
        items = [self._build(item) for item in node.value]
        return [value for value, _ in items], 1 + sum(size for _, size in items)

    def _expect_tag(self, node: Node, tag: str) -> None:
        if node.tag != tag:
            self._fault(node, f"unsupported tag {_short(node.tag)}")

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag == _STR:
            return node.value
        scalar = _BY_TAG.get(node.tag)
        if scalar is None:
            self._fault(node, f"unsupported tag {_short(node.tag)}")
            return None
        if not scalar.pattern.fullmatch(node.value):
            self._fault(node, f"'{node.value}' is not a value of {_short(node.tag)}")
            return None
        try:
            return scalar.read(node.value)
        except ValueError:  # Python's own limit on the digits of an integer
            self._fault(node, "this number has too many digits")
            return None


def _short(tag: str) -> str:
    return "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _marked(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    message = error.problem or error.context or "not valid YAML"
    if isinstance(error, ComposerError) and "single document" in (error.context or ""):
        message = "more than one YAML document in the file"
    elif error.context and error.problem:
        message = f"{error.problem} ({error.context})"
    return Fault(mark.index if mark is not None else 0, message)


def parse(text: str) -> Document:
    """Read one document.

    :raises YamlError: with everything that is wrong, or the first fault where
        the text can't be read further
    """
    try:
        return Document(_Loader(text).get_single_node())
    except (ScannerError, ParserError, ComposerError, ConstructorError) as error:
        raise YamlError([_marked(error)]) from None
    except ReaderError as error:
        character = f"character {error.character!r}"
        raise YamlError([Fault(error.position, f"{character} is not allowed in YAML")]) from None
    except (ValueError, OverflowError) as error:
        # PyYAML does not check every escape (``"\\UFFFFFFFF"``) itself.
        raise YamlError([Fault(0, f"not valid YAML: {error}")]) from None
    except RecursionError:
        raise YamlError([Fault(0, "lists or mappings are nested too deeply")]) from None
