"""Which files a list of globs means, and which directories must be looked at for that.

A glob is a path whose segments are compared one by one: ``**`` stands for any number
of directories, none included; ``*``, ``?`` and ``[…]`` stay within one segment and
match a leading dot too; ``{a,b}`` is written out before anything else.  The segments
before the first wildcard are the glob's *root*.

The same walk along the segments answers both questions: a path that uses up the glob
is meant, a directory that leaves some of it over may hold such paths (``leads``).
Everything that never leads is not watched, so ``node_modules`` costs nothing.  Ignored
names count only below a glob's root: who writes ``node_modules/mine/*.js`` means it.

Paths are absolute strings; nothing in here looks at the disk.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

#: Into how many globs one with ``{a,b}`` may be written out.
MAX_ALTERNATIVES = 1000
#: Names that are never looked at: what tools keep for themselves, editors' temporary files.
IGNORED = (
    ".git",
    "node_modules",
    "__pycache__",
    ".venv",
    "*~",
    ".*.sw?",
    ".#*",
    "#*#",
    "4913",
    ".goutputstream-*",
    "*___jb_tmp___",
    "*___jb_old___",
)

_WILD = re.compile(r"[*?\[]")
_ANY = "**"

#: One segment of a glob; None is ``**``.
Part = re.Pattern[str] | None


def alternatives(text: str) -> list[str]:
    """``src/*.{ts,js}`` written out: ``src/*.ts``, ``src/*.js``.

    :raises ValueError: they are too many
    """
    found = list(islice(_written_out(text), MAX_ALTERNATIVES + 1))
    if len(found) > MAX_ALTERNATIVES:
        raise ValueError(f"the glob {text[:40]!r} has more than {MAX_ALTERNATIVES} alternatives")
    return found


def _written_out(text: str) -> Iterator[str]:
    start = text.find("{")
    inside = _inside(text, start) if start >= 0 else None
    if inside is None:
        yield text
        return
    choices, end = inside
    for choice in choices:
        for middle in _written_out(choice):
            for rest in _written_out(text[end:]):
                yield text[:start] + middle + rest


def _inside(text: str, start: int) -> tuple[list[str], int] | None:
    """What stands in the braces that open at ``start``, and where they end."""
    choices, depth, begin = [], 0, start + 1
    for index in range(start, len(text)):
        character = text[index]
        depth += (character == "{") - (character == "}")
        if depth == 0 or (depth == 1 and character == ","):
            choices.append(text[begin:index])
            begin = index + 1
        if depth == 0:
            return choices, begin
    return None


@dataclass(frozen=True, slots=True)
class Glob:
    """One glob without braces.

    :ivar text: as written
    :ivar root: the directories before the first wildcard
    :ivar parts: the segments after them
    """

    text: str
    root: tuple[str, ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, text: str, base: str) -> Glob:
        """The glob ``text``, relative to the directory ``base``."""
        segments = _segments(os.path.normpath(under(base, text)))
        fixed = 0
        while fixed < len(segments) - 1 and not _WILD.search(segments[fixed]):
            fixed += 1
        parts: list[Part] = []
        for segment in segments[fixed:]:
            if segment.startswith(_ANY):
                parts.append(None)
                # "src/**.ts": the original looks into directories here, so this does too.
                segment = f"*{segment[2:]}" if segment != _ANY else ""
            if segment:
                parts.append(_part(segment))
        return cls(text, tuple(segments[:fixed]), tuple(parts))

    def below(self, segments: Sequence[str]) -> Sequence[str] | None:
        """What of a path lies below the root; None when it does not lie there."""
        depth = len(self.root)
        return segments[depth:] if tuple(segments[:depth]) == self.root else None

    def positions(self, segments: Iterable[str]) -> Iterator[set[int]]:
        """Where in ``parts`` one may be, at first and after each segment."""
        here = set(self._open(0))
        yield here
        for segment in segments:
            after: set[int] = set()
            for index in here - {len(self.parts)}:
                part = self.parts[index]
                if part is None:
                    after.update(self._open(index))
                elif part.match(segment):
                    after.update(self._open(index + 1))
            here = after
            yield here

    def _open(self, index: int) -> Iterator[int]:
        """``index``, and what follows when each ``**`` there stands for nothing."""
        yield index
        while index < len(self.parts) and self.parts[index] is None:
            index += 1
            yield index

    def matches(self, segments: Sequence[str]) -> bool:
        """Whether these segments below the root use up the glob."""
        *_, last = self.positions(segments)
        return len(self.parts) in last

    def covers(self, segments: Sequence[str]) -> bool:
        """Whether they, or a directory on the way there, use it up."""
        return any(len(self.parts) in here for here in self.positions(segments))

    def leads(self, segments: Sequence[str]) -> bool:
        """Whether something below them could use it up."""
        *_, last = self.positions(segments)
        return bool(last - {len(self.parts)})


class Globs:
    """All globs of one configuration.

    :param patterns: what ``watch`` says; those with ``!`` exclude
    :param ignore: what ``ignore`` says, beside ``IGNORED``
    :param base: the directory they are relative to
    """

    def __init__(self, patterns: Iterable[str], ignore: Iterable[str], base: str) -> None:
        self.base = base
        written = [text for pattern in patterns for text in alternatives(pattern)]
        ignored = [text.rstrip("/") or "/" for name in ignore for text in alternatives(name)]
        #: What is meant, and what of it is not.
        self.wanted = [Glob.of(text, base) for text in written if not text.startswith("!")]
        self._unwanted = [Glob.of(text[1:], base) for text in written if text.startswith("!")]
        self._unwanted += [Glob.of(text, base) for text in ignored if "/" in text]
        names = (*IGNORED, *(text for text in ignored if "/" not in text))
        self._ignored = re.compile("|".join(map(fnmatch.translate, names)))

    def matches(self, path: str) -> bool:
        """Whether a change of the file ``path`` counts."""
        segments = _segments(path)
        return any(
            rest and glob.matches(rest) and not self._ignores(rest)
            for glob, rest in self._at(segments)
        ) and not self._excludes(segments)

    def leads(self, directory: str) -> bool:
        """Whether files that count may lie somewhere below ``directory``."""
        segments = _segments(directory)
        if self._steps(segments):
            return True
        return any(
            glob.leads(rest) and not self._ignores(rest) for glob, rest in self._at(segments)
        ) and not self._excludes(segments)

    def is_above_all(self, directory: str) -> bool:
        """Whether ``directory`` is only on the way to roots."""
        return next(self._at(_segments(directory)), None) is None

    def is_fixed(self, path: str) -> bool:
        """Whether ``path`` is a root or on the way to one: it may be a link."""
        segments = tuple(_segments(path))
        return any(glob.root[: len(segments)] == segments for glob in self.wanted)

    def steps(self, directory: str) -> set[str]:
        """The paths in ``directory`` that are roots or on the way to one."""
        return {under(directory, name) for name in self._steps(_segments(directory))}

    def starts(self) -> list[str]:
        """Where to begin to look: ``base``, and ``/`` for globs outside of it."""
        inside = tuple(_segments(self.base))
        return sorted(
            {self.base if glob.root[: len(inside)] == inside else "/" for glob in self.wanted}
        )

    def roots(self) -> dict[str, str]:
        """Every root → a glob that has it."""
        return {"/" + "/".join(glob.root): glob.text for glob in self.wanted}

    def _at(self, segments: Sequence[str]) -> Iterator[tuple[Glob, Sequence[str]]]:
        for glob in self.wanted:
            rest = glob.below(segments)
            if rest is not None:
                yield glob, rest

    def _steps(self, segments: Sequence[str]) -> set[str]:
        above, depth = tuple(segments), len(segments)
        return {
            glob.root[depth]
            for glob in self.wanted
            if len(glob.root) > depth and glob.root[:depth] == above
        }

    def _ignores(self, segments: Iterable[str]) -> bool:
        return any(map(self._ignored.match, segments))

    def _excludes(self, segments: Sequence[str]) -> bool:
        for glob in self._unwanted:
            rest = glob.below(segments)
            if rest and glob.covers(rest):
                return True
        return False


def under(directory: str, path: str) -> str:
    """``path`` as seen from ``directory``."""
    return path if path.startswith("/") else f"{directory.rstrip('/')}/{path}"


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _part(segment: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(segment))
