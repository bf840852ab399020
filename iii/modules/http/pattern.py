"""Route patterns: ``users/:id``, ``files/*``, and the brace spellings.

A pattern is split at ``/``; each segment is literal text, a parameter, or (the
last one only) a wildcard that takes the rest of the path.  Two patterns have the
same *shape* when they differ in parameter names at most.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from iii.errors import Code, RegistrationError

MAX_PATTERN_CHARS = 4096
MAX_SEGMENTS = 64

_BRACE = re.compile(r"\{(\*?)([^{}*]+)\}").fullmatch

#: Stand-ins for parameters in a shape; no literal segment can contain a slash.
PARAMETER = "/:"
WILDCARD = "/*"


class Pattern(NamedTuple):
    """A parsed pattern.

    :ivar text: exactly what was registered
    :ivar shape: segments, with ``PARAMETER`` and ``WILDCARD`` for what varies
    :ivar names: parameter names in order, the wildcard's last
    :ivar alias: a second name for the wildcard's value
    """

    text: str
    shape: tuple[str, ...]
    names: tuple[str, ...]
    alias: str | None

    @property
    def is_literal(self) -> bool:
        """Whether it matches one path only."""
        return not self.names


def _refused(text: str, why: str) -> RegistrationError:
    return RegistrationError(Code.TRIGGER_REGISTRATION_FAILED, f"Invalid api_path {text!r}: {why}")


def parse(text: str, *, ignore_trailing_slash: bool = False) -> Pattern:
    """Read a pattern.

    :raises RegistrationError: it has no meaning
    """
    path = text.lstrip("/")
    if ignore_trailing_slash:
        path = path.rstrip("/")
    segments = path.split("/")
    if len(text) > MAX_PATTERN_CHARS or len(segments) > MAX_SEGMENTS:
        raise _refused(
            text[:80], f"at most {MAX_SEGMENTS} segments and {MAX_PATTERN_CHARS} characters"
        )
    shape: list[str] = []
    names: list[str] = []
    alias: str | None = None
    for at, segment in enumerate(segments):
        name, wild, also = _read(text, segment)
        if name is None:
            shape.append(_literal(text, segment))
            continue
        if wild and at != len(segments) - 1:
            raise _refused(text, f"the wildcard {segment!r} must be the last segment")
        if name in names:
            raise _refused(text, f"the parameter {name!r} appears twice")
        shape.append(WILDCARD if wild else PARAMETER)
        names.append(name)
        alias = also
    return Pattern(text, tuple(shape), tuple(names), alias)


def _read(text: str, segment: str) -> tuple[str | None, bool, str | None]:
    """Parameter name, whether it takes the rest, and its alias; no name: literal."""
    if segment == "*":
        return "*", True, None
    if segment.startswith(":*"):
        if len(segment) == 2:
            raise _refused(text, "a wildcard needs a name")
        return segment[2:], True, segment[1:]
    if segment.startswith(":"):
        if len(segment) == 1:
            raise _refused(text, "a parameter needs a name")
        return segment[1:], False, None
    brace = _BRACE(segment)
    if brace is not None:
        return brace[2], bool(brace[1]), None
    return None, False, None


def _literal(text: str, segment: str) -> str:
    bare = segment.replace("{{", "").replace("}}", "")
    if "{" in bare or "}" in bare:
        raise _refused(text, f"braces in {segment!r} must be the whole segment, or doubled")
    return segment.replace("{{", "{").replace("}}", "}")
