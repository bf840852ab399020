"""The table of the interface: method, path, who answers, and whether something changes.

A path has literal segments and ``:parameters``.  A segment is matched decoded, so a topic
with a slash in its name is one segment with ``%2F``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from iii.modules.console.asking import Handler

PARAMETER = ":"


class Route(NamedTuple):
    """One call.

    :ivar path: without a slash at its beginning
    :ivar does: what it changes, for the log, e.g. ``purges queue``; empty: it only looks
    """

    method: str
    path: str
    handler: Handler
    does: str = ""


class Found(NamedTuple):
    """A route with the values of its parameters."""

    route: Route
    params: dict[str, str]


class Table:
    """All routes.  A literal segment goes before a parameter."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            shape = tuple(route.path.split("/"))
            self._by_length.setdefault(len(shape), []).append((shape, route))
        for alike in self._by_length.values():
            alike.sort(key=lambda one: [segment.startswith(PARAMETER) for segment in one[0]])

    def __iter__(self) -> Iterator[Route]:
        return iter([route for alike in self._by_length.values() for _, route in alike])

    def find(self, method: str, path: str) -> Found | list[str]:
        """The route for a raw path; else the methods that it does have, if any."""
        segments = tuple(unquote(segment) for segment in path.split("/"))
        methods = []
        for shape, route in self._by_length.get(len(segments), ()):
            params = _match(shape, segments)
            if params is None:
                continue
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                return Found(route, params)
            methods.append(route.method)
        return sorted(set(methods))


def _match(shape: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for wanted, found in zip(shape, segments, strict=True):
        if wanted.startswith(PARAMETER):
            if not found or found in (".", ".."):
                return None
            params[wanted[1:]] = found
        elif wanted != found:
            return None
    return params
