"""``engine::traces::tree``."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from iii.modules.observability.config import CollapseRule
from iii.modules.observability.spans import tree
from iii.modules.observability.spans.tree import MAX_TREE_DEPTH, arranged
from tests.observability.spans.cases import TRACE, SpansCase, shape, span
from tests.support.probes import probe


class Tree(SpansCase):
    """05 A6.4: a trace as it hangs together."""

    @probe("05.25")
    async def test_children_are_below_their_parents(self) -> None:
        self.ingest(
            span("3", parent="2", at_ms=2),
            span("2", parent="1", at_ms=1),
            span("1"),
            span("9", trace="other"),
        )

        self.assertEqual(shape(await self.roots()), [["1", ["2", ["3"]]]])
        self.assertEqual(await self.roots("unknown"), [])
        error = await self.client.error_of("engine::traces::tree", {})
        self.assertEqual(error["code"], "deserialization_error")
        self.assertIn("trace_id", error["message"])

    async def test_siblings_come_in_the_order_of_their_start(self) -> None:
        self.ingest(span("1"), *(span(str(n), parent="1", at_ms=10 - n) for n in range(2, 6)))

        self.assertEqual(shape(await self.roots()), [["1", ["5"], ["4"], ["3"], ["2"]]])

    async def test_a_span_without_its_parent_is_a_root(self) -> None:
        self.ingest(span("2", parent="gone"), span("3", parent="2", at_ms=1))

        self.assertEqual(shape(await self.roots()), [["2", ["3"]]])

    async def test_spans_that_are_each_others_parents_do_not_vanish(self) -> None:
        self.ingest(
            span("0", parent="2", at_ms=0),
            span("1", parent="3", at_ms=1),
            span("2", parent="1", at_ms=2),
            span("3", parent="2", at_ms=3),
            span("4", parent="4", at_ms=4),
        )

        self.assertEqual(shape(await self.roots()), [["1", ["2", ["0"], ["3"]]], ["4"]])

    async def test_a_call_hangs_below_the_message_that_brought_it(self) -> None:
        context = f"00-{TRACE}-b7ad6b7169203331-01"
        await self.call_worker("f", traceparent=context)

        (root,) = await self.roots()
        self.assertEqual(root["name"], "handle_invocation f")
        (child,) = root["children"]
        self.assertEqual((child["name"], child["children"]), ("call f", []))

    async def test_a_span_under_way_is_in_it(self) -> None:
        self.ingest(span("1", end_ns=0), span("2", parent="1"))

        (root,) = await self.roots()
        self.assertIs(root["pending"], True)
        self.assertEqual(shape([root]), [["1", ["2"]]])

    async def test_of_a_very_large_trace_the_earliest_spans_are_shown(self) -> None:
        self.patch(tree, "MAX_TREE_SPANS", 3)
        self.ingest(*(span(str(n), at_ms=9 - n) for n in range(4)))

        answer = await self.ask("tree", {"trace_id": TRACE})
        self.assertEqual(shape(answer["roots"]), [["3"], ["2"], ["1"]])
        self.assertIs(answer["truncated"], True)

    async def test_very_deep_traces_are_levelled(self) -> None:
        deep = 5_000
        self.ingest(span("0"), *(span(str(n), parent=str(n - 1), at_ms=n) for n in range(1, deep)))

        level, count, depth = await self.roots(), 0, 0
        while level:
            count += len(level)
            depth += 1
            level = [child for row in level for child in row["children"]]
        self.assertEqual((count, depth), (deep, MAX_TREE_DEPTH))


class Collapsed(SpansCase):
    """05 A15 0.19.0: ``collapse_spans`` leaves spans out, their children move up."""

    settings = {"collapse_spans": [{"name": "noise"}, {"name": "hop", "service": "proxy"}]}

    async def test_children_move_up_to_the_next_that_is_shown(self) -> None:
        self.ingest(
            span("1"),
            span("2", parent="1", name="noise", at_ms=1),
            span("3", parent="2", name="hop", service="proxy", at_ms=2),
            span("4", parent="3", at_ms=3),
            span("5", parent="1", name="hop", at_ms=4),
        )

        self.assertEqual(shape(await self.roots()), [["1", ["4"], ["5"]]])

    async def test_those_of_a_root_become_roots(self) -> None:
        self.ingest(
            span("1", name="noise"), span("2", parent="1", at_ms=1), span("3", parent="1", at_ms=2)
        )

        self.assertEqual(shape(await self.roots()), [["2"], ["3"]])
        self.assertEqual(await self.names(), ["noise"])


class Arranging(SynchronousTestCase):
    """05 "better" 9: no span vanishes, whatever its parent is said to be."""

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 6), st.none() | st.integers(0, 7)), max_size=8),
        st.integers(0, 7),
    )
    def test_every_span_is_shown_once(
        self, family: list[tuple[int, int | None]], hidden: int
    ) -> None:
        spans = [
            span(str(id), parent=None if parent is None else str(parent), at_ms=n)
            for n, (id, parent) in enumerate(family)
        ]
        shown = []
        todo = arranged(spans, [CollapseRule(name=f"span {hidden}")])
        while todo:
            node = todo.pop()
            shown.append(node.span)
            todo += node.children

        expected = [one for one in spans if one.span_id != str(hidden)]
        self.assertEqual(sorted(map(id, shown)), sorted(map(id, expected)))
