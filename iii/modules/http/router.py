"""Which route a request takes.

A trie of path segments, changed in place: adding, removing and finding a route
costs its depth, however many there are.  At each segment a literal goes before
a parameter, a parameter before a wildcard, with backtracking.  The best *path*
is chosen first; whether it has the method is looked at afterwards.

A route (method and shape) has a stack of bindings.  The newest serves; older
ones stand by and come back when it goes, so nothing is ever unreachable while
somebody alive offers it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import unquote
from weakref import WeakValueDictionary

from iii.errors import Code, RegistrationError
from iii.modules.http.pattern import PARAMETER, WILDCARD, Pattern


class Routable(Protocol):
    """What a route's stack holds."""

    method: str
    pattern: Pattern


E = TypeVar("E", bound=Routable)


class Route(Generic[E]):
    """One method on one shape of path.

    :ivar stack: who offers it, oldest first
    :ivar active: requests that hold a slot
    :ivar waiting: requests that wait for one, in order
    """

    __slots__ = (
        "__weakref__",
        "active",
        "handing_on",
        "method",
        "names",
        "stack",
        "waiting",
        "warned",
    )

    def __init__(self, method: str) -> None:
        self.method = method
        self.names: tuple[str, ...] = ()
        self.stack: list[E] = []
        self.active = 0
        self.waiting: deque[Any] = deque()
        self.handing_on = False
        self.warned = False

    @property
    def serving(self) -> E:
        """The newest live registration."""
        return self.stack[-1]


class Place(Generic[E]):
    """The routes of one shape of path, by method."""

    __slots__ = ("allow", "routes")

    def __init__(self) -> None:
        self.routes: dict[str, Route[E]] = {}
        self.allow = b""

    def changed(self) -> None:
        """Work out the ``allow`` header anew."""
        methods = dict.fromkeys(self.routes)
        if "GET" in methods:
            methods["HEAD"] = None
        self.allow = ",".join(methods).encode()


class _Node(Generic[E]):
    __slots__ = ("literals", "parameter", "place", "wildcard")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[E]] = {}
        self.parameter: _Node[E] | None = None
        self.wildcard: Place[E] | None = None
        self.place: Place[E] | None = None

    @property
    def empty(self) -> bool:
        return not (self.literals or self.parameter or self.wildcard or self.place)


Match = tuple[Place[E], tuple[str, ...]]


class Router(Generic[E]):
    """All routes.

    :param ignore_trailing_slash: ``/a/`` is ``/a``
    """

    def __init__(self, *, ignore_trailing_slash: bool = False) -> None:
        self._root: _Node[E] = _Node()
        # A path without parameters is found at once: a match of literals only
        # is the best match there can be.
        self._literal: dict[str, Match[E]] = {}
        self._ignore_trailing_slash = ignore_trailing_slash
        # A route that comes back while its old requests run keeps their count.
        self._known: WeakValueDictionary[tuple[str, tuple[str, ...]], Route[E]] = (
            WeakValueDictionary()
        )
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Route[E]]:
        """Every live route."""
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            nodes.extend(node.literals.values())
            if node.parameter is not None:
                nodes.append(node.parameter)
            for place in (node.place, node.wildcard):
                if place is not None:
                    yield from place.routes.values()

    # Changing --------------------------------------------------------------------------

    def add(self, entry: E) -> Route[E]:
        """Put ``entry`` on top of its route.

        :raises RegistrationError: the same method has the shape with other names
        """
        pattern = entry.pattern
        found = self._place_at(pattern.shape)
        if found is not None and entry.method in found.routes:
            route = found.routes[entry.method]
            if route.names != pattern.names:
                raise RegistrationError(
                    Code.TRIGGER_REGISTRATION_FAILED,
                    f"Route '{entry.method} {pattern.text}' conflicts with already-registered "
                    f"route '{entry.method} {route.serving.pattern.text}': routes with identical "
                    "structure but different path-parameter names are not supported",
                )
            route.stack.append(entry)
            return route
        place = self._make_place(pattern)
        key = (entry.method, pattern.shape)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Route(entry.method)
        known.names = pattern.names
        known.stack.append(entry)
        place.routes[entry.method] = known
        place.changed()
        self._count += 1
        return known

    def remove(self, entry: E) -> None:
        """Take ``entry`` off its route; the route goes with the last."""
        shape = entry.pattern.shape
        place = self._place_at(shape)
        route = None if place is None else place.routes.get(entry.method)
        if place is None or route is None or entry not in route.stack:
            return
        route.stack.remove(entry)
        if route.stack:
            return
        del place.routes[entry.method]
        place.changed()
        self._count -= 1
        if not place.routes:
            self._prune(shape)

    def _place_at(self, shape: tuple[str, ...]) -> Place[E] | None:
        node: _Node[E] | None = self._root
        for segment in shape:
            if node is None:
                return None
            if segment == WILDCARD:
                return node.wildcard
            node = node.parameter if segment == PARAMETER else node.literals.get(segment)
        return None if node is None else node.place

    def _make_place(self, pattern: Pattern) -> Place[E]:
        node = self._root
        for segment in pattern.shape:
            if segment == WILDCARD:
                if node.wildcard is None:
                    node.wildcard = Place()
                return node.wildcard
            if segment == PARAMETER:
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        if node.place is None:
            node.place = Place()
        if pattern.is_literal:
            self._literal["/" + "/".join(pattern.shape)] = (node.place, ())
        return node.place

    def _prune(self, shape: tuple[str, ...]) -> None:
        self._literal.pop("/" + "/".join(shape), None)
        path: list[tuple[_Node[E], str]] = []
        node = self._root
        for segment in shape:
            path.append((node, segment))
            if segment == WILDCARD:
                node.wildcard = None
                break
            child = node.parameter if segment == PARAMETER else node.literals[segment]
            assert child is not None
            node = child
        else:
            node.place = None
        for parent, segment in reversed(path):
            if segment == WILDCARD:
                continue
            child = parent.parameter if segment == PARAMETER else parent.literals[segment]
            if child is None or not child.empty:
                return
            if segment == PARAMETER:
                parent.parameter = None
            else:
                del parent.literals[segment]

    # Finding ---------------------------------------------------------------------------

    def match(self, path: str) -> Match[E] | None:
        """The best place for a raw request path, with the parameters' values."""
        found = self._literal.get(path)
        if found is not None:
            return found
        path = path.lstrip("/")
        if self._ignore_trailing_slash:
            path = path.rstrip("/")
        values: list[str] = []
        place = _find(self._root, path.split("/"), 0, values)
        return None if place is None else (place, tuple(values))


def _find(node: _Node[E], segments: list[str], at: int, values: list[str]) -> Place[E] | None:
    """The best place below ``node``; recursion ends at the depth of the trie."""
    if at == len(segments):
        return node.place
    segment = segments[at]
    literals = node.literals
    child = literals.get(segment)
    if child is not None:
        place = _find(child, segments, at + 1, values)
        if place is not None:
            return place
    if "%" in segment:
        child = literals.get(unquote(segment))
        if child is not None:
            place = _find(child, segments, at + 1, values)
            if place is not None:
                return place
    if segment and node.parameter is not None:
        values.append(segment)
        place = _find(node.parameter, segments, at + 1, values)
        if place is not None:
            return place
        values.pop()
    if node.wildcard is not None:
        rest = "/".join(segments[at:])
        if rest:
            values.append(rest)
            return node.wildcard
    return None
