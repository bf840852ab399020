"""``${NAME}`` and ``${NAME:default}`` in a configuration text.

Expansion works on the raw text, before YAML: what a value *is* (number, string,
null) is decided afterwards by what stands in the text.  One pass, never
recursive: substituted text is not looked at again.  A name runs to the first
``:`` or ``}``, a default to the first ``}``; there is no escape.  Lines that are
nothing but a comment stay as they are.

Substituted text may hold line breaks, so ``Expanded`` remembers where each
character came from: errors name lines of the file a person edits.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from iii._version import __version__

# One alternation: a comment line is consumed whole, so nothing in it is expanded.
_REFERENCE = re.compile(
    r"(?P<comment>^[ \t]*\#[^\n]*)|\$\{(?P<name>[^:}]+)(?::(?P<default>[^}]*))?\}", re.MULTILINE
)

SPECIAL_DEFAULTS = {"__III_ENGINE_VERSION__": __version__}


class Position(NamedTuple):
    """A place in the file as a person counts: both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Unset:
    """A reference that has neither a value nor a default."""

    name: str
    position: Position

    @property
    def message(self) -> str:
        return f"Environment variable '{self.name}' not set and no default provided"


class Expanded:
    """The expanded text, and the way back to the original.

    :ivar text: what YAML reads
    :ivar unset: references that could not be resolved; ``text`` lacks them
    """

    def __init__(self, original: str, environ: Mapping[str, str]) -> None:
        self.original = original
        self.unset: list[Unset] = []
        self._starts: list[int] = []  # where each piece begins in the expanded text
        self._pieces: list[tuple[int, bool]] = []  # (where in the original, copied literally?)
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", original))]
        self.text = self._expand(environ)

    def _expand(self, environ: Mapping[str, str]) -> str:
        out: list[str] = []
        length = copied = 0

        def add(piece: str, origin: int, literal: bool) -> None:
            nonlocal length
            self._starts.append(length)
            self._pieces.append((origin, literal))
            out.append(piece)
            length += len(piece)

        for match in _REFERENCE.finditer(self.original):
            if match["comment"] is not None:
                continue
            add(self.original[copied : match.start()], copied, True)
            value = self._value(match, environ)
            if value is None:
                self.unset.append(Unset(match["name"], self._locate(match.start())))
            add(value or "", match.start(), False)
            copied = match.end()
        add(self.original[copied:], copied, True)
        return "".join(out)

    @staticmethod
    def _value(match: re.Match[str], environ: Mapping[str, str]) -> str | None:
        name, default = match["name"], match["default"]
        if name in environ:
            return environ[name]
        return SPECIAL_DEFAULTS.get(default, default) if default is not None else None

    def origin(self, index: int) -> int:
        """The place in the original of the character at ``index`` of ``text``.

        Everything inside a substitution comes from its ``$``.
        """
        piece = bisect_right(self._starts, index) - 1
        origin, literal = self._pieces[piece]
        return origin + (index - self._starts[piece] if literal else 0)

    def position(self, index: int) -> Position:
        """Line and column, in the original, of the character at ``index`` of ``text``."""
        return self._locate(self.origin(index))

    def _locate(self, origin: int) -> Position:
        line = bisect_right(self._line_starts, origin)
        return Position(line, origin - self._line_starts[line - 1] + 1)


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """Replace every reference in ``text`` (see the module's description)."""
    return Expanded(text, environ)
