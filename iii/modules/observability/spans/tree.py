"""A trace as a tree.

Its spans in memory and those that were remembered longer are one trace.  Spans whose parent
is not among them are roots, and so is the earliest of spans that are each
other's parents.  Spans that a rule collapses are left out and theirs move up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from iii.modules.observability.config import CollapseRule
from iii.modules.observability.model import Span
from iii.modules.observability.spans import items as of
from iii.modules.observability.spans.pace import Pace
from iii.modules.observability.spans.query import span_at, spots_of_trace
from iii.modules.observability.spans.shapes import row_of
from iii.modules.observability.spans.store import SpanStore

#: A tree shows so many spans of its trace, the earliest.
MAX_TREE_SPANS = 10_000
#: What lies deeper is shown beside its parent: readers of JSON have limits of their own.
MAX_TREE_DEPTH = 50


class Node:
    """A span and those below it."""

    __slots__ = ("children", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.children: list[Node] = []


async def tree(
    store: SpanStore, pace: Pace, trace_id: str, collapse: list[CollapseRule], older: Sequence[Span]
) -> Raw:
    """The result of ``engine::traces::tree`` as JSON.

    :param older: spans of the trace that memory may have forgotten, one more than are shown
    """
    spans = await _in_memory(store, pace, trace_id)
    if older:
        spans = _united(spans, older)
    roots = await _json(arranged(spans[:MAX_TREE_SPANS], collapse), pace)
    more = b',"truncated":true' if len(spans) > MAX_TREE_SPANS else b""
    return Raw(b'{"roots":[%b]%b}' % (roots, more))


async def spans_of(
    store: SpanStore, pace: Pace, trace_id: str, older: Sequence[Span]
) -> list[Span]:
    """The spans of a trace in the order of their start, the first ``MAX_TREE_SPANS``."""
    spans = await _in_memory(store, pace, trace_id)
    return (_united(spans, older) if older else spans)[:MAX_TREE_SPANS]


async def _in_memory(store: SpanStore, pace: Pace, trace_id: str) -> list[Span]:
    """The earliest spans of a trace, one more than are shown."""
    found: list[tuple[int, int, int]] = []
    views = await store.view(pace)
    for place, view in enumerate(views):
        await pace.keep()
        items, offset_ns = view.segment.items, view.segment.offset_ns
        for spot in spots_of_trace(view, trace_id):
            found.append((of.start_ns(items[spot >> 1], offset_ns), place, spot))
    found.sort()
    spans: list[Span] = []
    for _, place, spot in found[: MAX_TREE_SPANS + 1]:
        await pace.keep()
        spans.append(span_at(store, views[place], spot))
    return spans


def _united(spans: list[Span], older: Sequence[Span]) -> list[Span]:
    """Both, the earliest first; of a span that is in both it is that of ``spans``."""
    known = {span.span_id for span in spans}
    both = spans + [span for span in older if span.span_id not in known]
    return sorted(both, key=lambda span: span.start_ns)


def arranged(spans: Iterable[Span], collapse: list[CollapseRule]) -> list[Node]:
    """The roots of ``spans``, which come in the order of their start."""
    nodes = [Node(span) for span in spans]
    by_id: dict[str, Node] = {}
    for node in nodes:
        by_id.setdefault(node.span.span_id, node)
    parents = {node: _parent(node, by_id) for node in nodes}
    _break_circles(nodes, parents)
    hidden = {node for node in nodes if _is_collapsed(node.span, collapse)}
    roots: list[Node] = []
    for node in nodes:
        if node in hidden:
            continue
        parent = parents[node]
        passed = []
        while parent is not None and parent in hidden:
            passed.append(parent)
            parent = parents[parent]
        # Nobody has to go the same way again.
        parents.update(dict.fromkeys(passed, parent))
        (roots if parent is None else parent.children).append(node)
    return roots


def _parent(node: Node, by_id: dict[str, Node]) -> Node | None:
    parent_id = node.span.parent_span_id
    parent = None if parent_id is None else by_id.get(parent_id)
    return None if parent is node else parent


def _break_circles(nodes: list[Node], parents: dict[Node, Node | None]) -> None:
    """Of spans that are each other's ancestors the earliest gets no parent."""
    ends_well: set[Node] = set()
    for node in nodes:
        way: dict[Node, None] = {}
        at: Node | None = node
        while at is not None and at not in ends_well and at not in way:
            way[at] = None
            at = parents[at]
        if at is not None and at in way:
            passed = list(way)
            circle = passed[passed.index(at) :]
            parents[min(circle, key=lambda one: one.span.start_ns)] = None
        ends_well.update(way)


def _is_collapsed(span: Span, rules: list[CollapseRule]) -> bool:
    return any(
        rule.name == span.name and rule.service in (None, span.service_name) for rule in rules
    )


async def _json(roots: list[Node], pace: Pace) -> bytes:
    """Nodes as JSON; a loop, because traces may be deeper than the stack."""
    out: list[bytes] = []
    # A node to write, or what comes after its children.
    todo: list[tuple[Node, int] | bytes] = [(root, 1) for root in reversed(roots)]
    while todo:
        await pace.keep()
        one = todo.pop()
        if isinstance(one, bytes):
            out.append(one)
            continue
        node, depth = one
        if out and out[-1][-1:] == b"}":
            out.append(b",")
        out.append(msgspec.json.encode(row_of(node.span))[:-1] + b',"children":[')
        below = [(child, depth + 1) for child in reversed(node.children)]
        if depth >= MAX_TREE_DEPTH:
            out.append(b"]}")
            todo += [(child, depth) for child, _ in below]
        else:
            todo.append(b"]}")
            todo += below
    return b"".join(out)
