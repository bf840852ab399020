"""Walking through a frame's JSON without decoding it.

A large frame must not hold the reactor, and one broken item must not cost the others;
a JSON decoder can only take or refuse the whole.  So this finds where each item begins
and ends, by brackets and strings alone: what stands between them is somebody else's
business.  It goes forward in small steps and yields after each.

Every level of a frame is an object with a header and a list (``resource`` and
``scopeSpans``).  The header comes first in what SDKs send, and then each byte is looked
at once; where the list comes first it is passed over to find the header, and walked after.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Literal, NamedTuple

from iii.modules.observability.ingest.wire import Keys

#: Looked at without a pause.
STEP_BYTES = 64 * 1024
#: Deeper than any decoder goes.
MAX_DEPTH = 1_000

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR = rb'[^"{}\[\],:\s]++'


def _nested(depth: int) -> bytes:
    inside = _STRING if depth == 0 else b"(?:" + _STRING + b"|" + _nested(depth - 1) + b")"
    between = rb'[^"{}\[\]]*+'
    return rb"[{\[]" + between + b"(?:" + inside + between + b")*+" + rb"[}\]]"


#: A whole value: as deep as those of spans are, the deeper ones are taken apart.
_ANY = b"(?:" + b"|".join((_nested(8), _STRING, _SCALAR)) + b")"
_VALUE = re.compile(_ANY, re.DOTALL)
_VALUES = re.compile(rb"(?:[\s,:]*+" + _ANY + rb")*+[\s,:]*+", re.DOTALL)
_KEY = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+:\s*+', re.DOTALL)
_SEPARATORS = re.compile(rb"[\s,:]*+")
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_BRACES, _BRACKETS = b"{}", b"[]"


class Broken(ValueError):
    """It is no JSON from here on, or not the document it should be."""


class Place(NamedTuple):
    """Where something was found.

    :ivar what: ``misplaced``: it is not what belongs there, and was passed over
    :ivar end: as ``start``: there is nothing
    """

    what: Literal["resource", "scope", "item", "misplaced"]
    start: int
    end: int


class Walk:
    """One way through a frame."""

    def __init__(self, data: bytes, keys: Keys) -> None:
        self._data = data
        self._at = 0
        self._levels = (
            (None, keys.resources.encode()),
            (b"resource", keys.scopes.encode()),
            (b"scope", keys.items.encode()),
        )

    def places(self) -> Iterator[Place | None]:
        """Every resource, scope and item, an item after its scope; None: a pause.

        :raises Broken: nothing after here can be found
        """
        self._separators()
        _, found = yield from self._header_and_list(0)
        if found is None:
            raise Broken(f"there is no list {self._levels[0][1].decode()}")
        self._at = found
        yield from self._elements(0)

    # Levels ----------------------------------------------------------------------------

    def _elements(self, level: int) -> Iterator[Place | None]:
        """What is in the list here."""
        self._enter(_BRACKETS)
        while not self._left(_BRACKETS):
            start = self._at
            if level == len(self._levels) - 1:
                yield from self._skip()
                yield Place("item", start, self._at)
            elif self._data[start : start + 1] == b"{":
                yield from self._object(level + 1)
            else:
                yield from self._misplaced()

    def _object(self, level: int) -> Iterator[Place | None]:
        """What is in the object here: its header, then its list."""
        header, found = yield from self._header_and_list(level)
        if found is None:
            yield None
            return
        start, end = header or (0, 0)
        yield Place("resource" if level == 1 else "scope", start, end)
        self._at = found
        yield from self._elements(level)
        while not self._left(_BRACES):
            yield None
            self._key()
            yield from self._skip()

    def _header_and_list(
        self, level: int
    ) -> Generator[Place | None, None, tuple[tuple[int, int] | None, int | None]]:
        """Where the header is and the list begins.  Without a list the object is passed."""
        header_key, list_key = self._levels[level]
        header = found = None
        self._enter(_BRACES)
        while not self._left(_BRACES):
            yield None
            key = self._key()
            start = self._at
            if key == list_key and found is None and self._data[start : start + 1] == b"[":
                found = start
                if header is not None or header_key is None:
                    break
            if key == list_key and self._data[start : start + 1] not in (b"[", b"n"):
                yield from self._misplaced()
            else:
                yield from self._skip()
            if key == header_key:
                header = (start, self._at)
                if found is not None:
                    break
        return header, found

    def _misplaced(self) -> Iterator[Place | None]:
        """Pass what is here."""
        start = self._at
        yield from self._skip()
        yield Place("misplaced", start, self._at)

    # Steps -----------------------------------------------------------------------------

    def _enter(self, pair: bytes) -> None:
        if self._data[self._at : self._at + 1] != pair[:1]:
            raise Broken(f"expected {pair[:1].decode()} at byte {self._at}")
        self._at += 1

    def _left(self, pair: bytes) -> bool:
        """Whether the object or list ends here; it is left then."""
        self._separators()
        if self._data[self._at : self._at + 1] != pair[1:]:
            return False
        self._at += 1
        return True

    def _separators(self) -> None:
        match = _SEPARATORS.match(self._data, self._at, self._at + STEP_BYTES)
        assert match is not None  # it matches nothing, too
        self._at = match.end()

    def _key(self) -> bytes:
        match = _KEY.match(self._data, self._at, self._at + STEP_BYTES)
        if match is None:
            raise Broken(f"expected a name at byte {self._at}")
        self._at = match.end()
        return match[1]

    def _skip(self) -> Iterator[None]:
        """Pass the value here, however large."""
        match = _VALUE.match(self._data, self._at, self._at + STEP_BYTES)
        if match is not None:
            self._at = match.end()
            return
        depth = 0
        while True:
            here = self._data[self._at : self._at + 1]
            if here == b'"':
                yield from self._skip_string()
            elif here in (b"{", b"[") and depth < MAX_DEPTH:
                self._at += 1
                depth += 1
            elif here in (b"}", b"]") and depth:
                self._at += 1
                depth -= 1
            else:
                raise Broken(f"expected a value at byte {self._at}")
            if not depth:
                return
            yield from self._skip_values()

    def _skip_values(self) -> Iterator[None]:
        """Pass the values here, up to one that is too large for a step or ends what they are in."""
        while True:
            match = _VALUES.match(self._data, self._at, self._at + STEP_BYTES)
            assert match is not None  # it matches nothing, too
            yield None
            if match.end() == self._at:
                return
            self._at = match.end()

    def _skip_string(self) -> Iterator[None]:
        """Pass the string here, however long."""
        self._at += 1
        while True:
            match = _IN_STRING.match(self._data, self._at, self._at + STEP_BYTES)
            assert match is not None  # it matches nothing, too
            if self._data[match.end() : match.end() + 1] == b'"':
                self._at = match.end() + 1
                return
            if match.end() == self._at:
                raise Broken(f"a string at byte {self._at} does not end")
            self._at = match.end()
            yield None
