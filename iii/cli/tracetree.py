"""A trace in the terminal: its spans as a tree, beside it when each began and ended.

The bars share one scale, from the earliest beginning to the latest end.  A span under way
has no end; its bar goes on to the right edge.  Names and messages are other people's text:
what could move the cursor is not printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Node = dict[str, Any]
"""A span with ``children``, as ``engine::traces::tree`` answers."""

MIN_BAR, MAX_BAR = 10, 60
#: Names may take this share of the width, services so many columns.
NAME_RATIO = 0.45
SERVICE_WIDTH = 20
GAP = "  "

_STYLES = ("cyan", "magenta", "green", "yellow", "blue")
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


class Line(NamedTuple):
    """A span and where it hangs.

    :ivar branch: what stands before its name
    :ivar below: what stands before lines that belong to it
    """

    node: Node
    branch: str
    below: str


def walk(roots: list[Node]) -> Iterator[Line]:
    """The spans of a trace, every one before its children."""
    waiting = [Line(root, "", "") for root in reversed(roots)]
    while waiting:
        line = waiting.pop()
        node, _, above = line
        children = node.get("children") or []
        yield line._replace(below=above + ("│  " if children else "   "))
        hung = [
            Line(child, f"{above}├─ ", f"{above}│  ")
            if number < len(children)
            else Line(child, f"{above}└─ ", f"{above}   ")
            for number, child in enumerate(children, 1)
        ]
        waiting += reversed(hung)


def tree(trace_id: str, roots: list[Node], console: Console, *, attributes: bool) -> Any:
    """What ``console`` prints of a trace.

    :param attributes: also those of the spans
    """
    from rich.console import Group

    lines = list(walk(roots))
    shown = _Shown(lines, console)
    out = [shown.heading(trace_id)]
    for line in lines:
        out.append(shown.span(line))
        out += shown.details(line, attributes)
    return Group(*out)


def duration_text(span: Node) -> str:
    """``1.23 s``, ``45.6 ms`` …, or that it is under way."""
    if _is_pending(span):
        return "running"
    return _text_of(max(0, span["end_time_unix_nano"] - span["start_time_unix_nano"]))


def time_text(nanoseconds: int, to_the: str = "milliseconds") -> str:
    """A time in UTC."""
    time = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return f"{time.replace(tzinfo=None).isoformat(timespec=to_the)}Z"


def plain(text: str) -> str:
    """``text`` with a dot for every character that isn't printed."""
    return "".join(char if char.isprintable() else "·" for char in text)


class _Shown:
    """One trace, laid out for one width."""

    def __init__(self, lines: list[Line], console: Console) -> None:
        from rich.cells import cell_len

        self._console = console
        nodes = [line.node for line in lines]
        self._nodes = nodes
        self._start: int = min(node["start_time_unix_nano"] for node in nodes)
        self._end: int = max(
            max(node["start_time_unix_nano"], node["end_time_unix_nano"]) for node in nodes
        )
        services = {plain(node["service_name"]): None for node in nodes}
        self._styles = dict(zip(services, cycle(_STYLES), strict=False))
        self._service_width = min(SERVICE_WIDTH, max(map(cell_len, services)))
        self._duration_width = max(len(duration_text(node)) for node in nodes)
        longest = max(cell_len(line.branch + plain(line.node["name"])) for line in lines)
        beside = self._service_width + self._duration_width + 3 * len(GAP)
        room = console.width - beside - MIN_BAR
        self._name_width = max(8, min(longest, max(room, 8), int(console.width * NAME_RATIO)))
        self._bar_width = min(MAX_BAR, max(0, console.width - beside - self._name_width))

    def heading(self, trace_id: str) -> Text:
        """The trace as a whole."""
        from rich.text import Text

        errors = sum(1 for node in self._nodes if node["status"] == "error")
        parts = [
            time_text(self._start),
            _count(len(self._nodes), "span"),
            _count(len(self._styles), "service"),
            _text_of(self._end - self._start),
        ]
        heading = Text(f"trace {trace_id}\n{' · '.join(parts)}")
        if errors:
            heading.append(" · ").append(_count(errors, "error"), "red")
        return heading.append("\n")

    def span(self, line: Line) -> Text:
        """Name, service, duration, bar."""
        from rich.text import Text

        node = line.node
        failed = node["status"] == "error"
        service = plain(node["service_name"])
        style = "red" if failed else self._styles[service]
        name = Text(line.branch, "dim").append(plain(node["name"]), "red" if failed else "not dim")
        name.truncate(self._name_width, overflow="ellipsis", pad=True)
        of_service = Text(service, self._styles[service])
        of_service.truncate(self._service_width, overflow="ellipsis", pad=True)
        duration = duration_text(node).rjust(self._duration_width)
        bar = Text(self._bar(node), style)
        return Text(GAP, no_wrap=True, overflow="crop").join(
            (name, of_service, Text(duration), bar)
        )

    def details(self, line: Line, attributes: bool) -> Iterator[Text]:
        """What stands below a span: its error, and its attributes."""
        if line.node["status"] == "error":
            message = _message(line.node)
            if message:
                yield from self._wrapped(line.below, f"error: {message}", "red")
        if attributes:
            for key, value in line.node["attributes"]:
                yield from self._wrapped(line.below, f"{key} = {value}", "dim")

    def _wrapped(self, below: str, text: str, style: str) -> Iterator[Text]:
        from rich.text import Text

        width = max(20, self._console.width - len(below))
        for part in text.splitlines():
            for piece in Text(plain(part), style).wrap(self._console, width):
                yield Text(below, "dim", no_wrap=True).append_text(piece)

    def _bar(self, node: Node) -> str:
        width, whole = self._bar_width, self._end - self._start
        start: int = node["start_time_unix_nano"] - self._start
        first = min(width - 1, start * width // whole) if whole else 0
        if _is_pending(node):
            return " " * first + "┄" * (width - first)
        if whole == 0:
            return "━" * width
        lasts: int = max(0, node["end_time_unix_nano"] - node["start_time_unix_nano"])
        # Never nothing, and never beyond the edge.
        length = min(width - first, max(1, round(lasts * width / whole)))
        return " " * first + "━" * length


def _is_pending(span: Node) -> bool:
    return bool(span.get("pending")) or span["end_time_unix_nano"] == 0


def _message(node: Node) -> str | None:
    """Why a span failed, as it says or as an exception in it says."""
    if node.get("status_description"):
        return str(node["status_description"])
    for event in node["events"]:
        if event["name"] == "exception":
            said = dict(event["attributes"])
            return said.get("exception.message") or said.get("exception.type")
    return None


def _text_of(nanoseconds: int) -> str:
    for unit, name in _UNITS:
        if nanoseconds >= unit:
            value = nanoseconds / unit
            return f"{value:.2f} {name}" if value < 10 else f"{value:.1f} {name}"
    return f"{nanoseconds} ns"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
